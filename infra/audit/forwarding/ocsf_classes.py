"""Which OCSF class and activity each event type becomes: one line of `BECOMES` each.

Numbers and names are those of https://schema.ocsf.io, version 1.8.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from infra.audit.event_types import EventType


class Severity(Enum):
    """How much attention an event asks for."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


@dataclass(frozen=True)
class OcsfClass:
    """A class of the schema: its number and name, its category's, and the activities that are used here."""

    uid: int
    name: str
    category_uid: int
    category_name: str
    activities: Mapping[str, int] = field(default_factory=dict)


_IAM: Final = (3, "Identity & Access Management")
_APPLICATION: Final = (6, "Application Activity")

BASE: Final = OcsfClass(0, "Base Event", 0, "Uncategorized")
"""For a type that is newer than this program."""
ACCOUNT: Final = OcsfClass(
    3001, "Account Change", *_IAM, {"Create": 1, "Password Change": 3, "Disable": 5, "Delete": 6}
)
AUTHENTICATION: Final = OcsfClass(3002, "Authentication", *_IAM, {"Logon": 1, "Logoff": 2})
ENTITY: Final = OcsfClass(
    3004, "Entity Management", *_IAM, {"Create": 1, "Read": 2, "Update": 3, "Delete": 4}
)
LIFECYCLE: Final = OcsfClass(6002, "Application Lifecycle", *_APPLICATION, {"Start": 3, "Stop": 4})
API: Final = OcsfClass(
    6003, "API Activity", *_APPLICATION, {"Create": 1, "Read": 2, "Update": 3, "Delete": 4}
)
DATASTORE: Final = OcsfClass(
    6005,
    "Datastore Activity",
    *_APPLICATION,
    {"Read": 1, "Update": 2, "Query": 4, "Write": 5, "Create": 6, "Delete": 7, "List": 8},
)


@dataclass(frozen=True)
class Becomes:
    """What one event type becomes. An activity outside the class's list is "Other", under its own name."""

    to: OcsfClass
    activity: str
    severity: Severity = Severity.INFORMATIONAL
    good: frozenset[str] | None = None
    """Outcomes that mean success; None where a record is only written once the thing was done."""
    failure: Severity = Severity.LOW
    """Severity when it failed."""


_OK: Final = frozenset({"ok"})
_NEVER: Final[frozenset[str]] = frozenset()
_REACHED: Final = frozenset({"reached"})
_ANSWERED: Final = frozenset({"answered", "partial", "abstained"})
_LOW, _MEDIUM, _HIGH = Severity.LOW, Severity.MEDIUM, Severity.HIGH

