"""Erase a person from the record: their key, their mapping, their contents, what they kept and said.

The log stays as it is and verifies as before. Erasing has two steps. `begin_erasure` destroys, in one
transaction, whatever makes the rest readable, and puts `subject.erased` on the record; from its commit on
nothing of the person can be opened. `finish_erasure` removes the sealed bytes in small transactions, empties
SQLite's log, searches for what must not be found any more and completes the certificate; after a crash it is
done again. The certificate names the subject id only, which maps to nobody any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Principal
from infra.audit import content as contents
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.ledger import Ledger
from infra.audit.records import readable
from infra.audit.removal.holds import checked_reason, forget_holds, refuse_while_held, take_turns
from infra.audit.removal.removals import REPEATED
from infra.clock import new_id, now_ms
from infra.conversations import delete_conversations_of
from infra.database import Database
from infra.database.tables import (
    AuditContent,
    AuditInbox,
    AuditSubject,
    ContentPermission,
    Conversation,
    ConversationShare,
    Erasure,
    Feedback,
    KeyBackup,
    SubjectKey,
    User,
)
from infra.database.traces import (
    database_files,
    empty_write_ahead_log,
    occurrences,
    rewrite_database,
)
from infra.errors import InvalidInput, NotFound, NotPermitted

BATCH: Final = 500
"""Contents that are deleted in one transaction; bounds how long it holds SQLite's writer."""
SEARCHED_CONVERSATIONS: Final = 20
"""Keys of conversations that are searched for one by one, each in a pass over the files; with more of them
the file is written anew without being asked."""
NOBODY: Final = "There is no such person."
PAGE: Final = 100


@dataclass(frozen=True)
class ErasureWish:
    """Whom to erase: an account's id, or the subject id that the record knows them by; one of the two.

    `is_account_too` closes and empties the account as well. `reason` is for the record only.
    """

    user_id: str | None = None
    subject_id: str | None = None
    reason: str | None = None
    is_account_too: bool = False


@dataclass(frozen=True)
class Target:
    """Who is erased: a principal, their account, and their subject id, if they are on the record."""

    principal_id: str
    user_id: str | None
    subject_id: str | None


@dataclass(frozen=True)
class Begun:
    """An erasure whose first transaction is through, and what has to be searched for now."""

    id: str
    principal_id: str
    destroyed: contents.DestroyedKey | None
    conversation_keys: tuple[bytes, ...]
    """The keys of the conversations that went, as they were stored."""
    is_account_emptied: bool


def erase(ledger: Ledger, wish: ErasureWish, *, by: Principal, corr: str) -> dict[str, Any]:
    """Erase somebody; returns the certificate. A subject that was erased before has one already.

    Raises NotFound, InvalidInput, LegalHoldStands, NotPermitted for oneself, Conflict when no administrator
    would be left, and AuditUnavailable; nothing was changed then.
    """
    if wish.subject_id is not None:
        with ledger.database.read() as session:
            known = erasure_of_subject(session, wish.subject_id)
        if known is not None:
            _record_repeated(ledger, wish.subject_id, by=by, corr=corr)
            return as_json(known)
    begun = begin_erasure(ledger, wish, by=by, corr=corr)
    return finish_erasure(ledger.database, begun.id, begun)


def _record_repeated(ledger: Ledger, subject_id: str, *, by: Principal, corr: str) -> None:
    what, actor = Resource("subject", subject_id), ledger.identify(by)
    event = Event(EventType.SUBJECT_ERASED, Stage.SINGLE, corr, actor, res=what, outcome=REPEATED)
    ledger.record(event)


def begin_erasure(ledger: Ledger, wish: ErasureWish, *, by: Principal, corr: str) -> Begun:
    """Destroy what makes a person's data readable, in one transaction with its record."""
    reason = checked_reason(wish.reason)
    with ledger.database.write() as session:
        take_turns(session)
        target = find_target(session, wish)
        if target.principal_id == by.principal_id:
            raise NotPermitted("Somebody else has to erase you.", hint="What you did would go with you.")
        refuse_while_held(session, target.principal_id)
        destroyed = contents.destroy_key(session, target.subject_id) if target.subject_id else None
        conversation_keys = _conversation_keys(session, target.principal_id)
        removed = _remove_rows(session, target, destroyed, is_account_too=wish.is_account_too)
        event = Event(
            EventType.SUBJECT_ERASED,
            Stage.SINGLE,
            corr,
            ledger.actor_for(session, by),
            res=Resource("subject", target.subject_id) if target.subject_id else None,
            outcome=", ".join(f"{name} {count}" for name, count in removed.items()),
        )
        # The reason may name the person, so it is content: sealed under the key of whoever gave it.
        text = json.dumps({"reason": reason}).encode() if reason else None
        recorded = ledger.record_in(session, event, text)
        certificate = {
            "subject": target.subject_id,
            "key": destroyed.key_id if destroyed else None,
            "event": recorded.id,
            "leaf_hash": recorded.leaf_hash.hex(),
            "removed": removed,
            "key_backups_until": _backups_until(session),
            "search": None,
        }
        erasure = Erasure(id=new_id(), created_at=now_ms(), certificate=json.dumps(certificate))
        session.add(erasure)
    return Begun(erasure.id, target.principal_id, destroyed, conversation_keys, wish.is_account_too)


