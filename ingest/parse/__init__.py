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
    detect.PDF: "ingest.parse.pdf",
    detect.DOCX: "ingest.parse.docx",
    detect.PPTX: "ingest.parse.pptx",
    detect.XLSX: "ingest.parse.xlsx",
    detect.HTML: "ingest.parse.html",
    detect.MARKDOWN: "ingest.parse.markdown",
    detect.CSV: "ingest.parse.tabular",
    detect.TEXT: "ingest.parse.text",
    detect.ODT: "ingest.parse.odf_text",
    detect.ODP: "ingest.parse.odf_slides",
    detect.ODS: "ingest.parse.odf_sheets",
    detect.RTF: "ingest.parse.rtf",
    detect.XLS: "ingest.parse.xls",
    detect.EPUB: "ingest.parse.epub",
    detect.EML: "ingest.parse.mail",
    detect.MSG: "ingest.parse.outlook",
    detect.MBOX: "ingest.parse.mbox",
    detect.JSON: "ingest.parse.json_text",
    detect.JSONL: "ingest.parse.json_text",
    detect.XML: "ingest.parse.xml_text",
    detect.YAML: "ingest.parse.yaml_text",
    detect.CODE: "ingest.parse.code",
    detect.PNG: "ingest.parse.image",
    detect.JPEG: "ingest.parse.image",
    detect.TIFF: "ingest.parse.image",
    detect.WEBP: "ingest.parse.image",
    detect.ZIP: "ingest.parse.packed",
    detect.TAR: "ingest.parse.packed",
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
    that `ingest.parse.sandbox` starts, not in a server.
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
