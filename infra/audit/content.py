"""Recorded content: encrypted under a key per subject, provable while it exists, erasable for good.

The ledger keeps the SHA-256 of the sealed bytes and a salted commitment to the plaintext. The salt is
inside the sealed bytes: whoever destroys the key destroys the salt, and a short question can then not
be found by guessing. Deleting a subject's key, its mapping row and its sealed bytes erases it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Row, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from infra.audit.leaf import ContentRef
from infra.database.tables import AuditContent, AuditSubject, SubjectKey
from infra.errors import NotFound, StrongroomError
from infra.keys import MasterKey, SealBroken, new_key, seal, unseal

SALT_BYTES: Final = 32

# Built once, and on the plain table: every part of an answer waits for this, and making it anew takes longer
# than the database does.
_KEYS: Final = SubjectKey.metadata.tables[SubjectKey.__tablename__]
_SUBJECTS: Final = AuditSubject.metadata.tables[AuditSubject.__tablename__]
# A key whose row of the mapping is gone is found as well, and does not open: nobody knows whose it is.
_STORED_KEYS: Final = select(_KEYS, _SUBJECTS.c.principal).join(
    _SUBJECTS, _SUBJECTS.c.subject_id == _KEYS.c.subject_id, isouter=True
)
_KEYS_OF: Final = _STORED_KEYS.where(_KEYS.c.subject_id.in_(bindparam("subject_ids", expanding=True)))
_KEY_BY_ID: Final = _STORED_KEYS.where(_KEYS.c.key_id == bindparam("key_id"))


class ContentBroken(StrongroomError):
    """Recorded content that is not what the ledger says was recorded."""

    code = "content_broken"


class ContentErased(NotFound):
    """Recorded content whose key was destroyed."""

    code = "content_erased"


class SubjectUnknown(NotFound):
    """A subject without a key: erased, or never registered."""

    code = "subject_unknown"


def seal_content(key: bytes, key_id: str, event_id: str, plaintext: bytes) -> tuple[ContentRef, bytes]:
    """Encrypt one event's content; returns what goes into the leaf and the sealed bytes."""
    salt = os.urandom(SALT_BYTES)
    sealed = seal(key, salt + plaintext, context=_content_context(event_id))
    reference = ContentRef(
        sha256=hashlib.sha256(sealed).hexdigest(),
        commit=_commitment(salt, plaintext),
        key=key_id,
        len=len(plaintext),
    )
    return reference, sealed


def open_content(key: bytes, reference: ContentRef, event_id: str, sealed: bytes) -> bytes:
    """Decrypt one event's content and check it against its leaf; raises ContentBroken."""
    if not matches(reference, sealed):
        raise ContentBroken("The stored content is not what was recorded.")
    try:
        salted = unseal(key, sealed, context=_content_context(event_id))
    except SealBroken as error:
        raise ContentBroken("The stored content does not open.") from error
    salt, plaintext = salted[:SALT_BYTES], salted[SALT_BYTES:]
    if not hmac.compare_digest(_commitment(salt, plaintext), reference.commit):
        raise ContentBroken("The stored content is not what was committed to.")
    return plaintext


def matches(reference: ContentRef, sealed: bytes) -> bool:
    """Tell whether sealed bytes are those that a leaf names. Needs no key."""
    return hmac.compare_digest(hashlib.sha256(sealed).hexdigest(), reference.sha256)


def subject_of(session: Session, principal_id: str, master_key: MasterKey) -> str:
    """Return the principal's random subject id; the first time, create it together with its key."""
    subject_id = known_subject(session, principal_id)
    if subject_id is None:
        _create_subject(session, principal_id, master_key)
        subject_id = known_subject(session, principal_id)
    if subject_id is None:
        raise SubjectUnknown("The subject was erased at this moment.")
    return subject_id


def known_subject(session: Session, principal_id: str) -> str | None:
    """Return the principal's subject id, or None when there is none yet."""
    return session.scalar(select(AuditSubject.subject_id).where(AuditSubject.principal == principal_id))


@dataclass(frozen=True)
class WrappedKey:
    """A subject's key as it is stored, and whose it is as the mapping has it."""

    key_id: str
    subject_id: str
    principal: str | None
    wrapped: bytes

    def unwrap(self, master_key: MasterKey) -> bytes:
        """Return the key itself.

        Raises SealBroken when key or mapping were changed, or it was wrapped by another master key.
        """
        # SQLite lets anybody store text where bytes belong.
        if self.principal is None or not isinstance(self.wrapped, bytes):
            raise SealBroken("a subject's key does not open")
        return master_key.unwrap(
            self.wrapped, context=key_context(self.key_id, self.subject_id, self.principal)
        )


