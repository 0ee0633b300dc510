"""Images (PNG, JPEG, TIFF, WebP): pictures of pages, whose text is recognised.

A TIFF may hold many pages. The points that boxes are measured in are ours, as a picture's own resolution
says little: its longer side is that of an A4 page, or less for a small picture.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from PIL import Image, UnidentifiedImageError

from infra.errors import UnreadableFile
from ingest.parse.blocks import ParsedDocument, with_heading_paths
from ingest.parse.limits import ParseLimits
from ingest.parse.pages.page_layout import PrintedPage, blocks_of, printed_title
from ingest.parse.pages.recognition import MAX_SIDE, recognised
from ingest.parse.pages.scanned import NeedsRecognition, RecognisedPages, is_affordable

LONGER_SIDE: Final = 842.0
"""The longer side of a picture, in points."""
POINTS_PER_PIXEL: Final = 0.75
"""The most points that one pixel is worth: 96 pixels an inch."""
MAX_PIXELS: Final = 100_000_000
"""The largest picture that is opened: an A0 sheet at 250 dots per inch; 400 MB of memory."""
MEDIA_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "TIFF": "image/tiff", "WEBP": "image/webp"}
# A JPEG with several pictures (a camera's previews, a motion photo) is one picture to its reader.
_FORMATS: Final = (*MEDIA_TYPES, "MPO")

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises for a broken picture, by its plugins.
_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


def parse(
    file: BinaryIO,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None],
    supplied: RecognisedPages | None = None,
) -> ParsedDocument:
    """Recognise the text of an image; `supplied` holds the pages that other children have recognised.

    Raises UnreadableFile: `damaged`, `too_many_pixels`, `too_many_pages`, `no_text`, and NeedsRecognition
    when it has more pages than one child recognises.
    """
    with _opened(file) as image:
        media_type = MEDIA_TYPES.get(image.format or "", "image/jpeg")
        count = _pages(image, limits)
        numbers = range(1, count + 1)
        if supplied is None and count > limits.recognised_pages:
            raise NeedsRecognition(numbers, count)
        pages: list[PrintedPage] = []
        for number in numbers:
            if supplied is None and not is_affordable(limits):
                raise NeedsRecognition(numbers, count)
            pages.append(supplied[number] if supplied else _recognised_page(image, number))
            on_progress(number, count)
    blocks = blocks_of(pages)
    if not blocks:
        raise UnreadableFile(
            "no_text",
            "No text was recognised in this image.",
            hint="If there is text to be seen, scan it again with more contrast or at a higher resolution.",
        )
    return ParsedDocument(
        title=printed_title(blocks), pages=count, blocks=with_heading_paths(blocks), media_type=media_type
    )


def recognise(
    file: BinaryIO, limits: ParseLimits, numbers: Sequence[int]
) -> Iterator[tuple[int, PrintedPage]]:
    """Yield the recognised pages of these numbers, at least one, until the child's time runs out."""
    with _opened(file) as image:
        for at, number in enumerate(numbers):
            if at > 0 and not is_affordable(limits):
                return
            yield number, _recognised_page(image, number)


def render_page(file: BinaryIO, page: int, scale: float, limits: ParseLimits) -> bytes:
    """Return page `page` (from 1) as PNG, `scale` pixels a point, upright as its own data says.

    Raises UnreadableFile(`no_such_page`) beside those of `parse`.
    """
    with _opened(file) as image:
        count = _pages(image, limits)
        if not 1 <= page <= count:
            raise UnreadableFile("no_such_page", f"This document has {count:,} pages.")
        shown = _page(image, page)
        width, height = _points(shown)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        png = io.BytesIO()
        shown.resize(size, Image.Resampling.LANCZOS).save(png, "PNG")
        return png.getvalue()


def _recognised_page(image: Image.Image, number: int) -> PrintedPage:
    shown = _page(image, number)
    return recognised(shown, *_points(shown))


def _points(image: Image.Image) -> tuple[float, float]:
    """Return the width and height of a picture in points."""
    scale = min(POINTS_PER_PIXEL, LONGER_SIDE / max(image.size))
    return image.width * scale, image.height * scale


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Yield the image with only its header read."""
    # The size is looked at in `_page`, in words of ours.
    Image.MAX_IMAGE_PIXELS = None
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except (UnidentifiedImageError, *_BROKEN) as error:
        raise _damaged() from error
    with image:
        yield image


def _pages(image: Image.Image, limits: ParseLimits) -> int:
    """Return how many pages there are; only a TIFF has more than one.

    Pillow follows the chain of pages and stops where it turns back on itself.
    """
    if image.format != "TIFF":
        return 1
    count = 1
    try:
        while count <= limits.max_pages:
            image.seek(count)
            count += 1
    except EOFError:
        image.seek(0)
        return count
    except _BROKEN as error:
        raise _damaged() from error
    raise UnreadableFile(
        "too_many_pages",
        f"This image has more than {limits.max_pages:,} pages, which is the most that is accepted.",
        hint="Split it into several files.",
    )


def _page(image: Image.Image, number: int) -> Image.Image:
    """Return one page in RGB, upright, and no larger than it is ever used."""
    try:
        if getattr(image, "n_frames", 1) > 1 or number > 1:
            image.seek(number - 1)
        if image.width * image.height > MAX_PIXELS or min(image.size) < 1:
            raise UnreadableFile(
                "too_many_pixels",
                f"This image is {image.width:,} by {image.height:,} pixels, more than can be opened.",
                hint="Save a smaller copy and upload that.",
            )
        # A JPEG can be decoded at half its size or less, which spares most of the memory.
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        turn = _turn(image)
        shown = _flat(image)
        shown.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return shown.transpose(turn) if turn is not None else shown
    except _BROKEN as error:
        raise _damaged() from error


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how a camera says its picture must be turned (Exif 2.32, tag 0x0112); None for not at all."""
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except _BROKEN:
        return None  # The picture is there, whatever its description is like.


def _flat(image: Image.Image) -> Image.Image:
    """Return a copy in RGB on white paper; deep greys keep their range."""
    if image.mode.startswith(("I", "F")):
        low, high = (float(level) for level in image.getextrema())  # type: ignore[arg-type]  # one channel
        scale = 255.0 / max(high - low, 1.0)
        flat = image.point(lambda level: level * scale - low * scale).convert("L").convert("RGB")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(layer, mask=layer.getchannel("A"))
    else:
        flat = image.convert("RGB")
        flat = flat.copy() if flat is image else flat
    return flat


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "damaged",
        "This image is incomplete or damaged and cannot be read.",
        hint="Check that the original opens, and upload it again.",
    )
