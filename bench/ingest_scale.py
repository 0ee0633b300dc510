"""Measure how ingestion grows: pages a second by format, memory by pages, cost by size of the index.

    python -m bench.ingest_scale [--passages 100000]

Pages and memory: files made here, each read as a job reads it, in a process of its own; memory is the most
that the process itself held, apart from its children, above what it held before. Growth: made passages with
made vectors are put into the index and the database in batches as the pipeline does, and the time of a
batch is taken at several sizes; a search at each size. Everything is made here; nothing is read from outside.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from openpyxl import Workbook
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from infra.access import EVERYONE, AccessScope, DocumentAccess, Principal, scope_of
from infra.clock import new_id
from infra.vectors import EdgeIndex, Point, point_id
from ingest.parse.limits import ParseLimits
from ingest.parse.reading import read_document
from ingest.pipeline import AT_ONCE
from tests.made_documents import docx_of, pdf_of

DIMENSIONS = 384
WORDS = "harbour ledger crane anchor pilot manifest tariff berth quay cargo customs vessel".split()
PAGES = (10, 100, 1000)


def main() -> int:
    """Run the measurements and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=100_000, help="passages in the largest index")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read is not None:
        print(json.dumps(_read_here(chosen.read)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        _formats(Path(folder))
        _memory(Path(folder))
        _growth(Path(folder) / "index", chosen.passages)
    return 0


# --- files ----------------------------------------------------------------------------------------


def _lines(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=12)) for _ in range(count)]


def _scan(rng: random.Random, pages: int) -> bytes:
    """Return a PDF whose pages are pictures of text, 150 dots an inch."""
    font = ImageFont.load_default(24)
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    for _ in range(pages):
        page = Image.new("L", (1240, 1754), "white")
        pen = ImageDraw.Draw(page)
        for at, line in enumerate(_lines(rng, 35)):
            pen.text((100, 100 + at * 44), line, fill="black", font=font)
        canvas.drawImage(ImageReader(page), 0, 0, *A4)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _workbook(rng: random.Random, rows: int) -> bytes:
    book = Workbook()
    sheet = book.active
    sheet.append(["ship", "port", "tons", "note"])
    for number in range(rows):
        sheet.append([f"ship {number}", rng.choice(WORDS), number * 7, " ".join(rng.choices(WORDS, k=5))])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _read_here(file: Path) -> dict[str, float]:
    """Read one file in this process, as a job does; returns seconds, blocks, and MiB above the start."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    limits = ParseLimits(wall_s=600.0, cpu_s=600)
    parsed = read_document(lambda: _pieces(file), file.name, limits)
    took = time.monotonic() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": took, "blocks": len(parsed.blocks), "grown": grown / 1024}


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(1024 * 1024):
            yield piece


def _read_apart(file: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.ingest_scale", "--read", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _formats(folder: Path) -> None:
    rng = random.Random(1)
    made = {
        "born-digital.pdf": (pdf_of([_lines(rng, 40) for _ in range(200)]), 200, "pages"),
        "scanned.pdf": (_scan(rng, 8), 8, "pages"),
        "report.docx": (docx_of("Report", _lines(rng, 3000)), 3000, "paragraphs"),
        "table.xlsx": (_workbook(rng, 20_000), 20_000, "rows"),
    }
    print("| file | of | seconds | a second |\n|---|---|---|---|")
    for name, (content, size, unit) in made.items():
        (folder / name).write_bytes(content)
        took = median(_read_apart(folder / name)["seconds"] for _ in range(3))
        print(f"| {name} | {size:,} {unit} | {took:.2f} | **{size / took:,.1f}** |")


def _memory(folder: Path) -> None:
    rng = random.Random(2)
    print("\n| pages of a PDF | seconds | blocks | MiB above the start |\n|---|---|---|---|")
    for pages in PAGES:
        file = folder / f"{pages}.pdf"
        file.write_bytes(pdf_of([_lines(rng, 40) for _ in range(pages)]))
        found = _read_apart(file)
        print(f"| {pages:,} | {found['seconds']:.1f} | {found['blocks']:,.0f} | {found['grown']:.0f} |")


# --- growth ---------------------------------------------------------------------------------------


def _growth(folder: Path, most: int) -> None:
    rng = np.random.default_rng(3)
    words = random.Random(3)
    index = EdgeIndex(folder, DIMENSIONS, "growth")
    scope = scope_of(Principal(user_id="ada", kind="user", roles=frozenset()))
    access = DocumentAccess(allow=frozenset({EVERYONE}))
    sizes = sorted({size for size in (1_000, 3_000, 10_000, 30_000, 100_000) if size <= most} | {most})
    print("\n| passages in the index | ms a batch of 32 | ms a search |\n|---|---|---|")
    batches: list[float] = []
    for stored in range(0, most, AT_ONCE):
        points = _points(rng, words, stored, access)
        started = time.monotonic()
        index.upsert(points)
        batches.append(time.monotonic() - started)
        if sizes and stored + AT_ONCE >= sizes[0]:
            searches = [_search(index, scope, rng) for _ in range(10)]
            print(
                f"| {sizes.pop(0):,} | {median(batches[-30:]) * 1000:.1f} | {median(searches) * 1000:.1f} |"
            )
    index.close()


def _points(
    rng: np.random.Generator, words: random.Random, first: int, access: DocumentAccess
) -> Sequence[Point]:
    version = new_id()
    vectors = rng.normal(size=(AT_ONCE, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Point(
            point_id(version, first + n, "bench"),
            vector,
            " ".join(words.choices(WORDS, k=40)) + f" item{first + n}",
            version,
            version,
            access,
        )
        for n, vector in enumerate(vectors)
    ]


def _search(index: EdgeIndex, scope: AccessScope, rng: np.random.Generator) -> float:
    vector = rng.normal(size=DIMENSIONS).astype(np.float32)
    started = time.monotonic()
    index.search(scope, vector / np.linalg.norm(vector), "crane tariff", 10)
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
