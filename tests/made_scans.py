"""Pictures of pages, as scanners and cameras make them, and files that hold them."""

from __future__ import annotations

import io
from pathlib import Path

import reportlab
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

FONT = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
PAGE_PIXELS = (1240, 1754)
"""An A4 page at 150 dots per inch."""
PIXELS_PER_POINT = 150 / 72


def page_picture(
    *texts: tuple[float, float, str], size: float = 11, pixels: tuple[int, int] = PAGE_PIXELS
) -> Image.Image:
    """Return a white page with black texts; each is (x, y, text), in points from the top left corner."""
    page = Image.new("RGB", pixels, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(str(FONT), round(size * PIXELS_PER_POINT))
    for x, y, text in texts:
        draw.text((x * PIXELS_PER_POINT, y * PIXELS_PER_POINT), text, fill="black", font=font)
    return page


def paragraph(x: float, y: float, *lines: str, leading: float = 16) -> list[tuple[float, float, str]]:
    """Return the lines of a paragraph below each other, for `page_picture`."""
    return [(x, y + at * leading, line) for at, line in enumerate(lines)]


def scanned_pdf(*pages: Image.Image) -> bytes:
    """Return a PDF in which each page is a picture and nothing else."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True)
    for page in pages:
        canvas.drawInlineImage(page, 0, 0, *A4)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def image_file(kind: str, *pages: Image.Image, orientation: int | None = None) -> bytes:
    """Return the pictures as a file of Pillow's format `kind`, all of them where it holds several."""
    out = io.BytesIO()
    options: dict[str, object] = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    if len(pages) > 1:
        options |= {"save_all": True, "append_images": list(pages[1:])}
    pages[0].save(out, kind, **options)
    return out.getvalue()
