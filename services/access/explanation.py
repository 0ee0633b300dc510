"""Why somebody may or may not read a document, in words; never what is in it, nor what it is called."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.access import DocumentAccess, Finding, Principal, Role, explain, scope_of
from infra.accounts import groups_of
from infra.database.tables import Document, User
from infra.documents import NO_SUCH_FILE, access_of
from infra.epoch import current_epoch
from infra.errors import NotFound
from infra.sharing import labels_of

NO_SUCH_ACCOUNT: Final = "There is no such account."


def explanation(session: Session, user: User, document: Document) -> dict[str, Any]:
    """Return the decision and what each rule says, with what people call whom it is about.

    The rules are `infra.access.explain`, the function that decides; an account that was closed is denied
    before them.
    """
    principal = _principal_of(session, user)
    access = access_of(session, [document.id])[document.id]
    findings = explain(scope_of(principal), access)
    labels = labels_of(
        session,
        {principal.principal_id, document.owner}.union(
            *(finding.because for finding in findings if finding.rule != "compartments")
        ),
    )
    rules = [_account_rule(user), *(_rule(finding, access, principal, labels) for finding in findings)]
    return {
        "object": "access.explanation",
        "decision": "allow" if all(rule["granted"] for rule in rules) else "deny",
        "user": {
            "id": user.id,
            "principal": principal.principal_id,
            "label": labels[principal.principal_id],
            "closed": user.disabled_at is not None,
        },
        "document": {
            "id": document.id,
            "owner": {"id": document.owner, "label": labels[document.owner]},
            "inherits": document.inherits,
        },
        "collection": {"id": document.collection_id} if document.collection_id else None,
        "rules": rules,
        "epochs": {
            "access": current_epoch(session),
            "document": document.acl_epoch,
            "index": document.indexed_epoch,
        },
        "index_agrees": document.indexed_epoch >= document.acl_epoch,
    }


def account_named(session: Session, named: str) -> User:
    """Return the account with this id, principal id or e-mail address; raises NotFound."""
    user = session.get(User, named.rpartition(":")[2])
    if user is None or named not in {user.id, f"{user.kind}:{user.id}"}:
        user = session.scalar(select(User).where(User.email == named.strip().lower()))
    if user is None:
        raise NotFound(NO_SUCH_ACCOUNT, param="user")
    return user


def document_with(session: Session, document_id: str) -> Document:
    """Return a document that is not deleted, for its access list alone; raises NotFound."""
    document = session.get(Document, document_id)
    if document is None or document.deleted_at is not None:
        raise NotFound(NO_SUCH_FILE, param="document")
    return document


def _principal_of(session: Session, user: User) -> Principal:
    return Principal(
        user_id=user.id,
        kind=user.kind,
        roles=frozenset(Role(role) for role in user.roles),
        group_ids=frozenset(group.id for group in groups_of(session, user.id)),
        clearance=user.clearance,
        compartments=frozenset(user.compartments),
    )


def _account_rule(user: User) -> dict[str, Any]:
    is_open = user.disabled_at is None
    text = "The account is open." if is_open else "The account is closed."
    return {"rule": "account", "granted": is_open, "because": [], "text": text}


def _rule(
    finding: Finding, access: DocumentAccess, principal: Principal, labels: dict[str, str]
) -> dict[str, Any]:
    because = [{"id": each, "label": labels.get(each, each)} for each in sorted(finding.because)]
    text = _in_words(finding, access, principal)
    return {"rule": finding.rule, "granted": finding.granted, "because": because, "text": text}


def _in_words(finding: Finding, access: DocumentAccess, principal: Principal) -> str:
    granted = finding.granted
    if finding.rule == "allow":
        return "The file is shared with them." if granted else "The file is not shared with them."
    if finding.rule == "collection":
        if access.within is None:
            return "The file stands in no collection, so its own list decides."
        return "Its collection lets them in." if granted else "Its collection does not let them in."
    if finding.rule == "deny":
        return "Nothing denies it to them." if granted else "It is denied to them, which always wins."
    if finding.rule == "clearance":
        return f"It needs clearance {access.clearance}; they have {principal.clearance}."
    return (
        "They have every compartment that it needs." if granted else "They lack compartments that it needs."
    )
