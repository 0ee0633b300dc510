"""What can happen, and where in its course a record of it stands."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Where a record stands in what it tells about."""

    START = "start"  # something began; an `end` with the same correlation id must follow
    SEGMENT = "segment"  # a part of it was done or released
    END = "end"  # it is over; `outcome` says how
    SINGLE = "single"  # the whole of it


class EventType(StrEnum):
    """What can happen. The list grows; readers accept names that they do not know.

    Each member carries its `description`, one line for the people who read the record.
    """

    description: str

    def __new__(cls, value: str, description: str) -> EventType:
        """Make a member from its name in the record and its description."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    SERVER_START = "server.start", "The server began to accept requests."
    SERVER_STOP = "server.stop", "The server stopped in good order."
    SETTINGS_CHANGED = (
        "settings.changed",
        "The server was started with other settings than before; the outcome names them.",
    )
    LEDGER_RECOVERED = "ledger.recovered", "After a start, records left without an end were closed."
    LEDGER_ALIVE = (
        "ledger.alive",
        "An hour without any other record passed; this one shows that none is missing.",
    )
    SIGNIN_OK = "signin.ok", "Somebody signed in."
    SIGNIN_FAILED = "signin.failed", "A sign-in was refused."
    SIGNIN_ENDED = "signin.ended", "Somebody signed out, here or everywhere."
    ACCOUNT_CREATED = "account.created", "An account was created."
    ACCOUNT_CHANGED = "account.changed", "Roles, clearance or state of an account changed."
    ACCOUNT_DISABLED = "account.disabled", "An account was closed."
    PASSWORD_CHANGED = "password.changed", "Somebody changed their password; their other sign-ins ended."
    INVITATION_CREATED = "invitation.created", "A one-time link for a new account was made."
    KEY_CREATED = "key.created", "An API key was made."
    KEY_REVOKED = "key.revoked", "An API key was withdrawn."
    GROUP_CREATED = "group.created", "A group was made."
    GROUP_CHANGED = "group.changed", "The members of a group changed."
    GROUP_DELETED = "group.deleted", "A group was removed."
    FILE_UPLOADED = "file.uploaded", "A file was stored."
    FILE_PARSED = "file.parsed", "A file became passages, or the reason why not is in the outcome."
    FILE_SHARED = "file.shared", "Somebody was allowed to read a document."
    FILE_UNSHARED = "file.unshared", "Somebody lost the right to read a document."
    FILE_RESTRICTED = (
        "file.restricted",
        "Denials, label or readers within its collection were set for a file.",
    )
    FILE_MOVED = "file.moved", "A file was put into a collection, or taken out of one."
    FILE_DELETED = "file.deleted", "A document was removed from every store."
    UPLOAD_BEGUN = "upload.begun", "Somebody began to upload a file in parts."
    UPLOAD_CONTINUED = "upload.continued", "A part of a file arrived."
    UPLOAD_DROPPED = "upload.dropped", "An unfinished upload was given up; the outcome says how."
    BATCH_CREATED = "batch.created", "Files that come in together got a batch."
    JOB_CANCELLED = "job.cancelled", "Somebody stopped the processing of a file."
    JOB_RETRIED = "job.retried", "Somebody had a file processed again."
    COLLECTION_CREATED = "collection.created", "A collection was made."
    COLLECTION_CHANGED = "collection.changed", "The name or the label of a collection changed."
    COLLECTION_SHARED = "collection.shared", "Somebody was allowed or denied to read a collection."
    COLLECTION_UNSHARED = "collection.unshared", "A line of a collection's access list was removed."
    COLLECTION_DELETED = (
        "collection.deleted",
        "A collection was removed; its files became their owners' alone.",
    )
    CONVERSATION_KEPT = "conversation.kept", "A conversation was kept, or a turn was added to it."
    CONVERSATION_OPENED = "conversation.opened", "Somebody opened or exported a kept conversation."
    CONVERSATION_SHARED = "conversation.shared", "Somebody was allowed to look at a conversation."
    CONVERSATION_UNSHARED = "conversation.unshared", "Somebody may not look at a conversation any more."
    CONVERSATION_DELETED = "conversation.deleted", "A kept conversation was removed."
    ACCESS_EXPLAINED = "access.explained", "An administrator asked why somebody may or may not read a file."
    ACCESS_IMPORTED = "access.imported", "Access lists of a file share were applied."
    ACCESS_TESTED = "access.tested", "The leak test began or ended; the outcome says whether it found a leak."
    DIRECTORY_CHANGED = "directory.changed", "A directory added, changed or removed a person or a group."
    CHOICE_CHANGED = "choice.changed", "An administrator changed a setting while the server ran."
    SOURCE_OPENED = "source.opened", "Somebody opened a document or a cited passage."
    ANSWER_ASKED = "answer.asked", "A question was asked."
    ANSWER_RETRIEVED = "answer.retrieved", "The passages for an answer were chosen."
    ANSWER_GENERATED = "answer.generated", "The language model was called for an answer."
    ANSWER_SEGMENT = "answer.segment", "A part of an answer was released."
    ANSWER_FINISHED = "answer.finished", "An answer ended; the outcome says how."
    SEARCH_PERFORMED = "search.performed", "Somebody searched without asking for an answer."
    FEEDBACK_GIVEN = "feedback.given", "Somebody judged an answer."
    AUDIT_READ = "audit.read", "Somebody read this record."
    AUDIT_EXPORTED = "audit.exported", "Somebody took a copy of this record."
    AUDIT_VERIFIED = "audit.verified", "Somebody checked this record; the outcome is the verdict."
    SUBJECT_ERASED = "subject.erased", "A person's recorded content and identity were destroyed."
    ACCOUNTS_READ = "accounts.read", "Somebody looked at accounts, sign-ins, keys or programs."
    GROUPS_READ = "groups.read", "Somebody looked at groups, or at whom something can be shared with."
    DIRECTORY_READ = "directory.read", "A directory looked at the people or groups that it pushed."
    FILES_READ = "files.read", "Somebody looked at the list of files, or at what is known about one."
    JOBS_READ = "jobs.read", "Somebody looked at the processing of files."
    COLLECTIONS_READ = "collections.read", "Somebody looked at collections, or at what one holds."
    CONVERSATIONS_READ = "conversations.read", "Somebody looked at the list of kept conversations."
    CHOICES_READ = "choices.read", "Somebody looked at a setting, or at the server's models."
    SUGGESTIONS_READ = "suggestions.read", "Somebody was shown suggestions while typing."
    RECEIPT_READ = "receipt.read", "Somebody took the receipt of an answer."
    ACCESS_READ = "access.read", "Somebody looked at who may read a file, or at what the leak test found."
    TOOLS_READ = "tools.read", "A program sent a message to the tools that it is offered."
    SIGNIN_BEGUN = "signin.begun", "Somebody was sent to their company directory to sign in."
    JOB_SWEPT = "job.swept", "Abandoned work was queued again."
    FILE_UNPLACED = (
        "file.unplaced",
        "A file left a watched folder or bucket; its document is still found under another name.",
    )
    SYNC_REQUESTED = (
        "sync.requested",
        "An administrator asked for a look at a watched folder or bucket, or confirmed deletions there.",
    )
    SYNC_HALTED = (
        "sync.halted",
        "A look at a watched folder or bucket stopped, or removed nothing; the outcome is the reason.",
    )
    AUDIT_FORWARDED = (
        "audit.forwarded",
        "A place that the record is forwarded to could be reached again, or not any more.",
    )
    CONTENT_REQUESTED = "content.requested", "An auditor asked a second auditor to let them read contents."
    CONTENT_APPROVED = "content.approved", "A second auditor let an auditor read contents for a while."
    CONTENT_PRUNED = "content.pruned", "Contents past their retention were destroyed."
    AUDIT_PRUNED = (
        "audit.pruned",
        "Records past their retention were removed; the outcome names the first that is left.",
    )
    HOLD_PLACED = "hold.placed", "A legal hold was placed: nothing under it is pruned or erased."
    HOLD_LIFTED = "hold.lifted", "A legal hold was lifted."
    KEYS_SAVED = "keys.saved", "The keys of recorded contents were backed up."
    KEYS_RESTORED = "keys.restored", "Keys of recorded contents were restored from a backup."
    KEYS_EXPIRED = "keys.expired", "A backup of keys became unreadable for good."
    CHECKPOINT_COSIGNED = (
        "checkpoint.cosigned",
        "A witness was lost, refused a checkpoint, or was found again.",
    )
    REFUSED = "refused", "A request was refused; the outcome is the reason."
    NETWORK_BLOCKED = "network.blocked", "A connection to the outside was attempted and stopped."
