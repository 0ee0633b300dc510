"""EPUB: the chapters in reading order, read as the web pages that they are."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

from infra.errors import UnreadableFile
from ingest.parse import kinds
from ingest.parse.blocks import Block, ParsedDocument, one_line, with_heading_paths
from ingest.parse.containers.archive import check_archive
from ingest.parse.limits import ParseLimits
from ingest.parse.office.safe_xml import tree_of
from ingest.parse.texts.html import markup_of, page_of
from ingest.parse.texts.text import no_text

_CONTAINER: Final = "META-INF/container.xml"
_PAGES: Final = frozenset({"application/xhtml+xml", "text/html", "application/xml", "text/xml"})
# Fonts may be scrambled in a book that everybody can read; chapters that are, cannot.
_ENCRYPTION: Final = "META-INF/encryption.xml"


def parse(
    file: BinaryIO, limits: ParseLimits, on_progress: Callable[[int, int | None], None]
) -> ParsedDocument:
    """Read an e-book; its title is what the package says, a place its headings (EPUB 3.3, OPF 2.0).

    Raises UnreadableFile: `damaged`, `encrypted`, `expands_too_much`, `too_many_pages` or `no_text`.
    """
    check_archive(file, limits, with_dtd=True)
    try:
        with zipfile.ZipFile(file) as archive:
            book = _Book(archive)
            chapters = book.chapters(limits)
            blocks: list[Block] = []
            for number, name in enumerate(chapters, start=1):
                blocks += page_of(markup_of(archive.read(name))).blocks
                on_progress(number, len(chapters))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError) as error:
        raise kinds.damaged() from error
    if not blocks:
        raise no_text()
    return ParsedDocument(book.title, None, with_heading_paths(blocks), kinds.EPUB)


class _Book:
    """The package document: which chapters there are, and in which order."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._names = set(archive.namelist())
        container = tree_of(archive.read(_CONTAINER))
        path = next((node.get("full-path") for node in _all(container, "rootfile")), None)
        if not path:
            raise kinds.damaged()
        self._folder = posixpath.dirname(path)
        self._package = tree_of(archive.read(path))
        self._scrambled = _scrambled(archive) if _ENCRYPTION in self._names else set()
        title = next((one_line("".join(node.itertext())) for node in _all(self._package, "title")), "")
        self.title = title or None

    def chapters(self, limits: ParseLimits) -> list[str]:
        """Return the names of the chapters in reading order, each once. Raises UnreadableFile."""
        items = {node.get("id"): node for node in _all(self._package, "item")}
        spine = [items.get(node.get("idref")) for node in _all(self._package, "itemref")]
        paths = [self._path(item) for item in spine if item is not None and item.get("media-type") in _PAGES]
        chapters = [path for path in dict.fromkeys(paths) if path in self._names]
        if chapters and self._scrambled.issuperset(chapters):
            raise UnreadableFile(
                "encrypted",
                "This book is protected against copying, so its text cannot be read.",
                hint="Ask its publisher for a copy without protection.",
            )
        if len(chapters) > limits.max_pages:
            raise UnreadableFile(
                "too_many_pages",
                f"This book has {len(chapters):,} chapters; {limits.max_pages:,} are accepted.",
            )
        return [path for path in chapters if path not in self._scrambled]

    def _path(self, item: Any) -> str:
        return posixpath.normpath(posixpath.join(self._folder, unquote(item.get("href") or "")))


def _scrambled(archive: zipfile.ZipFile) -> set[str]:
    root = tree_of(archive.read(_ENCRYPTION))
    return {unquote(node.get("URI") or "") for node in _all(root, "CipherReference")}


def _all(root: Any, name: str) -> Any:
    """Return the elements of this local name; books mix up their namespaces."""
    return root.iter(f"{{*}}{name}")
