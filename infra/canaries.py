"""Accounts, groups and documents that the leak test makes for itself, and how every trace of them goes.

A canary's account is told by what no real account has together: a compartment `leak-test-<run>`, no e-mail
address and no password. Everything that such an account owns is the leak test's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from infra import accounts
from infra.access import Role
from infra.accounts.people import set_disabled
from infra.clock import new_id, now_ms
from infra.collections import delete_collection
from infra.conversations import delete_conversation
from infra.database.tables import (
    Chunk,
    Collection,
    Conversation,
    Document,
    Group,
    GroupMember,
    User,
)
from infra.epoch import raise_epoch

_PREFIX: Final = "leak-test-"
_COMPARTMENT: Final = re.compile(_PREFIX + "[0-9a-f-]{36}")
NAME: Final = "leak test"
"""What the names of its accounts and groups begin with."""


@dataclass(frozen=True)
class InUse:
    """What separates real people at this moment; groups are newest first, `group_count` counts them all."""

    group_ids: tuple[str, ...]
    group_count: int
    clearances: tuple[int, ...]
    compartments: tuple[str, ...]


def compartment_of_run(run_id: str) -> str:
    """Return the compartment that every canary of a run carries, and only its accounts hold."""
    return _PREFIX + run_id


def is_canary(compartment: str) -> bool:
    """Say whether a compartment is that of a run."""
    return _COMPARTMENT.fullmatch(compartment) is not None


def in_use(session: Session, *, at_most: int) -> InUse:
    """Return the groups, clearance levels and compartments in use, at most `at_most` of each."""
    clearances: set[int] = set()
    compartments: set[str] = set()
    for table in (Document, Collection):
        clearances.update(session.scalars(select(table.clearance).distinct()))
        # As text, because PostgreSQL compares no JSON.
        for names in session.scalars(select(cast(table.compartments, Text)).distinct()):
            compartments.update(json.loads(names))
    newest = select(Group.id).order_by(Group.created_at.desc(), Group.id).limit(at_most)
    return InUse(
        group_ids=tuple(session.scalars(newest)),
        group_count=session.scalar(select(func.count()).select_from(Group)) or 0,
        clearances=tuple(sorted(clearances - {0})[:at_most]),
        compartments=tuple(sorted(compartments)[:at_most]),
    )


def create_canary_account(
    session: Session,
    name: str,
    *,
    roles: Iterable[Role],
    kind: str,
    clearance: int,
    compartments: Iterable[str],
    expires_at: int,
) -> tuple[User, str]:
    """Make an account that nobody can sign in to, and a key for it; returns the account and the secret.

    `compartments` must hold that of the run. The key dies at `expires_at` (UTC ms), whatever happens here.
    """
    user = User(
        id=new_id(),
        kind=kind,
        name=f"{NAME} {name}",
        roles=sorted(roles),
        clearance=clearance,
        compartments=sorted(compartments),
        created_at=now_ms(),
    )
    session.add(user)
    session.flush()
    _, secret = accounts.create_key(session, user.id, NAME, expires_at=expires_at)
    return user, secret


def join_groups(session: Session, user_id: str, group_ids: Iterable[str]) -> None:
    """Put a canary account into groups, those of directories included: they have to be tested, too."""
    session.add_all(GroupMember(group_id=group_id, user_id=user_id) for group_id in group_ids)
    raise_epoch(session)


def canary_accounts(session: Session) -> list[User]:
    """List the accounts of canaries, of this run or of one that was cut short."""
    nameless = select(User).where(
        User.name.startswith(f"{NAME} "), User.email.is_(None), User.password_hash.is_(None)
    )
    return [
        user
        for user in session.scalars(nameless.order_by(User.created_at))
        if any(is_canary(name) for name in user.compartments)
    ]


def canary_groups(session: Session, users: Iterable[User]) -> list[Group]:
    """List the groups that the runs of these accounts made."""
    runs = {name.removeprefix(_PREFIX) for user in users for name in user.compartments if is_canary(name)}
    made = select(Group).where(Group.name.startswith(f"{NAME} "))
    return [group for group in session.scalars(made) if group.name.split()[2] in runs]


def documents_of(session: Session, users: Iterable[User]) -> list[Document]:
    """List the documents of accounts, those included whose removal was cut short."""
    return list(session.scalars(select(Document).where(Document.owner.in_(_principals(users)))))


def collections_of(session: Session, users: Iterable[User]) -> list[Collection]:
    """List the collections of accounts."""
    return list(session.scalars(select(Collection).where(Collection.owner.in_(_principals(users)))))


def conversations_of(session: Session, users: Iterable[User]) -> list[Conversation]:
    """List the conversations of accounts."""
    return list(session.scalars(select(Conversation).where(Conversation.owner.in_(_principals(users)))))


def passage_ids_of(session: Session, document_id: str) -> list[str]:
    """Return the ids of a document's passages, in order."""
    passages = select(Chunk.id).where(Chunk.document_id == document_id).order_by(Chunk.ordinal)
    return list(session.scalars(passages))


def close(session: Session, users: Iterable[User]) -> None:
    """Close accounts, so that none of their keys opens anything from the commit on."""
    for user in users:
        set_disabled(session, user, disabled=True)


def remove_what_they_kept(
    session: Session, conversations: Iterable[Conversation], collections: Iterable[Collection]
) -> None:
    """Remove conversations and collections; documents still in one become their owner's alone."""
    for conversation in conversations:
        delete_conversation(session, conversation)
    for collection in collections:
        delete_collection(session, collection)


def remove_accounts(session: Session, users: Iterable[User], groups: Iterable[Group]) -> None:
    """Remove closed accounts with their keys and memberships, and the leak test's own groups."""
    for group in groups:
        accounts.remove_group(session, group)
    for user in users:
        session.delete(user)
    raise_epoch(session)
    session.flush()


def _principals(users: Iterable[User]) -> list[str]:
    return [f"{user.kind}:{user.id}" for user in users]