def find_target(session: Session, wish: ErasureWish) -> Target:
    """Return whom a wish names; raises NotFound, and InvalidInput when it names two or nobody.

    A person who was never on the record has an account and no subject.
    """
    if (wish.user_id is None) == (wish.subject_id is None):
        raise InvalidInput("Name a user or a subject, and not both.", param="user")
    if wish.subject_id is not None:
        mapped = session.get(AuditSubject, wish.subject_id)
        if mapped is None:
            raise NotFound(NOBODY)
        user = session.get(User, mapped.principal.partition(":")[2])
        return Target(mapped.principal, user.id if user else None, wish.subject_id)
    user = session.get(User, wish.user_id)
    if user is None:
        raise NotFound(NOBODY)
    principal_id = f"{user.kind}:{user.id}"
    return Target(principal_id, user.id, contents.known_subject(session, principal_id))


def finish_erasure(database: Database, erasure_id: str, begun: Begun | None = None) -> dict[str, Any]:
    """Remove the sealed bytes of an erasure and prove that nothing is found; returns the certificate.

    Can be done again at any time. `begun` knows what else can be searched for: the certificate names
    neither the person nor the destroyed key's bytes.
    """
    with database.read() as session:
        certificate = _content_of(get_erasure(session, erasure_id))
    key_id = certificate["key"]
    while key_id is not None:
        with database.write() as session:
            if contents.delete_sealed(session, key_id, limit=BATCH) < BATCH:
                break
    disk = _clean_disk(database, begun)
    with database.read() as session:
        found = _search_stores(session, certificate["subject"], key_id)
        if begun is not None:
            found |= _search_by_person(session, begun.principal_id)
    search = {"at": now_ms(), "found": found, "disk": disk}
    with database.write() as session:
        erasure = get_erasure(session, erasure_id)
        erasure.certificate = json.dumps(_content_of(erasure) | {"search": search})
    return as_json(erasure)


def finish_unfinished(database: Database) -> int:
    """Finish the erasures that a crash or a busy database interrupted; returns how many there were."""
    with database.read() as session:
        rows = session.scalars(select(Erasure)).all()
        waiting = [row.id for row in rows if not is_complete(_content_of(row), database)]
    for erasure_id in waiting:
        finish_erasure(database, erasure_id)
    return len(waiting)


# --- certificates ---------------------------------------------------------------------------------


def get_erasure(session: Session, erasure_id: str) -> Erasure:
    """Return an erasure; raises NotFound."""
    found = session.get(Erasure, erasure_id)
    if found is None:
        raise NotFound("There is no such erasure.")
    return found


def list_erasures(session: Session, *, after: str | None = None, limit: int = PAGE) -> Sequence[Erasure]:
    """List erasures, the newest first; `after` is the id that the last page ended with."""
    rows = select(Erasure).order_by(Erasure.id.desc()).limit(limit)
    return session.scalars(rows.where(Erasure.id < after) if after is not None else rows).all()


def erasure_of_subject(session: Session, subject_id: str) -> Erasure | None:
    """Return the erasure of a subject, or None when it was not erased."""
    return next((row for row in session.scalars(select(Erasure)) if _names(row, subject_id)), None)


def certified_subjects(session: Session) -> set[str]:
    """Return the ids of all subjects that were erased."""
    subjects = (_content_of(row)["subject"] for row in session.scalars(select(Erasure)))
    return {subject for subject in subjects if subject is not None}


def as_json(erasure: Erasure) -> dict[str, Any]:
    """Return the certificate for whoever asked for the erasure, or checks it."""
    return {"object": "erasure", "id": erasure.id, "created_at": erasure.created_at, **_content_of(erasure)}


def is_complete(certificate: dict[str, Any], database: Database) -> bool:
    """Tell whether everything is removed, and SQLite's log and file hold nothing of it.

    A file that had to be written anew and could not be, or in which a key was found, has to be done again.
    """
    search = certificate["search"]
    if search is None or any(search["found"].values()):
        return False
    if not database.is_sqlite:
        return True
    disk = search["disk"]
    return bool(disk["log_emptied"]) and disk.get("rewritten") is not False and not disk["key_found"]


def _content_of(erasure: Erasure) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(erasure.certificate)
    return content


def _names(erasure: Erasure, subject_id: str) -> bool:
    return subject_id in erasure.certificate and _content_of(erasure)["subject"] == subject_id


# --- what goes, and what is looked for afterwards -------------------------------------------------