BECOMES: Final[dict[EventType, Becomes]] = {
    EventType.SERVER_START: Becomes(LIFECYCLE, "Start"),
    EventType.SERVER_STOP: Becomes(LIFECYCLE, "Stop"),
    EventType.LEDGER_ALIVE: Becomes(ENTITY, "Heartbeat"),
    EventType.LEDGER_RECOVERED: Becomes(ENTITY, "Update"),
    EventType.SIGNIN_BEGUN: Becomes(AUTHENTICATION, "Logon"),
    EventType.SIGNIN_OK: Becomes(AUTHENTICATION, "Logon"),
    EventType.SIGNIN_FAILED: Becomes(AUTHENTICATION, "Logon", good=_NEVER),
    EventType.SIGNIN_ENDED: Becomes(AUTHENTICATION, "Logoff"),
    EventType.ACCOUNT_CREATED: Becomes(ACCOUNT, "Create"),
    EventType.ACCOUNT_CHANGED: Becomes(ACCOUNT, "Change", _LOW),
    EventType.ACCOUNT_DISABLED: Becomes(ACCOUNT, "Disable", _LOW),
    EventType.PASSWORD_CHANGED: Becomes(ACCOUNT, "Password Change"),
    EventType.SUBJECT_ERASED: Becomes(ACCOUNT, "Delete", _LOW),
    EventType.INVITATION_CREATED: Becomes(ENTITY, "Create"),
    EventType.KEY_CREATED: Becomes(ENTITY, "Create"),
    EventType.KEY_REVOKED: Becomes(ENTITY, "Delete"),
    EventType.GROUP_CREATED: Becomes(ENTITY, "Create"),
    EventType.GROUP_CHANGED: Becomes(ENTITY, "Update"),
    EventType.GROUP_DELETED: Becomes(ENTITY, "Delete"),
    EventType.GROUPS_READ: Becomes(ENTITY, "Read"),
    EventType.ACCOUNTS_READ: Becomes(ENTITY, "Read"),
    EventType.DIRECTORY_CHANGED: Becomes(ENTITY, "Update"),
    EventType.DIRECTORY_READ: Becomes(ENTITY, "Read"),
    EventType.COLLECTION_CREATED: Becomes(ENTITY, "Create"),
    EventType.COLLECTION_CHANGED: Becomes(ENTITY, "Update"),
    EventType.COLLECTION_SHARED: Becomes(ENTITY, "Update"),
    EventType.COLLECTION_UNSHARED: Becomes(ENTITY, "Update"),
    EventType.COLLECTION_DELETED: Becomes(ENTITY, "Delete"),
    EventType.COLLECTIONS_READ: Becomes(ENTITY, "Read"),
    EventType.ACCESS_EXPLAINED: Becomes(ENTITY, "Read"),
    EventType.ACCESS_READ: Becomes(ENTITY, "Read"),
    EventType.ACCESS_IMPORTED: Becomes(ENTITY, "Update"),
    EventType.ACCESS_TESTED: Becomes(
        ENTITY, "Test", good=frozenset({"begun", "clean", "inconclusive"}), failure=_HIGH
    ),
    EventType.CHOICE_CHANGED: Becomes(ENTITY, "Update", _LOW),
    EventType.SETTINGS_CHANGED: Becomes(ENTITY, "Update", _MEDIUM),
    EventType.CHOICES_READ: Becomes(ENTITY, "Read"),
    EventType.BATCH_CREATED: Becomes(ENTITY, "Create"),
    EventType.JOB_CANCELLED: Becomes(ENTITY, "Update"),
    EventType.JOB_RETRIED: Becomes(ENTITY, "Update"),
    EventType.JOB_SWEPT: Becomes(ENTITY, "Update"),
    EventType.SYNC_REQUESTED: Becomes(ENTITY, "Update"),
    EventType.SYNC_HALTED: Becomes(ENTITY, "Read", good=_NEVER, failure=_MEDIUM),
    EventType.JOBS_READ: Becomes(ENTITY, "Read"),
    EventType.HOLD_PLACED: Becomes(ENTITY, "Create", _LOW),
    EventType.HOLD_LIFTED: Becomes(ENTITY, "Delete", _MEDIUM),
    EventType.CONTENT_REQUESTED: Becomes(ENTITY, "Create", _LOW),
    EventType.CONTENT_APPROVED: Becomes(ENTITY, "Update", _MEDIUM),
    EventType.KEYS_SAVED: Becomes(ENTITY, "Create", _LOW),
    EventType.KEYS_RESTORED: Becomes(ENTITY, "Update", _MEDIUM),
    EventType.KEYS_EXPIRED: Becomes(ENTITY, "Delete", _LOW),
    EventType.AUDIT_FORWARDED: Becomes(ENTITY, "Forward", good=_REACHED, failure=_MEDIUM),
    EventType.CHECKPOINT_COSIGNED: Becomes(ENTITY, "Cosign", good=_REACHED, failure=_HIGH),
    EventType.FILE_UPLOADED: Becomes(DATASTORE, "Create"),
    EventType.UPLOAD_BEGUN: Becomes(DATASTORE, "Create"),
    EventType.UPLOAD_CONTINUED: Becomes(DATASTORE, "Update"),
    EventType.UPLOAD_DROPPED: Becomes(DATASTORE, "Delete", good=frozenset({"ok", "expired"})),
    EventType.FILE_PARSED: Becomes(DATASTORE, "Update", good=_OK),
    EventType.FILE_SHARED: Becomes(DATASTORE, "Update"),
    EventType.FILE_UNSHARED: Becomes(DATASTORE, "Update"),
    EventType.FILE_RESTRICTED: Becomes(DATASTORE, "Update"),
    EventType.FILE_MOVED: Becomes(DATASTORE, "Update"),
    EventType.FILE_UNPLACED: Becomes(DATASTORE, "Update"),
    EventType.FILE_DELETED: Becomes(DATASTORE, "Delete", _LOW),
    EventType.FILES_READ: Becomes(DATASTORE, "List"),
    EventType.SOURCE_OPENED: Becomes(DATASTORE, "Read"),
    EventType.SEARCH_PERFORMED: Becomes(DATASTORE, "Query"),
    EventType.SUGGESTIONS_READ: Becomes(DATASTORE, "Query"),
    EventType.CONVERSATION_KEPT: Becomes(DATASTORE, "Write"),
    EventType.CONVERSATION_OPENED: Becomes(DATASTORE, "Read"),
    EventType.CONVERSATION_SHARED: Becomes(DATASTORE, "Update"),
    EventType.CONVERSATION_UNSHARED: Becomes(DATASTORE, "Update"),
    EventType.CONVERSATION_DELETED: Becomes(DATASTORE, "Delete"),
    EventType.CONVERSATIONS_READ: Becomes(DATASTORE, "List"),
    EventType.AUDIT_READ: Becomes(DATASTORE, "Read", _LOW),
    EventType.AUDIT_EXPORTED: Becomes(DATASTORE, "Read", _MEDIUM),
    EventType.AUDIT_VERIFIED: Becomes(DATASTORE, "Verify", good=frozenset({"ok", "sound"}), failure=_HIGH),
    EventType.AUDIT_PRUNED: Becomes(DATASTORE, "Delete", _MEDIUM),
    EventType.CONTENT_PRUNED: Becomes(DATASTORE, "Delete", _LOW),
    EventType.RECEIPT_READ: Becomes(DATASTORE, "Read"),
    EventType.ANSWER_ASKED: Becomes(API, "Create"),
    EventType.ANSWER_RETRIEVED: Becomes(API, "Read"),
    EventType.ANSWER_GENERATED: Becomes(API, "Create", good=_OK),
    EventType.ANSWER_SEGMENT: Becomes(API, "Read"),
    EventType.ANSWER_FINISHED: Becomes(API, "Create", good=_ANSWERED),
    EventType.FEEDBACK_GIVEN: Becomes(API, "Update"),
    EventType.TOOLS_READ: Becomes(API, "Read"),
    EventType.REFUSED: Becomes(API, "Refused", good=_NEVER),
    EventType.NETWORK_BLOCKED: Becomes(API, "Outbound Connection", good=_NEVER, failure=_HIGH),
}
