"""`strongroom audit export`: the record as a bundle, from the data folder, whether the server runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.audit.bundles.export import ExportPlan, plan_export, write_bundle
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import SYSTEM, Event, Resource
from infra.clock import new_id
from infra.database import Database
from infra.errors import Conflict, NotFound
from infra.master_key import load_master_key
from infra.stores import open_ledger
from services.cli.terminal import answers, plain, print_json, record_progress

if TYPE_CHECKING:
    from infra.audit.ledger import Ledger
    from infra.settings import Settings


def export(settings: Settings, out: Path, start: str | None, stop: str | None, *, as_json: bool) -> None:
    """Record the export, write the bundle to `out`, and say what is in it.

    Raises NotFound without a record, InvalidInput for a range that is nonsense or empty, Conflict for a
    folder that is not empty, AuditUnavailable, LedgerDamaged, and the system's own errors.
    """
    with _opened(settings) as ledger, ledger.database.read() as session:
        plan = plan_export(session, start, stop)
        if out.exists() and not _is_empty_folder(out):
            # Found before the export is on the record as one.
            raise Conflict(f"{out} exists already and is not empty.", hint="Name one that does not exist.")
        _record(ledger, plan)
        with record_progress("Writing records", hidden=as_json) as progress:
            write_bundle(session, plan, ledger.signer, out, progress)
        key = ledger.verifier_key
    if as_json:
        print_json(_as_json(plan, out, key))
    else:
        _print(plan, out, key)


@contextmanager
def _opened(settings: Settings) -> Iterator[Ledger]:
    """Yield the ledger of the data folder. The running server's own writes and this one's take turns."""
    file = settings.data_dir / "strongroom.sqlite3"
    if settings.database_url is None and not file.is_file():
        hint = "Give its data folder with --data-dir."
        raise NotFound(f"There is no record in {settings.data_dir}.", hint=hint)
    master_key = load_master_key(settings, create=False)
    database = Database(settings.resolved_database_url)
    try:
        ledger = open_ledger(settings, database, master_key)
        try:
            yield ledger
        finally:
            ledger.close()
    finally:
        database.close()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _record(ledger: Ledger, plan: ExportPlan) -> None:
    what = Resource("record", f"{plan.cut.first}-{plan.cut.end - 1}")
    # Whoever runs commands on the server is nobody that it knows; the record says it was done there.
    event = Event(EventType.AUDIT_EXPORTED, Stage.SINGLE, new_id(), SYSTEM, res=what, outcome="ok")
    ledger.record(event)


def _as_json(plan: ExportPlan, out: Path, key: str) -> dict[str, object]:
    return {
        "out": str(out),
        "first": plan.cut.first,
        "end": plan.cut.end,
        "size": plan.cut.size,
        "verifier_key": key,
    }


def _print(plan: ExportPlan, out: Path, key: str) -> None:
    console = answers()
    what = f"The records {plan.cut.first} to {plan.cut.end - 1} of {plan.cut.size} are in {out}."
    console.print(plain(what), soft_wrap=True)
    console.print(plain(f"Check them: strongroom audit verify {out} --key {key}"), soft_wrap=True)
