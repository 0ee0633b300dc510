"""XML parts of office files as trees, without entities, without the network, of bounded depth."""

from __future__ import annotations

from typing import Any

from lxml import etree

from infra.errors import UnreadableFile

# A DTD stands before the root element.
DTD_WITHIN = 256 * 1024


def tree_of(content: bytes) -> Any:
    """Return the root element of an XML part.

    Nothing outside is loaded and no entity is expanded; nesting beyond the library's 256 levels is an error.
    Raises UnreadableFile(`damaged`) for what is not XML, or has a DTD, which no office program writes here.
    """
    # Removing NUL bytes covers UTF-16, in which a DTD could hide.
    if b"<!DOCTYPE" in content[:DTD_WITHIN].replace(b"\x00", b"").upper():
        raise _damaged()
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise _damaged() from error


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "A part of this file is damaged and cannot be read.",
        hint="Open it in the program that made it, save it again, and upload the new copy.",
    )
