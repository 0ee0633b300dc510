"""What a reader of a PDF page sees of its text, and what is hidden: drawn invisibly, covered, or too small.

Few texts are suspect: those drawn lightly or not at all, and those that share their place with a filled
shape or a picture. Only for them the page is drawn, and its pixels decide.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import pypdfium2.raw as pdfium
from PIL import Image, ImageDraw

from ingest.parse.blocks import Hidden
from ingest.parse.pages.page_layout import Box
from ingest.parse.pages.pdf_view import View

# Text below this size, in points, is no text to a reader.
MIN_SIZE: Final = 1.0
# Differences of 255 levels below which ink is not told from its ground, or is of the ground's colour.
SEEN_CONTRAST: Final = 16
SAME_COLOUR: Final = 32
# A text whose channels all exceed this is suspect: the usual ground is white.
LIGHT: Final = 200
OPAQUE: Final = 128
PIXELS_PER_POINT: Final = 1.5
MAX_PIXELS: Final = 4_000_000
# How far above and below a word, in points, the colour of its ground is taken.
FRAME: Final = 3.0
# Shapes lower or narrower than this many points are rules, which neither hide a text nor carry one.
MIN_SHAPE: Final = 3.0
# A page is a scan with a text layer when a picture fills so much of it, and so much of the text is invisible.
SCAN_PICTURE_SHARE: Final = 0.5
SCAN_INVISIBLE_SHARE: Final = 0.8
MAX_FORM_OBJECTS: Final = 50
MAX_FORM_DEPTH: Final = 2
_SHAPES: Final = (
    pdfium.FPDF_PAGEOBJ_PATH,
    pdfium.FPDF_PAGEOBJ_IMAGE,
    pdfium.FPDF_PAGEOBJ_SHADING,
    pdfium.FPDF_PAGEOBJ_FORM,
)
_OVER_EVERYTHING: Final = 1 << 62
# Notes that lie over the page; the others are drawn beside it, or not at all.
_COVERING_NOTES: Final = (
    pdfium.FPDF_ANNOT_SQUARE,
    pdfium.FPDF_ANNOT_CIRCLE,
    pdfium.FPDF_ANNOT_POLYGON,
    pdfium.FPDF_ANNOT_STAMP,
    pdfium.FPDF_ANNOT_FREETEXT,
    pdfium.FPDF_ANNOT_REDACT,
    pdfium.FPDF_ANNOT_INK,
)

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Style:
    """How one text object is drawn, and as the how-manieth of its page.

    `covered` says that a picture of the whole page lies over it.
    """

    at: int
    invisible: bool
    tiny: bool
    light: bool
    colour: Colour
    covered: bool

    @property
    def suspect(self) -> bool:
        return self.invisible or self.tiny or self.light or self.covered


class Sight:
    """Which characters of one page a reader sees."""

    def __init__(self, page: Any, textpage: Any, view: View, draw: Callable[[float], Image.Image]) -> None:
        """Look at what the page draws; `draw` gives its image at a number of pixels per point."""
        self._textpage = textpage
        self._view = view
        self._draw = draw
        self._styles: dict[int, _Style] = {}
        self._places: dict[int, int] = {}
        self._shapes: list[tuple[int, Box]] = []
        self._last_whole_picture = -1
        self._has_forms = False
        self._look(page)
        self.picture_share = min(1.0, self._picture_area / max(view.width * view.height, 1.0))

    def hidden(self, indices: Sequence[int]) -> Hidden | None:
        """Return why a reader does not see the word made of these characters, or None for a visible one."""
        if self.is_plain:
            return None
        if not self._is_questionable(indices):
            return None
        boxes = [self._box(index) for index in indices]
        around = self._colour_around([box for box in boxes if box is not None])
        reasons = [self._reason(index, box, around) for index, box in zip(indices, boxes, strict=True)]
        unseen = [reason for reason in reasons if reason is not None]
        # One character cannot be judged by its pixels; a word can.
        return Counter(unseen).most_common(1)[0][0] if 2 * len(unseen) > len(reasons) else None

    def _is_questionable(self, indices: Sequence[int]) -> bool:
        """Say whether a word must be looked at: it is drawn oddly, or begins or ends in a shape's place."""
        styles = (self._style(index) for index in indices)
        if any(style is not None and style.suspect for style in styles):
            return True
        ends = (self._box(index) for index in {indices[0], indices[-1]})
        return any(box is not None and self._shares_place(box) for box in ends)

    @cached_property
    def is_plain(self) -> bool:
        """Say that every text of the page is drawn for all to see, over nothing and under nothing."""
        suspect = any(style.suspect for style in self._styles.values())
        return not (suspect or self._shapes or self._has_forms)

    @cached_property
    def is_scan_with_text(self) -> bool:
        """Say whether the page is a picture whose recognised text was laid under or over it, unseen."""
        if self.picture_share < SCAN_PICTURE_SHARE:
            return False
        inked = unseen = 0
        for index in range(self._textpage.count_chars()):
            style = self._style(index)
            if style is not None:
                inked += 1
                unseen += style.invisible or style.covered
        return inked > 0 and unseen >= SCAN_INVISIBLE_SHARE * inked

    # --- what the page draws ------------------------------------------------------------------------

    def _look(self, page: Any) -> None:
        self._picture_area = 0.0
        texts: list[Any] = []
        for at in range(pdfium.FPDFPage_CountObjects(page)):
            drawn = pdfium.FPDFPage_GetObject(page, at)
            kind = pdfium.FPDFPageObj_GetType(drawn)
            if kind == pdfium.FPDF_PAGEOBJ_TEXT:
                self._places[_address(drawn)] = at
                texts.append(drawn)
            elif kind in _SHAPES:
                self._note_shape(drawn, kind, at, is_first=not texts and not self._has_forms)
                self._has_forms |= kind == pdfium.FPDF_PAGEOBJ_FORM
        self._note_annotations(page)
        # Only now, because a picture may follow the texts that it covers.
        for drawn in texts:
            self._style_of(drawn)

    def _note_shape(self, drawn: Any, kind: int, at: int, *, is_first: bool) -> None:
        bounds = [ctypes.c_float() for _ in range(4)]
        if not pdfium.FPDFPageObj_GetBounds(drawn, *bounds):
            return
        x0, y0, x1, y1 = self._view.box(*(bound.value for bound in bounds))
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, self._view.width), min(y1, self._view.height)
        if x1 - x0 < MIN_SHAPE or y1 - y0 < MIN_SHAPE:
            return
        if kind == pdfium.FPDF_PAGEOBJ_PATH and not _is_filled(drawn):
            return
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE or (kind == pdfium.FPDF_PAGEOBJ_FORM and _holds_picture(drawn)):
            area = (x1 - x0) * (y1 - y0)
            self._picture_area += area
            whole = area > SCAN_PICTURE_SHARE * self._view.width * self._view.height
            if kind == pdfium.FPDF_PAGEOBJ_IMAGE and whole and not pdfium.FPDFPageObj_HasTransparency(drawn):
                self._last_whole_picture = at
        elif kind == pdfium.FPDF_PAGEOBJ_PATH and is_first and _is_light(_fill(drawn)):
            return  # White paper under dark text; light text is suspect anyhow.
        self._shapes.append((at, (x0, y0, x1, y1)))

    def _note_annotations(self, page: Any) -> None:
        for at in range(pdfium.FPDFPage_GetAnnotCount(page)):
            note = pdfium.FPDFPage_GetAnnot(page, at)
            rectangle = pdfium.FS_RECTF()
            if pdfium.FPDFAnnot_GetSubtype(note) in _COVERING_NOTES and pdfium.FPDFAnnot_GetRect(
                note, rectangle
            ):
                box = self._view.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
                self._shapes.append((_OVER_EVERYTHING, box))
            pdfium.FPDFPage_CloseAnnot(note)

    def _style(self, index: int) -> _Style | None:
        """Return how a character is drawn; None for a space that PDFium put in."""
        drawn = pdfium.FPDFText_GetTextObject(self._textpage, index)
        return self._style_of(drawn) if drawn else None

    def _style_of(self, drawn: Any) -> _Style:
        key = _address(drawn)
        known = self._styles.get(key)
        if known is None:
            red, green, blue, alpha = _fill(drawn)
            mode = pdfium.FPDFTextObj_GetTextRenderMode(drawn)
            stroked = mode in (
                pdfium.FPDF_TEXTRENDERMODE_STROKE,
                pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE,
            )
            at = self._places.get(key, self._last_whole_picture)
            known = _Style(
                at=at,
                invisible=mode == pdfium.FPDF_TEXTRENDERMODE_INVISIBLE,
                tiny=_size(drawn) < MIN_SIZE,
                light=not stroked and _is_light((red, green, blue, alpha)),
                colour=(red, green, blue),
                covered=at < self._last_whole_picture,
            )
            self._styles[key] = known
        return known

    # --- what a reader sees -------------------------------------------------------------------------

    def _reason(self, index: int, box: Box | None, around: Callable[[], Colour]) -> Hidden | None:
        style = self._style(index)
        if style is None:
            return None
        if style.tiny:
            return "size"
        if style.invisible or style.covered:
            return self._reason_on_scan(box, "covered" if style.covered else "not_shown")
        if box is None or not (style.light or self._shares_place(box)):
            return None
        return self._reason_by_pixels(box, style, around)

    def _reason_on_scan(self, box: Box | None, otherwise: Hidden) -> Hidden | None:
        """Let the text layer of a scan pass where there is ink under it."""
        if not self.is_scan_with_text:
            return otherwise
        return None if box is not None and self._contrast(box) >= SEEN_CONTRAST else otherwise

    def _reason_by_pixels(self, box: Box, style: _Style, around: Callable[[], Colour]) -> Hidden | None:
        # Light letters are compared with their ground, because other ink may lie under or over them.
        if style.light and _alike(around(), style.colour):
            return "colour"
        if self._contrast(box) >= SEEN_CONTRAST:
            return None
        if self._is_under_shape(box, style) or not (style.light or _alike(around(), style.colour)):
            return "covered"
        return "colour"

    def _is_under_shape(self, box: Box, style: _Style) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return any(at > style.at and x0 <= x <= x1 and y0 <= y <= y1 for at, (x0, y0, x1, y1) in self._shapes)

    def _colour_around(self, boxes: list[Box]) -> Callable[[], Colour]:
        """Return a function for the commonest colour on the frame around a word."""

        @cache
        def colour() -> Colour:
            area = self._crop(
                (
                    min(box[0] for box in boxes),
                    min(box[1] for box in boxes) - FRAME,
                    max(box[2] for box in boxes),
                    max(box[3] for box in boxes) + FRAME,
                )
            )
            return (255, 255, 255) if area is None else _commonest_on_frame(area)

        return colour

    def _contrast(self, box: Box) -> int:
        area = self._crop(box)
        return 255 if area is None else _contrast(area)

    def _crop(self, box: Box) -> Image.Image | None:
        picture, scale = self._picture
        x0, y0, x1, y1 = (round(value * scale) for value in box)
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, picture.width), min(y1, picture.height)
        return picture.crop((x0, y0, x1, y1)) if x1 > x0 and y1 > y0 else None

    @cached_property
    def _picture(self) -> tuple[Image.Image, float]:
        size = self._view.width * self._view.height * PIXELS_PER_POINT**2
        scale = PIXELS_PER_POINT * min(1.0, (MAX_PIXELS / max(size, 1.0)) ** 0.5)
        return self._draw(scale), scale

    def _shares_place(self, box: Box) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        ground = self._ground
        return 0 <= x < ground.width and 0 <= y < ground.height and bool(ground.getpixel((int(x), int(y))))

    @cached_property
    def _ground(self) -> Image.Image:
        """Return a map, a point a pixel, of where shapes and pictures are."""
        most = 4096
        size = (min(int(self._view.width) + 1, most), min(int(self._view.height) + 1, most))
        ground = Image.new("1", size)
        draw = ImageDraw.Draw(ground)
        for _, shape in self._shapes:
            draw.rectangle(shape, fill=1)
        return ground

    def _box(self, index: int) -> Box | None:
        """Return where to look for a character's ink: within its height, and a little to both sides.

        A cover need not be higher than the letters, and a letter must not be looked at so closely that
        nothing but its own ink is seen.
        """
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        if not pdfium.FPDFText_GetCharBox(self._textpage, index, left, right, bottom, top):
            return None
        x0, y0, x1, y1 = self._view.box(left.value, bottom.value, right.value, top.value)
        size = max(float(pdfium.FPDFText_GetFontSize(self._textpage, index)), x1 - x0, y1 - y0)
        aside = 0.12 * min(size, 4 * max(x1 - x0, y1 - y0))
        if y1 - y0 < 0.4 * min(size, 40.0):
            y0, y1 = y0 - aside, y1 + aside
        else:
            y0, y1 = y0 + 0.15 * (y1 - y0), y1 - 0.15 * (y1 - y0)
        return x0 - aside, y0, x1 + aside, y1


