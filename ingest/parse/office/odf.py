"""What the three OpenDocument formats share: the package, the styles, and who sees text in a style.

The elements are those of OpenDocument 1.3, part 3 (OASIS, 2021). The library opens the package; its XML is
walked here, because the library's own lists unfold repeated cells and leave out what is hidden.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from odfdo import Document
from odfdo.security import SecurityError

from infra.errors import UnreadableFile
from ingest.parse.blocks import Hidden, one_line
from ingest.parse.containers.archive import check_archive
from ingest.parse.limits import ParseLimits
from ingest.parse.office.safe_xml import tree_of
from ingest.parse.runs import WHITE, Colour, colour_of, looks_hidden

_NAMESPACES: Final = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "style": "urn:oasis:names:tc:opendocument:xmlns:style:1.0",
    "draw": "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0",
    "presentation": "urn:oasis:names:tc:opendocument:xmlns:presentation:1.0",
    "fo": "urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0",
    "svg": "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0",
    "dc": "http://purl.org/dc/elements/1.1/",
}
_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)(pt|in|cm|mm|pc)$")
_POINTS: Final = {"pt": 1.0, "in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4, "pc": 12.0}
_PARTS = ("text", "paragraph", "table-cell", "graphic", "drawing-page", "table")


def name(prefixed: str) -> str:
    """Return the full name of an element or attribute written as `text:p`."""
    prefix, _, local = prefixed.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def points(length: str | None) -> float | None:
    """Return a length such as `2.5cm` in points; None for none, and for shares such as `80%`."""
    match = _LENGTH.match(length or "")
    return float(match[1]) * _POINTS[match[2]] if match else None


@dataclass(frozen=True, slots=True)
class Package:
    """An opened OpenDocument file.

    `body` is what stands in `office:body`, `layouts` gives width and height in points by the name of a page
    layout, `title` is empty if the file has none.
    """

    body: Any
    master_styles: Any
    styles: Styles
    layouts: dict[str | None, tuple[float, float]]
    title: str


def open_package(file: BinaryIO, limits: ParseLimits) -> Package:
    """Open an OpenDocument file. Raises UnreadableFile: `encrypted`, `expands_too_much`, `damaged`."""
    # Formulas of older programs have a DTD; they are not read, and `tree_of` refuses one elsewhere.
    check_archive(file, limits, with_dtd=True)
    try:
        document = Document(io.BytesIO(file.read()))
        if b"encryption-data" in _part(document, "META-INF/manifest.xml"):
            raise UnreadableFile(
                "encrypted",
                "This file is protected with a password.",
                hint="Remove the password and upload it again.",
            )
        content = tree_of(_part(document, "content.xml"))
        common = tree_of(_part(document, "styles.xml") or b"<none/>")
        meta = tree_of(_part(document, "meta.xml") or b"<none/>")
    except SecurityError as error:
        raise UnreadableFile(
            "expands_too_much",
            "This file expands to far more data than a document should, so it was not opened.",
            hint="Split the document, or remove very large embedded content.",
        ) from error
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise damaged() from error
    body = content.find(name("office:body"))
    if body is None or not len(body):
        raise damaged()
    return Package(
        body=body[0],
        master_styles=common.find(name("office:master-styles")),
        styles=Styles(common, content),
        layouts=dict(_layouts(common)),
        title=one_line("".join(meta.itertext(name("dc:title")))),
    )


def _part(document: Document, path: str) -> bytes:
    if document.container is None or path not in document.container.get_parts():
        return b""
    part = document.container.get_part(path)
    return part.encode() if isinstance(part, str) else part or b""


def _layouts(root: Any) -> Iterator[tuple[str | None, tuple[float, float]]]:
    for layout in root.iter(name("style:page-layout")):
        for properties in layout.iter(name("style:page-layout-properties")):
            width, height = (points(properties.get(name(f"fo:page-{one}"))) for one in ("width", "height"))
            if width and height:
                yield layout.get(name("style:name")), (width, height)


def damaged() -> UnreadableFile:
    """Return the error for a file that is not a whole OpenDocument file."""
    return UnreadableFile(
        "damaged",
        "This OpenDocument file is damaged and cannot be opened.",
        hint="Open it in the program that made it, save it again, and upload the new copy.",
    )


class Styles:
    """The styles of a document by family and name; a property comes from the nearest style that has it."""

    def __init__(self, *roots: Any) -> None:
        self._styles = {
            (style.get(name("style:family")), style.get(name("style:name"))): style
            for root in roots
            for style in root.iter(name("style:style"))
        }
        self._defaults = {
            style.get(name("style:family")): style
            for root in roots
            for style in root.iter(name("style:default-style"))
        }
        self._known: dict[tuple[str, str | None, str], str | None] = {}

    def value(self, family: str, style: str | None, attribute: str) -> str | None:
        """Return an attribute such as `fo:color` of a style or its properties, or None."""
        key = (family, style, attribute)
        if key not in self._known:
            found = (_value(one, attribute) for one in self._chain(family, style))
            self._known[key] = next((value for value in found if value is not None), None)
        return self._known[key]

    def is_or_descends_from(self, style: str | None, ancestor: str) -> bool:
        """Say whether a paragraph style is `ancestor`, or based on it."""
        names = (one.get(name("style:name")) for one in self._chain("paragraph", style))
        return style == ancestor or ancestor in names

    def unseen(self, looks: list[tuple[str, str | None]], ground: Colour | None = WHITE) -> Hidden | None:
        """Say why a reader does not see text in these styles (family, name), innermost first.

        `ground` is what lies behind the outermost of them; None if that is not known.
        """

        def first(attribute: str) -> str | None:
            values = (self.value(family, style, attribute) for family, style in looks)
            return next((value for value in values if value is not None), None)

        if first("text:display") == "none":
            return "not_shown"
        grounds = (self.value(family, style, "fo:background-color") for family, style in looks)
        behind = next((value for value in grounds if value not in (None, "transparent")), None)
        if behind is not None:
            ground = colour_of(behind)
        size = points(first("fo:font-size"))
        return looks_hidden(colour=self._colour(looks), ground=ground, points=size)

    def _colour(self, looks: list[tuple[str, str | None]]) -> Colour | None:
        """Return the text's colour from the nearest style that has one; None for the automatic one."""
        for family, style in looks:
            for one in self._chain(family, style):
                if _value(one, "style:use-window-font-color") == "true":
                    return None
                if (value := _value(one, "fo:color")) is not None:
                    return colour_of(value)
        return None

    def _chain(self, family: str, style: str | None) -> Iterator[Any]:
        """Yield a style and those it is based on, then the family's default; a cycle ends the chain."""
        seen: set[str] = set()
        while style is not None and style not in seen and (family, style) in self._styles:
            seen.add(style)
            one = self._styles[family, style]
            yield one
            style = one.get(name("style:parent-style-name"))
        if family in self._defaults:
            yield self._defaults[family]


def _value(style: Any, attribute: str) -> str | None:
    wanted = name(attribute)
    for holder in (style, *(style.find(name(f"style:{part}-properties")) for part in _PARTS)):
        if holder is not None and (value := holder.get(wanted)) is not None:
            return str(value)
    return None
