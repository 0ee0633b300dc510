"""Who is on a document's or a collection's access list, and what changes it. Deny always wins.

Every change raises the document's epoch, so that a late writer cannot put an older list into the index, and
the access epoch, so that no cache outlives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from infra.access import EVERYONE, Principal, Role, may_read, scope_of
from infra.database.batches import in_batches
from infra.database.tables import Collection, CollectionGrant, Document, DocumentGrant, Group, User
from infra.documents import access_of
from infra.epoch import raise_epoch
from infra.errors import Conflict, InvalidInput, NotFound

Effect = Literal["allow", "deny"]

MAX_LINES: Final = 1000
"""Most lines of one access list; put more people than that into a group."""
MAX_CLEARANCE: Final = 100
MAX_COMPARTMENTS: Final = 50
MAX_COMPARTMENT_CHARS: Final = 60
_NOT_SHARED: Final = "It is not shared with that person or group."
_NAMES_ALL: Final = frozenset({Role.ADMIN, Role.CURATOR})
"""Who knows every group, because they look after people or files."""


@dataclass(frozen=True)
class Restriction:
    """How a document is narrowed. Clearance is 0 to 100; each compartment has 1 to 60 characters.

    `only` names who of its collection's readers may read it; None lets all of them.
    """

    only: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    clearance: int = 0
    compartments: frozenset[str] = frozenset()


# --- documents ------------------------------------------------------------------------------------


def share(session: Session, document: Document, principal: str, *, effect: Effect = "allow") -> bool:
    """Add one line to a document's access list; returns whether anything changed.

    Raises Conflict for an allow line of a document in a collection, since that could only narrow it.
    """
    if effect == "allow" and document.collection_id is not None:
        raise Conflict(
            "This file stands in a collection, which decides who may read it.",
            hint="Share the collection, or take the file out of it.",
        )
    return _add(session, document, DocumentGrant(document_id=document.id, principal=principal, effect=effect))


def unshare(session: Session, document: Document, principal: str, *, effect: Effect = "allow") -> None:
    """Remove one line from the access list; the owner's own line stays. Raises NotFound when absent."""
    if effect == "allow" and principal == document.owner:
        raise InvalidInput("The owner keeps access to their own file.", hint="Delete the file instead.")
    row = session.get(DocumentGrant, (document.id, principal, effect))
    if row is None:
        raise NotFound(_NOT_SHARED)
    session.delete(row)
    _changed(session, document)


def restrict(session: Session, document: Document, wanted: Restriction, by: Principal) -> None:
    """Replace a document's restriction as a whole.

    Raises InvalidInput for unknown principals or values out of range, and Conflict when `by` could not
    read the document any more, because a restriction set by mistake must be theirs to take back.
    """
    _check(session, wanted)
    if wanted.only is not None and document.collection_id is None:
        raise Conflict(
            "This file stands in no collection.", hint="Share or unshare it instead.", param="only"
        )
    _replace(session, document.id, "deny", wanted.deny)
    if document.collection_id is not None:
        _replace(session, document.id, "allow", wanted.only or frozenset())
        document.inherits = wanted.only is None
    document.clearance, document.compartments = wanted.clearance, sorted(wanted.compartments)
    _changed(session, document)
    refuse_lockout(session, document, by)


def share_only_with(session: Session, document: Document, principals: Iterable[str]) -> None:
    """Let the owner and these principals read a document outside of any collection, and nobody else.

    Raises InvalidInput for unknown principals or too many, Conflict for a document in a collection.
    """
    allowed = frozenset(principals) | {document.owner}
    _check(session, Restriction(only=allowed))
    if document.collection_id is not None:
        raise Conflict("This file stands in a collection, which decides who may read it.", param="allow")
    _replace(session, document.id, "allow", allowed)
    _changed(session, document)


def refuse_lockout(session: Session, document: Document, by: Principal) -> None:
    """Raise Conflict when `by` can no longer read what they have just changed, and so not take it back."""
    session.flush()
    if not may_read(scope_of(by), access_of(session, [document.id])[document.id]):
        raise Conflict("With this you could not read the file yourself any more.")