def _address(drawn: Any) -> int:
    return ctypes.cast(drawn, ctypes.c_void_p).value or 0


def _fill(drawn: Any) -> tuple[int, int, int, int]:
    """Return red, green, blue and opacity, 0…255; black where a pattern fills."""
    parts = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetFillColor(drawn, *parts):
        return 0, 0, 0, 255
    red, green, blue, alpha = (int(part.value) for part in parts)
    return red, green, blue, alpha


def _is_light(fill: Iterable[int]) -> bool:
    red, green, blue, alpha = fill
    return min(red, green, blue) > LIGHT or alpha < OPAQUE


def _is_filled(path: Any) -> bool:
    mode, stroke = ctypes.c_int(), ctypes.c_int()
    return bool(pdfium.FPDFPath_GetDrawMode(path, mode, stroke)) and mode.value != pdfium.FPDF_FILLMODE_NONE


def _holds_picture(form: Any, depth: int = 0) -> bool:
    """Say whether a form XObject, in which scanning programs like to wrap a page, draws a picture."""
    for at in range(min(pdfium.FPDFFormObj_CountObjects(form), MAX_FORM_OBJECTS)):
        drawn = pdfium.FPDFFormObj_GetObject(form, at)
        kind = pdfium.FPDFPageObj_GetType(drawn)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            return True
        if kind == pdfium.FPDF_PAGEOBJ_FORM and depth < MAX_FORM_DEPTH and _holds_picture(drawn, depth + 1):
            return True
    return False


