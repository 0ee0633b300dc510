"""How Word's runs look: what styles, shading and the page's colour make of them, and who sees them."""

from __future__ import annotations

from typing import Any, Final

from docx.oxml.ns import qn

from ingest.parse.blocks import Hidden
from ingest.parse.runs import WHITE, Colour, colour_of, looks_hidden

_OFF: Final = frozenset({"0", "false", "off", "none"})
# An unknown ground: a picture, a theme, the style of a table.
_UNKNOWN: Final = None


class Looks:
    """Answers for a document whether a reader sees a run, by its own properties and those of its styles."""

    def __init__(self, styles: Any, page: Colour | None = WHITE) -> None:
        self._page = page
        self._chains = _chains(styles)
        self._defaults = [styles.find(_path("w:docDefaults/w:rPrDefault/w:rPr"))]
        self._shaded_tables = {
            identity
            for identity, chain in self._chains.items()
            if any(style.find(f".//{qn('w:shd')}") is not None for style in chain)
        }

    def of_run(self, run: Any, paragraph: Any) -> Hidden | None:
        """Say why a reader does not see `run` (w:r), or None when they do."""
        own = run.find(qn("w:rPr"))
        sources = [own, *self._styled(own, "w:rStyle"), *self._of_paragraph(paragraph), *self._defaults]
        if _toggled(sources, "w:vanish"):
            return "not_shown"
        size = _first(sources, "w:sz")
        points = int(size) / 2 if size is not None and size.isdigit() else None
        colour = colour_of(_first(sources, "w:color"))
        ground = self._ground(sources, paragraph) if colour else _UNKNOWN
        return looks_hidden(colour=colour, ground=ground, points=points)

    def row_is_hidden(self, row: Any) -> bool:
        """Say whether a table's row (w:tr) is marked as hidden."""
        return _is_on(row.find(_path("w:trPr/w:hidden")))

    def box_is_hidden(self, box: Any) -> bool:
        """Say whether a text box (w:txbxContent) belongs to a drawing that is marked as hidden."""
        for around in box.iterancestors(qn("wp:anchor"), qn("wp:inline")):
            properties = around.find(qn("wp:docPr"))
            if properties is not None and properties.get("hidden") in ("1", "true"):
                return True
        return False

    def _of_paragraph(self, paragraph: Any) -> list[Any]:
        properties = paragraph.find(qn("w:pPr"))
        return self._styled(properties, "w:pStyle")

    def _styled(self, properties: Any, reference: str) -> list[Any]:
        """Return the run properties of the style that `properties` names, and of those it is based on."""
        named = properties.find(qn(reference)) if properties is not None else None
        identity = named.get(qn("w:val")) if named is not None else ""
        return [style.find(qn("w:rPr")) for style in self._chains.get(identity or "", [])]

    def _ground(self, sources: list[Any], paragraph: Any) -> Colour | None:
        """Return the colour behind a run, from the nearest shading outwards; None where it is not known."""
        if _find(sources, "w:highlight") is not None:
            return _UNKNOWN
        shading = _find(sources, "w:shd")
        properties = paragraph.find(qn("w:pPr"))
        if shading is None and properties is not None:
            shading = properties.find(qn("w:shd"))
        return self._behind(paragraph) if shading is None else _fill(shading, self._page)

    def _behind(self, paragraph: Any) -> Colour | None:
        for around in paragraph.iterancestors(qn("w:tc"), qn("w:tbl"), qn("w:txbxContent")):
            if around.tag == qn("w:txbxContent"):
                return _UNKNOWN
            if around.tag == qn("w:tc"):
                shading = around.find(_path("w:tcPr/w:shd"))
                if shading is not None and (fill := _fill(shading, _UNKNOWN)) is not None:
                    return fill
            style = around.find(_path("w:tblPr/w:tblStyle"))
            if style is not None and style.get(qn("w:val")) in self._shaded_tables:
                return _UNKNOWN
        return self._page


def page_colour(document: Any) -> Colour | None:
    """Return the page's colour: white, unless the document gives another."""
    background = document.find(qn("w:background"))
    return WHITE if background is None else colour_of(background.get(qn("w:color")))


def _chains(styles: Any) -> dict[str, list[Any]]:
    """Return each style with those it is based on, nearest first; a cycle ends a chain."""
    by_id = {style.get(qn("w:styleId")) or "": style for style in styles.iter(qn("w:style"))}
    chains: dict[str, list[Any]] = {}
    for identity in by_id:
        chain: list[Any] = []
        at: str | None = identity
        while at in by_id and by_id[at] not in chain:
            chain.append(by_id[at])
            based_on = by_id[at].find(qn("w:basedOn"))
            at = based_on.get(qn("w:val")) if based_on is not None else None
        chains[identity] = chain
    return chains


def _path(steps: str) -> str:
    return "/".join(qn(step) for step in steps.split("/"))


def _find(sources: list[Any], name: str) -> Any:
    found = (source.find(qn(name)) for source in sources if source is not None)
    return next((element for element in found if element is not None), None)


def _first(sources: list[Any], name: str) -> str | None:
    element = _find(sources, name)
    value: str | None = element.get(qn("w:val")) if element is not None else None
    return value


def _toggled(sources: list[Any], name: str) -> bool:
    return _is_on(_find(sources, name))


def _is_on(element: Any) -> bool:
    return element is not None and (element.get(qn("w:val")) or "1").lower() not in _OFF


def _fill(shading: Any, otherwise: Colour | None) -> Colour | None:
    """Return the colour of a shading (w:shd); `otherwise` for an automatic one."""
    # A pattern other than `clear` mixes two colours.
    if shading.get(qn("w:val")) not in (None, "clear", "nil"):
        return _UNKNOWN
    return colour_of(shading.get(qn("w:fill"))) or otherwise
