"""`strongroom audit prune`, `backup-keys`, `restore-keys`: with the server or without, on the record."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import finish_unfinished
from infra.audit.removal.key_backups import expire_backups, restore_keys, save_keys
from infra.audit.removal.retention import Pruned, prune
from infra.clock import new_id
from infra.database.traces import empty_write_ahead_log
from infra.errors import Conflict, DatabaseBusy, NotFound
from infra.keys import MasterKey
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.cli.terminal import answers, print_json
from services.outposts import outside_of


def prune_record(settings: Settings, *, as_json: bool) -> None:
    """Remove what the days in the settings say, end what is over, and print what went."""
    days = {str(name): count for name, count in settings.retention_days.items() if count}
    with _opened(settings) as (ledger, _):
        done = prune(ledger, days, corr=new_id(), outside=outside_of(settings))
        expired = expire_backups(ledger, corr=new_id())
        finish_unfinished(ledger.database)
        empty_write_ahead_log(ledger.database)
    if as_json:
        print_json(
            {
                "contents": done.contents,
                "records": done.records,
                "minimum": done.minimum,
                "held": done.is_held,
                "key_backups_expired": expired,
            }
        )
    else:
        _print_pruned(done, days, expired)


def backup_keys(settings: Settings, out: Path, days: int, *, as_json: bool) -> None:
    """Write a backup of the keys of recorded contents to a new file; raises Conflict where one is there."""
    if out.exists():
        raise Conflict(f"{out} is there already.", hint="Give another name; a backup is never overwritten.")
    with _opened(settings) as (ledger, master_key):
        backup = save_keys(ledger, master_key, days, corr=new_id())
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(backup)
        file.flush()
        os.fsync(file.fileno())
    expires_at = json.loads(backup)["expires_at"]
    until = datetime.datetime.fromtimestamp(expires_at / 1000, datetime.UTC).isoformat(timespec="seconds")
    if as_json:
        print_json({"file": str(out), "expires_at": until})
    else:
        answers().print(f"The keys are in {out}. It can be restored until {until}.", soft_wrap=True)


def restore_backup(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Put back the keys that are missing from a backup, and print how many."""
    backup = file.read_bytes()
    with _opened(settings) as (ledger, master_key):
        restored = restore_keys(ledger, master_key, backup, corr=new_id())
    if as_json:
        print_json(vars(restored))
        return
    console = answers()
    console.print(f"{restored.restored} keys were restored, {restored.present} were here.")
    if restored.erased:
        console.print(f"{restored.erased} belong to people who were erased since, and stay erased.")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Ledger, MasterKey]]:
    """Yield the record of a data folder for writing; raises NotFound where there is none."""
    if settings.database_url is None and not (settings.data_dir / "strongroom.sqlite3").is_file():
        raise NotFound(
            f"There is no record in {settings.data_dir}.", hint="Give its data folder with --data-dir."
        )
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    try:
        yield ledger, master_key
    except SQLAlchemyError as error:
        raise DatabaseBusy(
            f"The database did not take it ({type(error).__name__}).", hint="Try again in a moment."
        ) from error
    finally:
        ledger.close()
        database.close()


def _print_pruned(done: Pruned, days: dict[str, int], expired: int) -> None:
    console = answers()
    if not days:
        console.print("Everything is kept for ever: STRONGROOM_RETENTION_DAYS sets no days.")
    for kind, count in done.contents.items():
        console.print(f"{kind}: {count} contents destroyed")
    if "records" in days:
        console.print(f"records: {done.records} removed, the first that is left is {done.minimum}")
    if done.is_held:
        console.print("A legal hold stands: no records were removed.")
    if expired:
        console.print(f"{expired} backups of keys have ended")