def keys_of(session: Session, subject_ids: Iterable[str]) -> dict[str, WrappedKey]:
    """Return the keys of those subjects that have one, by subject.

    No key is made here: one made for a subject that was just erased would outlive the erasure.
    """
    rows = session.execute(_KEYS_OF, {"subject_ids": list(subject_ids)})
    return {row.subject_id: _wrapped_key(row) for row in rows}


def key_by_id(session: Session, key_id: str, master_key: MasterKey) -> bytes:
    """Return the bytes of a key.

    Raises ContentErased when it was destroyed, ContentBroken when it, or whose it is, was changed.
    """
    row = session.execute(_KEY_BY_ID, {"key_id": key_id}).one_or_none()
    if row is None:
        raise ContentErased("This content was erased.")
    try:
        return _wrapped_key(row).unwrap(master_key)
    except SealBroken as error:
        raise ContentBroken("The key of this content does not open.") from error


def broken_subjects(session: Session, master_key: MasterKey) -> list[str]:
    """Return, in order, the subjects whose key does not open as the key of whom the mapping names."""
    broken = set()
    for row in session.execute(_STORED_KEYS):
        try:
            _wrapped_key(row).unwrap(master_key)
        except SealBroken:
            broken.add(row.subject_id)
    return sorted(broken)


def _wrapped_key(row: Row[*tuple[Any, ...]]) -> WrappedKey:
    return WrappedKey(row.key_id, row.subject_id, row.principal, row.wrapped_key)


@dataclass(frozen=True)
class DestroyedKey:
    """A subject's key after its destruction; `wrapped` is what was stored, to be searched for on the disk."""

    key_id: str
    wrapped: bytes


def destroy_key(session: Session, subject_id: str) -> DestroyedKey | None:
    """Destroy a subject's key and the row that maps it to a person; None when there was no key.

    Whatever was sealed under the key cannot be opened from the commit on; `delete_sealed` removes it.
    """
    row = session.scalar(select(SubjectKey).where(SubjectKey.subject_id == subject_id))
    destroyed = DestroyedKey(row.key_id, row.wrapped_key) if row is not None else None
    session.execute(delete(SubjectKey).where(SubjectKey.subject_id == subject_id))
    session.execute(delete(AuditSubject).where(AuditSubject.subject_id == subject_id))
    return destroyed


def delete_sealed(session: Session, key_id: str, *, limit: int) -> int:
    """Delete at most `limit` contents that were sealed under a key; returns how many."""
    some = select(AuditContent.event_id).where(AuditContent.key_id == key_id).limit(limit)
    deleted = delete(AuditContent).where(AuditContent.event_id.in_(some)).returning(AuditContent.event_id)
    return len(session.execute(deleted).all())


def count_sealed(session: Session, key_id: str) -> int:
    """Return how many contents are sealed under a key."""
    theirs = select(func.count()).select_from(AuditContent).where(AuditContent.key_id == key_id)
    return session.scalar(theirs) or 0


def _create_subject(session: Session, principal_id: str, master_key: MasterKey) -> None:
    """Insert mapping and key, unless another transaction did so first."""
    # Random rather than time-ordered ids: a subject id must tell nothing about its person.
    subject_id, key_id = str(uuid4()), str(uuid4())
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    created = session.execute(
        insert(AuditSubject)
        .values(subject_id=subject_id, principal=principal_id)
        .on_conflict_do_nothing()
        .returning(AuditSubject.subject_id)
    ).all()
    if created:
        wrapped = master_key.wrap(new_key(), context=key_context(key_id, subject_id, principal_id))
        session.add(SubjectKey(key_id=key_id, subject_id=subject_id, wrapped_key=wrapped))
        session.flush()


def _commitment(salt: bytes, plaintext: bytes) -> str:
    return hashlib.sha256(salt + plaintext).hexdigest()


def _content_context(event_id: str) -> str:
    return f"audit content {event_id}"


def key_context(key_id: str, subject_id: str, principal_id: str) -> str:
    """Return what a subject's key is wrapped together with: nobody else can be made to be the subject."""
    return f"subject key {key_id} of {subject_id}, who is {principal_id}"