def restriction_of(session: Session, document: Document) -> Restriction:
    """Return how a document is narrowed."""
    lines = session.scalars(select(DocumentGrant).where(DocumentGrant.document_id == document.id)).all()
    narrowed = document.collection_id is not None and not document.inherits
    return Restriction(
        only=frozenset(line.principal for line in lines if line.effect == "allow") if narrowed else None,
        deny=frozenset(line.principal for line in lines if line.effect == "deny"),
        clearance=document.clearance,
        compartments=frozenset(document.compartments),
    )


# --- collections ----------------------------------------------------------------------------------


def share_collection(
    session: Session, collection: Collection, principal: str, *, effect: Effect = "allow"
) -> bool:
    """Add one line to a collection's access list; returns whether anything changed."""
    line = CollectionGrant(collection_id=collection.id, principal=principal, effect=effect)
    return _add(session, collection, line)


def unshare_collection(
    session: Session, collection: Collection, principal: str, *, effect: Effect = "allow"
) -> None:
    """Remove one line of a collection; the owner's own line stays. Raises NotFound when absent."""
    if effect == "allow" and principal == collection.owner:
        raise InvalidInput("The owner keeps access to their own collection.", hint="Delete it instead.")
    row = session.get(CollectionGrant, (collection.id, principal, effect))
    if row is None:
        raise NotFound(_NOT_SHARED)
    session.delete(row)
    _changed(session, collection)


def label_collection(
    session: Session, collection: Collection, *, clearance: int, compartments: frozenset[str]
) -> None:
    """Set the clearance and compartments that every reader of the collection needs."""
    _check(session, Restriction(clearance=clearance, compartments=compartments))
    collection.clearance, collection.compartments = clearance, sorted(compartments)
    _changed(session, collection)


def put_into(session: Session, document: Document, collection: Collection) -> None:
    """Put a document into a collection, whose readers become its readers; its own denials and labels stay."""
    if document.collection_id not in {None, collection.id}:
        raise Conflict("This file stands in another collection.", hint="Take it out of that one first.")
    if document.collection_id == collection.id:
        return
    _replace(session, document.id, "allow", frozenset())
    document.collection_id, document.inherits = collection.id, True
    _changed(session, document)


def take_out(session: Session, document: Document) -> None:
    """Take a document out of its collection: its owner alone may read it then, under all labels that it had.

    Anything else could show it to somebody who could not read it inside.
    """
    collection = session.get_one(Collection, document.collection_id)
    denied = select(CollectionGrant.principal).where(
        CollectionGrant.collection_id == collection.id, CollectionGrant.effect == "deny"
    )
    _replace(session, document.id, "allow", frozenset({document.owner}))
    _replace(
        session, document.id, "deny", restriction_of(session, document).deny | set(session.scalars(denied))
    )
    document.clearance = max(document.clearance, collection.clearance)
    document.compartments = sorted({*document.compartments, *collection.compartments})
    document.collection_id, document.inherits = None, False
    _changed(session, document)


# --- principals -----------------------------------------------------------------------------------


def principal_exists(session: Session, principal: str) -> bool:
    """Say whether a principal id names a person, a service, a group, or everyone."""
    return not unknown_principals(session, [principal])


def unknown_principals(session: Session, principals: Iterable[str]) -> set[str]:
    """Return those ids that name nobody: no person, service or group, and not everyone."""
    wanted = set(principals)
    # A database may refuse to look for what no id can hold (PostgreSQL: a zero character).
    return wanted - _names(session, {principal for principal in wanted if principal.isprintable()}).keys()


def may_name(by: Principal, principal: str) -> bool:
    """Say whether somebody may know of a principal: of everybody, but only of the groups that they are in.

    What a group is called can be a secret, e.g. a merger's; administrators and curators know them all.
    """
    is_account = principal.startswith(("user:", "service:"))
    return is_account or principal in {EVERYONE, *by.group_ids} or not _NAMES_ALL.isdisjoint(by.roles)


def refuse_foreign_groups(by: Principal, principals: Iterable[str]) -> None:
    """Raise InvalidInput, as for one that does not exist, for a group that `by` may not know of."""
    if not all(may_name(by, principal) for principal in principals):
        raise no_such_principal()


