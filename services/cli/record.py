"""`strongroom audit verify`: check the whole record, whether the server runs or not, without changing it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, select
from sqlalchemy.exc import SQLAlchemyError

from infra.audit.checkpoint import NoteUnreadable, NoteUntrusted
from infra.audit.ledger import Ledger
from infra.audit.verify import Finding, Report, Verdict, verdict_of
from infra.audit.witness.cosigned import cosigned_head
from infra.audit.witness.witnessed import Cosigned, require_cosignatures, require_recent
from infra.clock import now_ms
from infra.database import Database
from infra.database.tables import AuditCheckpoint
from infra.errors import ConfigurationError, NotFound
from infra.master_key import load_master_key
from infra.settings import Settings
from infra.stores import open_ledger
from services.cli.audit_checks import cosigned_as_json, print_cosigned
from services.cli.terminal import answers, print_error, print_json

if TYPE_CHECKING:
    from infra.errors import StrongroomError
    from services.cli.audit_checks import Trusted


def verify(settings: Settings, trusted: Trusted, *, as_json: bool) -> int:
    """Check the record and print the verdict; returns the exit code, which is the verdict's number.

    A checkpoint that was kept elsewhere shows whether the record was rolled back; a key, whether it was
    replaced. Witnesses must have cosigned lately, or the record may be an old one that was put back. A record
    that cannot be opened counts as unreadable.
    """
    try:
        with opened_read_only(settings) as ledger, ledger.database.read() as session:
            report = ledger.verify_in(session, verifier_key=trusted.key, kept_note=trusted.kept_note)
            report, cosigned = _witnessed(report, cosigned_head(session), trusted.witness_keys)
    except (NotFound, ConfigurationError) as error:
        return _unreadable(error)
    except (SQLAlchemyError, OSError, TypeError, ValueError) as error:
        # A stored value of a kind that is never written here fails while it is read, before any check.
        reason = f"The record cannot be read ({type(error).__name__})."
        return _unreadable(ConfigurationError(reason, hint="Restore it from a backup, and check that."))
    if as_json:
        print_json(_as_json(report) | {"cosigned": cosigned_as_json(cosigned)})
    else:
        _print(report)
        print_cosigned(cosigned)
    return int(report.verdict)


def _witnessed(
    report: Report, head: str | None, witness_keys: tuple[str, ...]
) -> tuple[Report, tuple[Cosigned, ...]]:
    """Return the report of a record with what its witnesses cosigned lately, or what is wrong with that."""
    cosigned: tuple[Cosigned, ...] = ()
    if not report.is_sound or not witness_keys:
        return report, cosigned
    try:
        cosigned = require_cosignatures(head or "", witness_keys)
        require_recent(cosigned, now_s=now_ms() // 1000)
    except Finding as finding:
        report = replace(report, verdict=finding.verdict, sentence=finding.sentence)
    except (NoteUnreadable, NoteUntrusted) as error:
        report = replace(report, verdict=verdict_of(error), sentence=error.message)
    return report, cosigned


@contextmanager
def opened_read_only(settings: Settings) -> Iterator[Ledger]:
    """Yield the ledger of the data folder over a connection that cannot write.

    Raises NotFound when there is no database, ConfigurationError without a usable master key.
    """
    address = settings.resolved_database_url
    file = settings.data_dir / "strongroom.sqlite3"
    if settings.database_url is None:
        if not file.is_file():
            raise NotFound(
                f"There is no record in {settings.data_dir}.", hint="Give its data folder with --data-dir."
            )
        address = _read_only(file)
    master_key = load_master_key(settings, create=False)
    database = Database(address)
    try:
        ledger = open_ledger(settings, database, master_key)
        try:
            yield ledger
        finally:
            ledger.close()
    finally:
        database.close()


def _read_only(file: Path) -> str:
    """Return the address of a SQLite file that cannot be written through it (https://sqlite.org/uri.html)."""
    options = {"mode": "ro", "uri": "true"}
    address = URL.create("sqlite", database=f"file:{quote(str(file.resolve()))}", query=options)
    return address.render_as_string()


def record_facts(settings: Settings) -> dict[str, Any] | None:
    """Return how long the record is and when it was last signed; None when it is not on this machine."""
    newest = select(AuditCheckpoint.size, AuditCheckpoint.created_at)
    try:
        with opened_read_only(settings) as ledger, ledger.database.read() as session:
            row = session.execute(newest.order_by(AuditCheckpoint.size.desc()).limit(1)).first()
    except (NotFound, ConfigurationError, SQLAlchemyError):
        return None
    signed = datetime.datetime.fromtimestamp(row.created_at / 1000, datetime.UTC) if row else None
    return {
        "size": row.size if row else 0,
        "signed_at": signed.isoformat(timespec="seconds") if signed else None,
    }


def _unreadable(error: StrongroomError) -> int:
    print_error(error)
    return int(Verdict.UNREADABLE)


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "result": report.verdict.name.lower(),
        "message": report.sentence,
        "first_bad": report.first_bad,
        "size": report.size,
        "checked": report.checked,
        "checkpoints": report.checkpoints,
        "root": report.root.hex() if report.root else None,
        "contents_matched": report.contents_matched,
        "contents_erased": report.contents_erased,
        "unsealed": report.unsealed,
        "minimum": report.minimum,
    }


def _print(report: Report) -> None:
    console = answers()
    style = "bold green" if report.is_sound else "bold red"
    verdict = report.verdict.name.lower().replace("_", " ")
    console.print(f"{verdict}: {report.sentence}", style=style, soft_wrap=True)
    console.print(
        f"  {report.checked} of {report.size} records and {report.checkpoints} earlier signatures checked"
    )
    console.print(f"  {report.contents_matched} contents match, {report.contents_erased} were erased")
    if report.minimum:
        console.print(f"  the records before {report.minimum} were pruned")
    if report.unsealed:
        console.print(f"  {report.unsealed} records wait for their place")
    if report.root:
        console.print(f"  root {report.root.hex()}", soft_wrap=True)