def _size(text: Any) -> float:
    """Return the size as drawn, in points, by the text matrix's area, so that squeezing counts."""
    size, matrix = ctypes.c_float(), pdfium.FS_MATRIX()
    if not pdfium.FPDFTextObj_GetFontSize(text, size) or not pdfium.FPDFPageObj_GetMatrix(text, matrix):
        return MIN_SIZE
    area = abs(matrix.a * matrix.d - matrix.b * matrix.c)
    return float(abs(float(size.value)) * float(area) ** 0.5)


def _contrast(area: Image.Image) -> int:
    extrema = area.getextrema()
    return max(int(high) - int(low) for low, high in extrema)  # type: ignore[misc]  # one pair a channel


def _alike(one: Colour, other: Colour) -> bool:
    return all(abs(a - b) <= SAME_COLOUR for a, b in zip(one, other, strict=True))


def _commonest_on_frame(area: Image.Image) -> Colour:
    wide, high = area.size
    strips = (
        area.crop((0, 0, wide, 1)),
        area.crop((0, high - 1, wide, high)),
        area.crop((0, 0, 1, high)),
        area.crop((wide - 1, 0, wide, high)),
    )
    counted: Counter[Any] = Counter()
    for strip in strips:
        for times, colour in strip.getcolors(strip.width * strip.height) or ():
            counted[colour] += times
    red, green, blue = counted.most_common(1)[0][0]
    return int(red), int(green), int(blue)
