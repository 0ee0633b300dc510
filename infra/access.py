"""Who may read what, as values. No I/O: the database and the index each apply the same rule.

A document is readable when one of its allow-principals is in the scope, its collection (if it stands in
one) allows one as well, none of its deny-principals is in the scope, its clearance does not exceed the
scope's, and each of its compartments is in the scope. An empty scope, or a document without an
allow-principal, matches nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

EVERYONE: Final = "group:local:everyone"
"""The built-in group that every signed-in person belongs to."""

POLICY: Final = "allow-within-deny-clearance-compartments/2"
"""The name under which the ledger records the rule below; it changes when the rule does."""


class Role(StrEnum):
    """What a person may do; none of them widens what they may read."""

    EMPLOYEE = "employee"
    CURATOR = "curator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class KeyScope(StrEnum):
    """What an API key may be used for; it never widens what its owner may do."""

    ASK = "ask"
    READ = "read"
    WRITE = "write"
    AUDIT = "audit"
    ADMIN = "admin"
    SCIM = "scim"


EVERY_SCOPE: Final = frozenset(KeyScope) - {KeyScope.SCIM}
"""What somebody who signed in may use; SCIM is for a directory's key alone."""


@dataclass(frozen=True)
class Principal:
    """Somebody who was identified: a person, or a service acting under its own name."""

    user_id: str
    kind: str  # "user" or "service"
    roles: frozenset[Role]
    group_ids: frozenset[str] = frozenset()
    clearance: int = 0
    compartments: frozenset[str] = frozenset()
    auth_method: str = "none"
    session_hash: str = ""
    scopes: frozenset[KeyScope] = EVERY_SCOPE

    @property
    def principal_id(self) -> str:
        """The principal's own namespaced id, as it stands in access lists."""
        return f"{self.kind}:{self.user_id}"


@dataclass(frozen=True)
class DocumentAccess:
    """Who may read one document, its collection's rules included. `epoch` grows with every change.

    `within` is the collection's allow list, which a reader must be on as well; without a collection it is
    the document's own list once more, so that an empty one never means everybody.
    """

    allow: frozenset[str] = frozenset()
    within: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    clearance: int = 0
    compartments: frozenset[str] = frozenset()
    epoch: int = 0


_MADE_HERE: Final = object()


@dataclass(frozen=True)
class AccessScope:
    """The proof that somebody was identified, and what follows for reading. Made by `scope_of` only."""

    principals: frozenset[str]
    clearance: int
    compartments: frozenset[str]
    _maker: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._maker is not _MADE_HERE:
            raise TypeError("an AccessScope is made by infra.access.scope_of, from a Principal")

    @property
    def principal_set_hash(self) -> str:
        """SHA-256 over the sorted principals, clearance and compartments; 64 hex digits."""
        parts = [*sorted(self.principals), f"clearance={self.clearance}", *sorted(self.compartments)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def scope_of(principal: Principal) -> AccessScope:
    """Return what `principal` may read: documents granted to them or to one of their groups."""
    return AccessScope(
        principals=frozenset({principal.principal_id, *principal.group_ids, EVERYONE}),
        clearance=principal.clearance,
        compartments=principal.compartments,
        _maker=_MADE_HERE,
    )


def may_read(scope: AccessScope, access: DocumentAccess) -> bool:
    """Decide whether `scope` may read a document with `access`; all rules must grant."""
    return all(finding.granted for finding in explain(scope, access))


@dataclass(frozen=True)
class Finding:
    """What one rule says, and which principals or compartments made it say so."""

    rule: str  # "allow", "collection", "deny", "clearance" or "compartments"
    granted: bool
    because: frozenset[str] = frozenset()


def explain(scope: AccessScope, access: DocumentAccess) -> tuple[Finding, ...]:
    """Return what each rule says about `scope` and a document. This function is the rule."""
    allowed = scope.principals & access.allow
    let_in = scope.principals & (access.allow if access.within is None else access.within)
    denied = scope.principals & access.deny
    missing = access.compartments - scope.compartments
    return (
        Finding("allow", bool(allowed), allowed),
        Finding("collection", bool(let_in), let_in),
        Finding("deny", not denied, denied),
        Finding("clearance", scope.clearance >= access.clearance),
        Finding("compartments", not missing, missing),
    )
