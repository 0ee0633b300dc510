"""How an HTML element looks, as far as it decides whether a reader sees its text.

Inline styles, the attributes of old pages and the simple rules of `<style>` are read. What depends on the
width of a screen, on a script or on a style sheet elsewhere is not known, and then a text counts as seen.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Final

from bs4 import BeautifulSoup, Tag
from PIL import ImageColor

from ingest.parse.blocks import Hidden
from ingest.parse.runs import WHITE, Colour, looks_hidden

POINTS_OF_PIXEL: Final = 0.75
DEFAULT_PIXELS: Final = 16.0
# Nobody moves a text that is meant to be read this far to the left of its page, in pixels.
OFF_PAGE_PIXELS: Final = -500.0
MAX_OPEN: Final = 200
_VOID: Final = frozenset("area base br col embed hr img input link meta source track wbr".split())
MAX_STYLE_CHARS: Final = 500_000
_PIXELS: Final = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78}
MAX_VALUE_CHARS: Final = 200
_BLOCK_MARK = re.compile(r"[{};]")
_SIMPLE_SELECTOR = re.compile(r"(?P<tag>[a-zA-Z][\w-]*|\*)?(?P<marks>(?:[.#][\w-]+)*)$")
_LENGTH = re.compile(r"(-?\d*\.?\d+)\s*(px|pt|pc|in|cm|mm|em|rem|ex|%|vw|vh)?$")
_PROPERTIES: Final = frozenset(
    "display visibility opacity font-size color background background-color background-image position left "
    "top text-indent clip clip-path overflow height max-height content-visibility".split()
)
_UNKNOWN_GROUND = ("url(", "gradient(", "var(", "image(")


@dataclass(frozen=True, slots=True)
class Look:
    """The look of a text. A colour or ground of None is not known; `gone` hides everything below."""

    colour: Colour | None = None
    ground: Colour | None = WHITE
    pixels: float = DEFAULT_PIXELS
    invisible: bool = False
    transparent: bool = False
    gone: Hidden | None = None

    def hidden(self) -> Hidden | None:
        """Say why a reader would not see a text of this look, or None."""
        if self.gone is not None:
            return self.gone
        if self.invisible:
            return "not_shown"
        if self.transparent:
            return "colour"
        return looks_hidden(colour=self.colour, ground=self.ground, points=self.pixels * POINTS_OF_PIXEL)


@dataclass(frozen=True, slots=True)
class _Rule:
    order: int
    tag: str
    ids: frozenset[str]
    classes: frozenset[str]
    declared: dict[str, str]

    def fits(self, tag: Tag, classes: frozenset[str]) -> bool:
        return (
            (not self.tag or self.tag == tag.name)
            and self.classes <= classes
            and (not self.ids or self.ids == {str(tag.get("id", ""))})
        )


@dataclass(slots=True)
class Styles:
    """The rules of a page. `partial` says that other rules exist, which are not known."""

    partial: bool = False
    _by_key: dict[str, list[_Rule]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, soup: BeautifulSoup) -> Styles:
        """Read the style elements of a page."""
        styles = cls()
        for link in soup.find_all("link"):
            styles.partial |= "stylesheet" in str(link.get("rel", "")).lower()
        sheets = "\n".join(style.get_text() for style in soup.find_all("style"))
        styles._read(sheets[:MAX_STYLE_CHARS])
        return styles

    def look(self, tag: Tag, around: Look) -> Look:
        """Return the look of `tag` in an element that looks like `around`."""
        if tag.name == "a" and tag.has_attr("href"):
            # A browser gives links a colour of their own.
            around = replace(around, colour=None, transparent=False)
        classes = frozenset(map(str, tag.get_attribute_list("class"))) - {"None"}
        declared = self._declared(tag, classes)
        if not declared and not (self.partial and (classes or tag.get("id"))):
            return around
        look = around
        if self.partial and (classes or tag.get("id")):
            look = replace(look, ground=None)
        return _applied(look, declared)

    def _read(self, sheets: str) -> None:
        text = _without_comments(sheets)
        self.partial |= "@import" in text
        for order, rule in enumerate(_without_conditions(text).split("}")):
            selectors, _, body = rule.rpartition("{")
            declared = _declarations(body)
            if declared:
                for selector in selectors.split(";")[-1].split(","):
                    self._add(selector.strip(), declared, order)

    def _add(self, selector: str, declared: dict[str, str], order: int) -> None:
        match = _SIMPLE_SELECTOR.match(selector)
        if match is None or not selector:
            # Where such a rule applies is not known; it may well paint a ground.
            self.partial |= any(name.startswith("background") for name in declared)
            return
        marks = re.findall(r"[.#][\w-]+", match["marks"])
        tag = (match["tag"] or "").lower().replace("*", "")
        ids = frozenset(mark[1:] for mark in marks if mark.startswith("#"))
        classes = frozenset(mark[1:] for mark in marks if mark.startswith("."))
        key = next((f".{name}" for name in sorted(classes)), next((f"#{name}" for name in ids), tag))
        self._by_key[key].append(_Rule(order, tag, ids, classes, declared))

    def _declared(self, tag: Tag, classes: frozenset[str]) -> dict[str, str]:
        declared = _attributes(tag)
        if self._by_key:
            keys = (tag.name, "", f"#{tag.get('id', '')}", *(f".{name}" for name in classes))
            rules = [rule for key in keys for rule in self._by_key.get(key, ()) if rule.fits(tag, classes)]
            # More particular rules win, then later ones (CSS 2.1, 6.4.3).
            for rule in sorted(rules, key=lambda one: (len(one.ids), len(one.classes), one.order)):
                declared |= rule.declared
        style = tag.get("style")
        return declared | _declarations(str(style)) if style else declared


class OpenElements(HTMLParser):
    """Follows a page that comes in pieces, to tell whether what stands between them is seen."""

    def __init__(self) -> None:
        super().__init__()
        self._styles = Styles()
        self._open: list[tuple[str, Look]] = []

    def take(self, markup: str) -> None:
        """Read the next piece of the page; what is unfinished in it is forgotten."""
        self.feed(markup[:MAX_STYLE_CHARS])
        self.reset()

    def hidden(self) -> Hidden | None:
        """Say why a reader would not see a text at this point, or None."""
        return self._look().hidden()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        if tag not in _VOID and len(self._open) < MAX_OPEN:
            element = Tag(name=tag, attrs={name: value or "" for name, value in attrs})
            self._open.append((tag, self._styles.look(element, self._look())))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element of this name, and all within it."""
        at = next((at for at in reversed(range(len(self._open))) if self._open[at][0] == tag), None)
        if at is not None:
            del self._open[at:]

    def _look(self) -> Look:
        return self._open[-1][1] if self._open else Look()


