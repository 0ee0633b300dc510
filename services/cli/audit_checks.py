"""`strongroom audit verify BUNDLE` and `verify-receipt`: checks that need nothing but files and keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.audit.bundles.bundle import BundleReport, verify_bundle
from infra.audit.bundles.bundle_files import LARGEST_TEXT
from infra.audit.checkpoint import NoteUnreadable
from infra.audit.proofs.receipt import LARGEST_RECEIPT, ReceiptReport, verify_receipt
from services.cli.terminal import answers, plain, print_json, record_progress

if TYPE_CHECKING:
    from infra.audit.witness.witnessed import Cosigned

_WIDTH: Final = 12
"""Characters of the longest name in the list of what a receipt covers."""


@dataclass(frozen=True)
class Trusted:
    """What an auditor kept, and checks against."""

    key: str | None
    """The log's verifier key."""
    kept_note: str | None
    """A checkpoint of an earlier day."""
    witness_keys: tuple[str, ...]

    @classmethod
    def read(cls, key: str | None, kept: Path | None, witness_keys: list[str]) -> Trusted:
        """Take keys as they are, or from the files that they name; raises NoteUnreadable."""
        note = _text(kept) if kept is not None else None
        return cls(_key(key) if key is not None else None, note, tuple(map(_key, witness_keys)))


def check_bundle(bundle: Path, trusted: Trusted, *, as_json: bool) -> int:
    """Check a bundle, a folder or a tar archive, and print the verdict; returns the exit code."""
    with record_progress("Checking records", hidden=as_json) as progress:
        report = verify_bundle(
            bundle,
            key=trusted.key,
            kept_note=trusted.kept_note,
            witness_keys=trusted.witness_keys,
            progress=progress,
        )
    if as_json:
        print_json(_bundle_as_json(report))
    else:
        _print_bundle(report)
    return int(report.verdict)


def check_receipt(file: Path, trusted: Trusted, *, as_json: bool) -> int:
    """Check a receipt, print the verdict and what it covers; returns the exit code."""
    data = _bytes(file, LARGEST_RECEIPT)
    report = verify_receipt(data, key=trusted.key)
    # What a receipt says is shown only once it is known to follow from what was signed.
    covers = json.loads(data)["covers"] if report.is_sound else None
    if as_json:
        print_json(_receipt_as_json(report, covers))
    else:
        _print_receipt(report, covers)
    return int(report.verdict)


def print_verdict(report: BundleReport | ReceiptReport) -> None:
    """Print the verdict and its sentence."""
    style = "bold green" if report.is_sound else "bold red"
    verdict = report.verdict.name.lower().replace("_", " ")
    answers().print(plain(f"{verdict}: {report.sentence}"), style=style, soft_wrap=True)


def print_cosigned(cosigned: Iterable[Cosigned]) -> None:
    """Print what each witness vouches for, and since when nobody does."""
    for found in cosigned:
        answers().print(plain(f"  {found}"), soft_wrap=True)


def cosigned_as_json(cosigned: Iterable[Cosigned]) -> list[dict[str, Any]]:
    """Return what each witness vouches for: its name, records, and the time in UTC."""
    return [{"witness": found.witness, "size": found.size, "at": found.at} for found in cosigned]


def _print_bundle(report: BundleReport) -> None:
    print_verdict(report)
    if not report.size:
        return
    console = answers()
    console.print(f"  records {report.first} to {report.end - 1} of {report.size}; {report.checked} checked")
    if report.minimum:
        console.print(f"  the records before {report.minimum} were removed by the log's retention rules")
    console.print(f"  {report.checkpoints} earlier signatures checked")
    print_cosigned(report.cosigned)
    if report.root:
        console.print(f"  root {report.root.hex()}", soft_wrap=True)


def _bundle_as_json(report: BundleReport) -> dict[str, Any]:
    return {
        "result": report.verdict.name.lower(),
        "message": report.sentence,
        "first_bad": report.first_bad,
        "first": report.first,
        "end": report.end,
        "size": report.size,
        "minimum": report.minimum,
        "checked": report.checked,
        "checkpoints": report.checkpoints,
        "root": report.root.hex() if report.root else None,
        "own_key": report.own_key,
        "cosigned": cosigned_as_json(report.cosigned),
    }


def _print_receipt(report: ReceiptReport, covers: dict[str, Any] | None) -> None:
    print_verdict(report)
    for name, value in _covered(covers or {}):
        answers().print(plain(f"  {name:{_WIDTH}} {value}"), soft_wrap=True)


def _covered(covers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a receipt covers, line by line."""
    if not covers:
        return
    yield "asked by", f"{covers['identity']['subject']} ({covers['identity']['auth']})"
    yield "could read", f"scope {covers['scope']}"
    for passage in covers["passages"]:
        cited = {1: "cited", 0: "not cited"}.get(passage["cited"], "unknown whether cited")
        yield "passage", f"{passage['rank']}. {passage['chunk']} sha256 {passage['hash']} ({cited})"
    for model in covers["models"]:
        yield "model", f"{model['model']} prompt {model['prompt']}"
    yield "outcome", str(covers["outcome"])


def _receipt_as_json(report: ReceiptReport, covers: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "result": report.verdict.name.lower(),
        "message": report.sentence,
        "answer": report.answer,
        "records": report.records,
        "size": report.size,
        "own_key": report.own_key,
        "covers": covers,
    }


def _key(text: str) -> str:
    """Return a key that was given as it is, or in a file."""
    return _text(Path(text)).strip() if "+" not in text or _is_file(text) else text


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        # E.g. a key that is longer than a file's name may be.
        return False


def _text(file: Path) -> str:
    try:
        return _bytes(file, LARGEST_TEXT).decode()
    except UnicodeDecodeError as error:
        raise NoteUnreadable(f"{file} is not text in UTF-8.") from error


def _bytes(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except (OSError, ValueError) as error:
        raise NoteUnreadable(f"{file} cannot be read.", hint="Is it the right file?") from error
    if len(data) > limit:
        raise NoteUnreadable(f"{file} is too long to be what it is given as.")
    return data
