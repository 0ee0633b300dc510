"""Batches: files that came in together, to be followed, cancelled and retried as one.

A batch is its owner's alone; its name is sealed like every name that people give. Its jobs name it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.clock import new_id, now_ms
from infra.database import Database
from infra.database.tables import Batch, Document, Job
from infra.errors import InvalidInput, NotFound
from infra.keys import MasterKey, new_key, seal, unseal
from ingest import jobs

MAX_NAME_CHARS: Final = 200
NO_SUCH_BATCH: Final = "There is no such batch."
AT_ONCE: Final = 100
"""Jobs that one transaction cancels or retries: others must be able to write in between."""

Deed = Literal["cancel", "retry"]


def create(session: Session, master_key: MasterKey, *, owner: str, name: str) -> Batch:
    """Add an empty batch; raises InvalidInput for an unusable name."""
    stripped = name.strip()
    if not 0 < len(stripped) <= MAX_NAME_CHARS or not stripped.isprintable():
        raise InvalidInput(f"A name has 1 to {MAX_NAME_CHARS} printable characters.", param="name")
    batch_id, key = new_id(), new_key()
    batch = Batch(
        id=batch_id,
        owner=owner,
        sealed_name=seal(key, stripped.encode(), context=f"batch name:{batch_id}"),
        wrapped_key=master_key.wrap(key, context=f"batch:{batch_id}"),
        created_at=now_ms(),
    )
    session.add(batch)
    session.flush()
    return batch


def get_own(session: Session, batch_id: str, owner: str) -> Batch:
    """Return a batch of this owner; raises NotFound when it is absent or not theirs."""
    batch = session.get(Batch, batch_id)
    if batch is None or batch.owner != owner:
        raise NotFound(NO_SUCH_BATCH)
    return batch


def name_of(batch: Batch, master_key: MasterKey) -> str:
    """Open the name of a batch."""
    key = master_key.unwrap(batch.wrapped_key, context=f"batch:{batch.id}")
    return unseal(key, batch.sealed_name, context=f"batch name:{batch.id}").decode()


def change_all(database: Database, batch: Batch, deed: Deed, record: Callable[[Session, Job], None]) -> int:
    """Cancel what of a batch has not ended, or retry what did not succeed; returns how many jobs.

    `record` puts each on the record, in the transaction of its change. A job whose file is not the
    batch owner's is left alone.
    """
    act = jobs.cancel if deed == "cancel" else jobs.retry
    states = {"queued", "running"} if deed == "cancel" else jobs.RETRYABLE
    changed, last = 0, ""
    while True:
        with database.write() as session:
            found = session.scalars(
                select(Job)
                .join(Document, Document.id == Job.document_id)
                .where(Job.batch_id == batch.id, Document.owner == batch.owner, Job.id > last)
                .where(Document.deleted_at.is_(None), Job.state.in_(states))
                .order_by(Job.id)
                .limit(AT_ONCE)
                # Each is read anew under its lock: what has ended meanwhile is left as it is.
                .with_for_update(of=Job)
            ).all()
            for job in found:
                act(session, job)
                record(session, job)
            changed += len(found)
        if len(found) < AT_ONCE:
            return changed
        last = found[-1].id


# --- what an upload asks for ----------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the job of an upload goes: into which queue, and which batch."""

    queue: str = jobs.INTERACTIVE
    batch_id: str | None = None


def asked_place(session: Session, owner: str, fields: Mapping[str, Sequence[str]]) -> Place:
    """Return what an upload's fields `queue` and `batch` ask for.

    Raises InvalidInput for another queue than `interactive` or `bulk`, NotFound for a batch of somebody else.
    """
    queue = next((value for value in fields.get("queue", ()) if value), jobs.INTERACTIVE)
    if queue not in (jobs.INTERACTIVE, jobs.BULK):
        raise InvalidInput("A queue is “interactive” or “bulk”.", param="queue")
    named = next((value for value in fields.get("batch", ()) if value), None)
    return Place(queue, get_own(session, named, owner).id if named else None)
