"""`strongroom access import`: read a manifest, send it in pieces, and say what became of each row."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.errors import InvalidInput
from services.cli.connection import Connection
from services.cli.terminal import answers, messages, plain, print_json
from services.documents.upload import file_name_in

FIELDS: Final = ("path", "collection", "allow", "deny", "clearance", "compartments")
"""What a row of a manifest may say; anything else is refused, because it may be meant as a denial."""
_LISTS: Final = frozenset({"allow", "deny", "compartments"})
SEPARATOR: Final = ";"
ROWS_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 512 * 1024
WORDS_AT_ONCE: Final = 20_000
"""What one request holds at most; the server takes 1 MiB, and answers a piece within seconds."""
_WAIT_S: Final = 600.0


@dataclass(frozen=True)
class ManifestRow:
    """A row as it is sent, and where it stands in the manifest (from 1)."""

    number: int
    fields: dict[str, Any]


def import_manifest(
    connection: Connection, manifest: Path, *, everyone: bool, dry_run: bool, as_json: bool
) -> bool:
    """Import a manifest and print the outcome; returns whether every row succeeded.

    Raises InvalidInput for a manifest that cannot be understood as a whole, before anything is sent.
    """
    rows = read_manifest(manifest)
    unique, refused = _without_namesakes(rows)
    outcomes = list(refused)
    for piece in _pieces(unique):
        body = {"rows": [row.fields for row in piece], "everyone": everyone, "dry_run": dry_run}
        answered = connection.post("/v1/access/import", body, timeout_s=_WAIT_S)["rows"]
        outcomes += [{**outcome, "row": row.number} for row, outcome in zip(piece, answered, strict=True)]
        messages().print(f"{len(outcomes)} of {len(rows)} rows", style="dim")
    outcomes.sort(key=lambda outcome: outcome["row"])
    counts = Counter(outcome["outcome"] for outcome in outcomes)
    totals = {name: counts[name] for name in ("applied", "unchanged", "failed")}
    if as_json:
        print_json({"dry_run": dry_run, "totals": totals, "rows": outcomes})
    else:
        _print(outcomes, totals, dry_run=dry_run)
    return not totals["failed"]


# --- reading --------------------------------------------------------------------------------------


def read_manifest(manifest: Path) -> list[ManifestRow]:
    """Return the rows of a CSV or JSON manifest; raises InvalidInput with the place of what is wrong."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file at {manifest}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("The manifest is not UTF-8 text.", hint="Export it as “CSV UTF-8”.") from error
    if manifest.suffix.lower() == ".json":
        return _from_json(text)
    if manifest.suffix.lower() == ".csv":
        return _from_csv(text)
    raise InvalidInput("A manifest is a file that ends in .csv or .json.")


def _from_csv(text: str) -> list[ManifestRow]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_names(header, "line 1")
        rows: list[ManifestRow] = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                where = f"line {reader.line_num}"
                if len(cells) != len(header):
                    raise InvalidInput(f"The manifest's {where} has {len(cells)} columns, not {len(header)}.")
                rows.append(ManifestRow(len(rows) + 1, _fields(dict(zip(header, cells, strict=True)), where)))
    except csv.Error as error:
        raise InvalidInput(f"The manifest's line {reader.line_num} is no CSV: {error}.") from error
    return rows


def _from_json(text: str) -> list[ManifestRow]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput("The manifest is not valid JSON.") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InvalidInput("A JSON manifest is a list of objects, one for each file.")
    rows = []
    for number, row in enumerate(found, 1):
        _check_names(list(row), f"row {number}")
        rows.append(ManifestRow(number, _fields(row, f"row {number}")))
    return rows


def _check_names(names: Sequence[str], where: str) -> None:
    unknown = sorted(set(names) - set(FIELDS))
    if unknown or len(set(names)) != len(names) or "path" not in names:
        wrong = f"does not know “{plain(unknown[0])}”" if unknown else "needs “path”, and each name once"
        raise InvalidInput(f"The manifest's {where} {wrong}.", hint=f"Its names are {', '.join(FIELDS)}.")


def _fields(row: dict[str, Any], where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if name in _LISTS:
            fields[name] = _words(value, f"{where}, {name}")
        elif name == "clearance":
            fields[name] = _number(value, where)
        elif name == "path" or value not in (None, ""):
            fields[name] = _text(value, f"{where}, {name}")
    return fields


def _words(value: object, where: str) -> list[str]:
    words = (value or "").split(SEPARATOR) if isinstance(value, str | None) else value
    if not isinstance(words, list):
        raise InvalidInput(f"The manifest's {where} is no list of names.")
    return [stripped for word in words if (stripped := _text(word, where).strip())]


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"The manifest's {where} is no text.")
    return value


def _number(value: object, where: str) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidInput(f"The manifest's {where}, clearance is no whole number.")


# --- sending --------------------------------------------------------------------------------------


def _without_namesakes(rows: Sequence[ManifestRow]) -> tuple[list[ManifestRow], list[dict[str, Any]]]:
    """Return the rows to send, and the outcomes of those that mean one file with another row.

    The server says the same about each request; pieces of one manifest must not hide it.
    """
    named = Counter(file_name_in(row.fields["path"]) for row in rows)
    unique = [row for row in rows if named[file_name_in(row.fields["path"])] == 1]
    sent = {row.number for row in unique}
    error = {
        "code": "conflict",
        "message": "More than one row is about a file of this name.",
        "hint": None,
        "param": "path",
    }
    refused = [
        {
            "row": row.number,
            "path": row.fields["path"],
            "outcome": "failed",
            "file_id": None,
            "error": error,
        }
        for row in rows
        if row.number not in sent
    ]
    return unique, refused


def _pieces(rows: Iterable[ManifestRow]) -> Iterator[list[ManifestRow]]:
    piece: list[ManifestRow] = []
    size = words = 0
    for row in rows:
        length, named = len(json.dumps(row.fields)), _words_of(row)
        too_many = len(piece) == ROWS_AT_ONCE or words + named > WORDS_AT_ONCE
        if piece and (too_many or size + length > BYTES_AT_ONCE):
            yield piece
            piece, size, words = [], 0, 0
        piece.append(row)
        size, words = size + length, words + named
    if piece:
        yield piece


def _words_of(row: ManifestRow) -> int:
    """Return how often a row names somebody; the server takes a row with too many, and fails it alone."""
    return len(row.fields.get("allow", ())) + len(row.fields.get("deny", ()))


# --- telling --------------------------------------------------------------------------------------


def _print(outcomes: Sequence[dict[str, Any]], totals: dict[str, int], *, dry_run: bool) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("row", justify="right")
    table.add_column("path", overflow="fold")
    table.add_column("outcome")
    table.add_column("reason", overflow="fold")
    for outcome in outcomes:
        error = outcome["error"] or {}
        reason = " ".join(text for text in (error.get("message"), error.get("hint")) if text)
        table.add_row(str(outcome["row"]), plain(outcome["path"]), outcome["outcome"], plain(reason))
    console = answers()
    console.print(table)
    counts = ", ".join(f"{count} {name}" for name, count in totals.items() if count)
    kept = "; nothing was changed" if dry_run else ""
    console.print(f"\n{counts or 'no rows'}{kept}", style="bold")
