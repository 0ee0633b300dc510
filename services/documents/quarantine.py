"""What to do about files that could not be read after several attempts: release them, or discard them.

Their owners may, and curators who may read them. To everybody else the job is not there.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from infra.access import Role
from infra.audit.event_types import EventType
from infra.clock import now_ms
from infra.database.tables import Document, Job
from infra.errors import Conflict, NotFound
from ingest import jobs
from ingest.index import Removed, remove_document
from services.documents.service import Change


def job_to_act_on(session: Session, change: Change, job_id: str) -> tuple[Job, Document]:
    """Return a job that the person may change: of their own file, or one in quarantine for a curator.

    Raises NotFound otherwise.
    """
    job, document = jobs.get_job(session, change.scope, job_id)
    is_curators = job.state == "quarantined" and Role.CURATOR in change.person.roles
    if document.owner != change.principal_id and not is_curators:
        raise NotFound("There is no such job.")
    return job, document


def discard(change: Change, job_id: str) -> tuple[str, Removed]:
    """Delete the document of a job in quarantine from every store; returns its id, and what was removed.

    Raises Conflict for a job that is not in quarantine, or while an earlier version of the file answers.
    """
    parts = change.parts
    with parts.database.write() as session:
        job, document = job_to_act_on(session, change, job_id)
        # Read anew and held: a release at the same moment must not lose its file.
        session.refresh(job, with_for_update=True)
        if job.state != "quarantined":
            raise Conflict(f"This job is {job.state}, not in quarantine.")
        if document.version_id is not None:
            raise Conflict(
                "An earlier version of this file answers.",
                hint="Release the new one, or let its owner upload a better one or delete the file.",
            )
        document.deleted_at = now_ms()
        change.record_file(session, EventType.FILE_DELETED, document)
        document_id = document.id
    return document_id, remove_document(parts.database, parts.index, parts.files, document_id)