def _without_comments(text: str) -> str:
    kept: list[str] = []
    at = 0
    while (start := text.find("/*", at)) >= 0:
        kept.append(text[at:start])
        end = text.find("*/", start + 2)
        at = end + 2 if end >= 0 else len(text)
    return "".join([*kept, text[at:]]).replace("<!--", "").replace("-->", "")


def _without_conditions(text: str) -> str:
    """Leave out blocks that begin with `@`: whether they apply depends on the screen."""
    kept: list[str] = []
    at = 0
    while (start := text.find("@", at)) >= 0:
        kept.append(text[at:start])
        at = _end_of_block(text, start)
    return "".join([*kept, text[at:]])


def _end_of_block(text: str, start: int) -> int:
    depth = 0
    for match in _BLOCK_MARK.finditer(text, start):
        mark = match.group()
        depth += (mark == "{") - (mark == "}")
        if depth <= 0 and mark != "{":
            return match.end()
    return len(text)


def _declarations(body: str) -> dict[str, str]:
    declared: dict[str, str] = {}
    for declaration in body.split(";"):
        name, colon, value = declaration.partition(":")
        name = name.strip().lower()
        if colon and name in _PROPERTIES:
            declared[name] = value[:MAX_VALUE_CHARS].replace("!important", "").strip().lower()
    return declared


