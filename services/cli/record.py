"""`strongroom audit verify`: check the whole record, whether the server runs or not, without changing it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, select
from sqlalchemy.exc import SQLAlchemyError

from infra.audit.ledger import Ledger
from infra.audit.verify import Report, Verdict
from infra.database import Database
from infra.database.tables import AuditCheckpoint
from infra.errors import ConfigurationError, NotFound
from infra.keys import load_or_create_master_key
from infra.settings import Settings
from infra.stores import open_ledger
from services.cli.terminal import answers, print_error, print_json

if TYPE_CHECKING:
    from infra.errors import StrongroomError


def verify(settings: Settings, *, kept: Path | None, as_json: bool) -> int:
    """Check the record and print the verdict; returns the exit code, which is the verdict's number.

    `kept` is a file with a checkpoint that somebody kept elsewhere: it shows whether the record was rolled
    back. A record that cannot be opened counts as unreadable.
    """
    try:
        with opened_read_only(settings) as ledger:
            report = ledger.verify(kept_note=kept.read_text() if kept else None)
    except (NotFound, ConfigurationError) as error:
        return _unreadable(error)
    except (SQLAlchemyError, OSError, TypeError, ValueError) as error:
        # A stored value of a kind that is never written here fails while it is read, before any check.
        reason = f"The record cannot be read ({type(error).__name__})."
        return _unreadable(ConfigurationError(reason, hint="Restore it from a backup, and check that."))
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    return int(report.verdict)


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
    master_key = load_or_create_master_key(settings.resolved_master_key_file, create=False)
    database = Database(address)
    ledger = open_ledger(settings, database, master_key)
    try:
        yield ledger
    finally:
        ledger.close()
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
    if report.unsealed:
        console.print(f"  {report.unsealed} records wait for their place")
    if report.root:
        console.print(f"  root {report.root.hex()}", soft_wrap=True)
