"""From a file to blocks: one module a format, chosen by content."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import BinaryIO, Final, Protocol, cast

from infra.errors import UnreadableFile
from ingest.parse import detect
from ingest.parse.blocks import ParsedDocument
from ingest.parse.limits import ParseLimits

# Names, not modules: a format's libraries are imported when a file of that format arrives.
_PARSERS: Final = {
    detect.PDF: "ingest.parse.pages.pdf",
    detect.DOCX: "ingest.parse.office.docx",
    detect.PPTX: "ingest.parse.office.pptx",
    detect.XLSX: "ingest.parse.office.xlsx",
    detect.HTML: "ingest.parse.texts.html",
    detect.MARKDOWN: "ingest.parse.texts.markdown",
    detect.CSV: "ingest.parse.texts.tabular",
    detect.TEXT: "ingest.parse.texts.text",
    detect.ODT: "ingest.parse.office.odf_text",
    detect.ODP: "ingest.parse.office.odf_slides",
    detect.ODS: "ingest.parse.office.odf_sheets",
    detect.RTF: "ingest.parse.office.rtf",
    detect.XLS: "ingest.parse.office.xls",
    detect.EPUB: "ingest.parse.texts.epub",
    detect.EML: "ingest.parse.containers.mail",
    detect.MSG: "ingest.parse.containers.outlook",
    detect.MBOX: "ingest.parse.containers.mbox",
    detect.JSON: "ingest.parse.texts.json_text",
    detect.JSONL: "ingest.parse.texts.json_text",
    detect.XML: "ingest.parse.texts.xml_text",
    detect.YAML: "ingest.parse.texts.yaml_text",
    detect.CODE: "ingest.parse.texts.code",
    detect.PNG: "ingest.parse.pages.image",
    detect.JPEG: "ingest.parse.pages.image",
    detect.TIFF: "ingest.parse.pages.image",
    detect.WEBP: "ingest.parse.pages.image",
    detect.ZIP: "ingest.parse.containers.packed",
    detect.TAR: "ingest.parse.containers.packed",
}


class _Parser(Protocol):
    def parse(
        self, file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
    ) -> ParsedDocument: ...


def parse(
    media_type: str,
    file: BinaryIO,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> ParsedDocument:
    """Read `file` as `media_type`; `on_progress` gets pages, slides or sheets done, and their number.

    Raises UnreadableFile with the reason. Runs hostile input through native libraries: call it in the child
    that `ingest.parse.confined.sandbox` starts, not in a server.
    """
    load_parser(media_type)
    file.seek(0)
    return _parser(media_type).parse(file, limits, on_progress)


def load_parser(media_type: str) -> None:
    """Import a format's libraries now, while files may still be opened."""
    _parser(media_type)


def _parser(media_type: str) -> _Parser:
    if media_type not in _PARSERS:
        raise UnreadableFile("unsupported_type", "This type of file cannot be read.")
    return cast(_Parser, import_module(_PARSERS[media_type]))