def _remove_rows(
    session: Session, target: Target, destroyed: contents.DestroyedKey | None, *, is_account_too: bool
) -> dict[str, int]:
    """Delete a person's rows in every store; returns how many each had, sealed contents to come included."""
    principal_id = target.principal_id
    conversations = delete_conversations_of(session, principal_id)
    said = delete(Feedback).where(Feedback.principal == principal_id).returning(Feedback.answer_id)
    asked = delete(ContentPermission).where(ContentPermission.requester == principal_id)
    forgotten = accounts.forget_account(session, target.user_id) if is_account_too and target.user_id else 0
    return {
        "subject_mapping": int(target.subject_id is not None),
        "subject_keys": int(destroyed is not None),
        "recorded_contents": contents.count_sealed(session, destroyed.key_id) if destroyed else 0,
        "conversations": conversations.conversations,
        "conversation_turns": conversations.turns,
        "conversation_shares": conversations.shares,
        "feedback": len(session.execute(said).all()),
        "content_permissions": len(session.execute(asked.returning(ContentPermission.id)).all()),
        "lifted_holds": forget_holds(session, principal_id),
        "account_rows": forgotten,
    }


def _search_stores(session: Session, subject_id: str | None, key_id: str | None) -> dict[str, int]:
    """Search for what the record had of a subject; each count has to be 0."""
    mapping = select(func.count()).select_from(AuditSubject).where(AuditSubject.subject_id == subject_id)
    keys = select(func.count()).select_from(SubjectKey).where(SubjectKey.subject_id == subject_id)
    return {
        "subject_mapping": session.scalar(mapping) or 0,
        "subject_keys": session.scalar(keys) or 0,
        "recorded_contents": contents.count_sealed(session, key_id) if key_id else 0,
        "inbox": _waiting_contents(session, key_id),
    }


def _search_by_person(session: Session, principal_id: str) -> dict[str, int]:
    """Search for what a person kept and said; each count has to be 0."""
    rules = {
        "conversations": (Conversation, Conversation.owner == principal_id),
        "conversation_shares": (ConversationShare, ConversationShare.principal == principal_id),
        "feedback": (Feedback, Feedback.principal == principal_id),
        "content_permissions": (ContentPermission, ContentPermission.requester == principal_id),
    }
    return {
        name: session.scalar(select(func.count()).select_from(table).where(rule)) or 0
        for name, (table, rule) in rules.items()
    }


def _waiting_contents(session: Session, key_id: str | None) -> int:
    """Count records that wait for their place and whose content under the key is still there."""
    with_content = select(AuditInbox.leaf).join(AuditContent, AuditContent.event_id == AuditInbox.id)
    leaves = (readable(raw) for raw in session.scalars(with_content))
    return sum(1 for leaf in leaves if leaf and leaf.content and leaf.content.key == key_id)


def _clean_disk(database: Database, begun: Begun | None) -> dict[str, Any]:
    """Overwrite what deleted rows left in SQLite's files, and search them for the destroyed keys.

    A name or an address stood there in the open, so an emptied account always has the file written anew. A
    key was encrypted, and is searched for first; after a crash nobody knows any more what to search for.
    `rewritten` is None where the file did not have to be written anew, and False where it could not be.
    """
    keys = _destroyed_keys(begun)
    is_emptied, is_rewritten = empty_write_ahead_log(database), None
    found, looked_at = _find(database, keys)
    if _must_rewrite(begun) or found:
        is_rewritten = rewrite_database(database) if database.is_sqlite else None
        is_emptied = empty_write_ahead_log(database)
        found, looked_at = _find(database, keys)
    return {
        "log_emptied": is_emptied,
        "rewritten": is_rewritten,
        "searched_bytes": looked_at,
        "key_found": found,
    }


def _must_rewrite(begun: Begun | None) -> bool:
    if begun is None or begun.is_account_emptied:
        return True
    return len(begun.conversation_keys) > SEARCHED_CONVERSATIONS


def _conversation_keys(session: Session, principal_id: str) -> tuple[bytes, ...]:
    """Return the keys of a person's conversations as they are stored, the newest first."""
    theirs = select(Conversation.wrapped_key).where(Conversation.owner == principal_id)
    return tuple(session.scalars(theirs.order_by(Conversation.id.desc())))


def _destroyed_keys(begun: Begun | None) -> list[bytes]:
    """Return the keys to search for: the subject's, and those of their conversations up to a number."""
    if begun is None:
        return []
    subject_key = [begun.destroyed.wrapped] if begun.destroyed else []
    return [key for key in (*subject_key, *begun.conversation_keys[:SEARCHED_CONVERSATIONS]) if key]


def _find(database: Database, keys: Sequence[bytes]) -> tuple[int | None, int | None]:
    """Count destroyed keys in SQLite's files, and the files' bytes; PostgreSQL's are not at hand."""
    files = database_files(database)
    if not files or not keys:
        return None, None
    counts = [occurrences(files, key) for key in keys]
    return sum(found for found, _ in counts), max(looked_at for _, looked_at in counts)


def _backups_until(session: Session) -> int | None:
    """Return until when (UTC ms) a backup of keys made so far could still be opened, or None."""
    until = session.scalar(select(func.max(KeyBackup.expires_at)))
    return until if until is not None and until > now_ms() else None
