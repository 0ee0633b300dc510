"""Groups and who is in them. A group's id never changes and says which directory decides about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.accounts.names import checked_name
from infra.clock import new_id, now_ms
from infra.database.tables import (
    Base,
    CollectionGrant,
    ConversationShare,
    Document,
    DocumentGrant,
    Group,
    GroupMember,
    User,
)
from infra.epoch import raise_epoch
from infra.errors import Conflict, NotFound

LOCAL: Final = "local"
"""Who decides about groups that administrators make here; no directory has this name."""
_NO_GROUP: Final = "There is no such group or person."


def create_group(session: Session, name: str) -> Group:
    """Make a group with an id of its own that never changes; raises Conflict for a name in use."""
    group = Group(id=f"group:local:{new_id()}", name=checked_name(name), created_at=now_ms())
    session.add(group)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict("A group with this name exists already.", param="name") from error
    return group


def list_groups(session: Session) -> Sequence[Group]:
    """List all groups by name."""
    return session.scalars(select(Group).order_by(Group.name)).all()


def members_of(session: Session, group_id: str) -> Sequence[str]:
    """List the user ids of a group's members."""
    return session.scalars(select(GroupMember.user_id).where(GroupMember.group_id == group_id)).all()


def groups_of(session: Session, user_id: str) -> Sequence[Group]:
    """List the groups a person is in."""
    mine = (
        select(Group)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(GroupMember.user_id == user_id)
    )
    return session.scalars(mine.order_by(Group.name)).all()


def add_member(session: Session, group_id: str, user_id: str) -> None:
    """Put an account into a group; doing it twice is the same as once.

    Raises NotFound for an unknown group or account, and Conflict for a directory's group.
    """
    _local_group(session, group_id)
    if session.get(User, user_id) is None:
        raise NotFound(_NO_GROUP)
    if session.get(GroupMember, (group_id, user_id)) is None:
        session.add(GroupMember(group_id=group_id, user_id=user_id))
        raise_epoch(session)


def remove_member(session: Session, group_id: str, user_id: str) -> None:
    """Take an account out of a group.

    Raises NotFound when it is not in it, and Conflict for a directory's group.
    """
    _local_group(session, group_id)
    row = session.get(GroupMember, (group_id, user_id))
    if row is None:
        raise NotFound(_NO_GROUP)
    session.delete(row)
    raise_epoch(session)


def delete_local_group(session: Session, group_id: str) -> None:
    """Remove a group that was made here; raises NotFound, and Conflict for a directory's group."""
    remove_group(session, _local_group(session, group_id))


def remove_group(session: Session, group: Group) -> None:
    """Remove a group, and every line of an access list that names it.

    The index lags behind until `ingest.index.refresh_lagging` has run; the re-check protects the time
    between. Whoever calls this for a directory's group has to be that directory.
    """
    collections = select(CollectionGrant.collection_id).where(CollectionGrant.principal == group.id)
    documents = select(DocumentGrant.document_id).where(DocumentGrant.principal == group.id)
    session.execute(
        update(Document)
        .where(Document.id.in_(documents) | Document.collection_id.in_(collections))
        .values(acl_epoch=Document.acl_epoch + 1),
        execution_options={"synchronize_session": False},
    )
    naming: tuple[type[Base], ...] = (DocumentGrant, CollectionGrant, ConversationShare)
    for lines in naming:
        session.execute(delete(lines).where(lines.__table__.c.principal == group.id))
    session.delete(group)
    raise_epoch(session)
    session.flush()


def _local_group(session: Session, group_id: str) -> Group:
    group = session.get(Group, group_id)
    if group is None:
        raise NotFound(_NO_GROUP)
    if group.directory != LOCAL:
        raise Conflict("Its directory decides who is in this group.", hint="Change it there.")
    return group