def no_such_principal() -> InvalidInput:
    """Return the one error for a principal that is not there, or that the person may not know of."""
    return InvalidInput("There is no such person or group.", param="principal")


def principals_on(session: Session, document: Document) -> set[str]:
    """Return whom a document's own access list names, in whatever line."""
    lines = select(DocumentGrant.principal).where(DocumentGrant.document_id == document.id)
    return set(session.scalars(lines))


def labels_of(session: Session, principals: Iterable[str]) -> dict[str, str]:
    """Return what people call each principal, for those who may know of all of them."""
    wanted = set(principals)
    labels = _names(session, wanted)
    return {principal: labels.get(principal, "somebody who left") for principal in wanted}


def labels_for(session: Session, viewer: Principal, principals: Iterable[str]) -> dict[str, str]:
    """Return what `viewer` may call each principal; “a group” is one they are not in, or none at all."""
    wanted = set(principals)
    known = {principal for principal in wanted if may_name(viewer, principal)}
    return dict.fromkeys(wanted, "a group") | labels_of(session, known)


def _names(session: Session, principals: Iterable[str]) -> dict[str, str]:
    names = {EVERYONE: "Everyone"}
    for batch in in_batches(principals):
        people = select(User).where(User.id.in_({principal.partition(":")[2] for principal in batch}))
        names |= {f"{user.kind}:{user.id}": user.name for user in session.scalars(people)}
        groups = select(Group).where(Group.id.in_(batch))
        names |= {group.id: group.name for group in session.scalars(groups)}
    return names


# --- how a change is made -------------------------------------------------------------------------


def _add(session: Session, changed: Document | Collection, line: DocumentGrant | CollectionGrant) -> bool:
    if not principal_exists(session, line.principal):
        raise no_such_principal()
    if session.get(type(line), (changed.id, line.principal, line.effect)) is not None:
        return False
    if _lines(session, changed) >= MAX_LINES:
        raise _too_many()
    session.add(line)
    _changed(session, changed)
    return True


def _lines(session: Session, changed: Document | Collection) -> int:
    if isinstance(changed, Document):
        return session.query(DocumentGrant).filter_by(document_id=changed.id).count()
    return session.query(CollectionGrant).filter_by(collection_id=changed.id).count()


def _changed(session: Session, changed: Document | Collection) -> None:
    if isinstance(changed, Document):
        changed.acl_epoch += 1
    else:
        inside = update(Document).where(Document.collection_id == changed.id)
        session.execute(inside.values(acl_epoch=Document.acl_epoch + 1))
    raise_epoch(session)


def _replace(session: Session, document_id: str, effect: Effect, principals: Iterable[str]) -> None:
    session.execute(
        delete(DocumentGrant).where(DocumentGrant.document_id == document_id, DocumentGrant.effect == effect)
    )
    session.add_all(
        DocumentGrant(document_id=document_id, principal=principal, effect=effect) for principal in principals
    )
    session.flush()


def _check(session: Session, wanted: Restriction) -> None:
    named = (wanted.only or frozenset()) | wanted.deny
    # Before anything is looked up: a list of ten thousand lines shall cost nothing.
    if len(named) > MAX_LINES:
        raise _too_many()
    if not 0 <= wanted.clearance <= MAX_CLEARANCE:
        raise InvalidInput(f"A clearance is a number from 0 to {MAX_CLEARANCE}.", param="clearance")
    check_compartments(wanted.compartments)
    if unknown_principals(session, named):
        raise no_such_principal()


def check_compartments(names: Iterable[str]) -> list[str]:
    """Return compartment names, sorted; raises InvalidInput for too many of them or a malformed one."""
    found = sorted(set(names))
    fine = all(
        0 < len(name) <= MAX_COMPARTMENT_CHARS and name.isprintable() and name == name.strip()
        for name in found
    )
    if len(found) > MAX_COMPARTMENTS or not fine:
        raise InvalidInput(
            f"Up to {MAX_COMPARTMENTS} compartments of 1 to {MAX_COMPARTMENT_CHARS} characters are possible.",
            param="compartments",
        )
    return found


def _too_many() -> InvalidInput:
    return InvalidInput(
        f"An access list has at most {MAX_LINES:,} lines.",
        hint="Put the people into a group.",
        param="principal",
    )