def _attributes(tag: Tag) -> dict[str, str]:
    declared: dict[str, str] = {}
    if tag.has_attr("hidden"):
        declared["display"] = "none"
    if ground := tag.get("bgcolor"):
        declared["background-color"] = str(ground).lower()
    if tag.get("background"):
        declared["background-image"] = "url()"
    if tag.name == "font" and tag.get("color"):
        declared["color"] = str(tag["color"]).lower()
    if tag.name == "body" and tag.get("text"):
        declared["color"] = str(tag["text"]).lower()
    return declared


def _applied(look: Look, declared: dict[str, str]) -> Look:
    look = replace(look, ground=_ground(declared, look.ground), pixels=_font_pixels(declared, look.pixels))
    if "color" in declared and declared["color"] not in {"inherit", "unset", "currentcolor"}:
        transparent = _is_transparent(declared["color"])
        look = replace(look, colour=_colour(declared["color"]), transparent=transparent)
    if "visibility" in declared:
        look = replace(look, invisible=declared["visibility"] in {"hidden", "collapse"})
    return look if look.gone else replace(look, gone=_gone(declared))


def _gone(declared: dict[str, str]) -> Hidden | None:
    if declared.get("display") == "none" or _number(declared.get("opacity")) == 0:
        return "not_shown"
    moved = declared.get("position") in {"absolute", "fixed"}
    lengths = [declared.get("text-indent"), *((declared.get("left"), declared.get("top")) if moved else ())]
    if any((_pixels(length, DEFAULT_PIXELS) or 0) <= OFF_PAGE_PIXELS for length in lengths):
        return "off_page"
    clipped = declared.get("clip", "").replace(",", " ").replace("px", "")
    if moved and re.fullmatch(r"rect\(\s*[01]\s+[01]\s+[01]\s+[01]\s*\)", clipped):
        return "not_shown"
    heights = [declared.get("height"), declared.get("max-height")]
    if declared.get("overflow") == "hidden" and any(_pixels(value, DEFAULT_PIXELS) == 0 for value in heights):
        return "not_shown"
    return None


def _ground(declared: dict[str, str], around: Colour | None) -> Colour | None:
    ground = around
    for name in ("background", "background-color", "background-image"):
        value = declared.get(name, "")
        if any(mark in value for mark in _UNKNOWN_GROUND):
            return None
        if value and name != "background-image" and value not in {"transparent", "none", "inherit"}:
            ground = _first_colour(value)
    return ground


def _first_colour(value: str) -> Colour | None:
    whole = _colour(value)
    return whole or next((colour for part in value.split() if (colour := _colour(part))), None)


def _colour(value: str) -> Colour | None:
    try:
        channels = ImageColor.getrgb(value.strip())
    except ValueError:
        return None
    return (channels[0], channels[1], channels[2])


def _is_transparent(value: str) -> bool:
    return value == "transparent" or bool(re.fullmatch(r"rgba\([^)]*[,\s/]0(?:\.0+)?%?\s*\)", value))


def _font_pixels(declared: dict[str, str], around: float) -> float:
    size = _pixels(declared.get("font-size"), around)
    return around if size is None else size


def _pixels(value: str | None, em: float) -> float | None:
    match = _LENGTH.match(value) if value else None
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit is None:
        # A number without a unit is no length, except 0 (CSS 2.1, 4.3.2); old mail programs wrote pixels.
        return number
    if unit in {"em", "%", "ex"}:
        return number * em / (100 if unit == "%" else 1)
    if unit == "rem":
        return number * DEFAULT_PIXELS
    return number * _PIXELS[unit] if unit in _PIXELS else None


def _number(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None
