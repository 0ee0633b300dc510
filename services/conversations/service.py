"""What the conversation endpoints do: keep, show, share and remove, each on the record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from infra import conversations, sharing
from infra.access import POLICY, AccessScope
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Authz, Event, Resource
from infra.audit.removal.holds import refuse_while_held, take_turns
from infra.conversations import ReadableTurn, WithheldTurn
from infra.database.tables import Conversation
from infra.epoch import current_epoch
from services.deps import Person
from services.parts import Parts


@dataclass(frozen=True)
class ConversationView:
    """A conversation as one viewer sees it; whom it is shared with is its owner's business."""

    conversation: Conversation
    title: str
    owner_label: str
    is_mine: bool
    shared_with: list[dict[str, str]]


@dataclass(frozen=True)
class OpenedTurns:
    """Turns as one viewer may see them, and whether more follow."""

    view: ConversationView
    turns: list[ReadableTurn | WithheldTurn]
    has_more: bool


# --- looking --------------------------------------------------------------------------------------


def describe(parts: Parts, person: Person, scope: AccessScope, conversation_id: str) -> ConversationView:
    """Describe one conversation; raises NotFound when it is not theirs to look at."""
    with parts.database.read() as session:
        conversation = conversations.get_conversation(session, scope, conversation_id)
        return _views(parts, session, person, [conversation])[0]


def list_visible(
    parts: Parts, person: Person, scope: AccessScope, *, after: str | None, limit: int
) -> tuple[list[ConversationView], bool]:
    """List one's own conversations and those shared with one, newest first; and whether more follow."""
    with parts.database.read() as session:
        found, has_more = conversations.list_conversations(session, scope, after=after, limit=limit)
        return _views(parts, session, person, found), has_more


def open_turns(
    parts: Parts,
    person: Person,
    scope: AccessScope,
    corr: str,
    conversation_id: str,
    *,
    after: int | None = None,
    limit: int = conversations.MAX_TURNS,
    newest_first: bool = False,
) -> OpenedTurns:
    """Return turns with their citations checked for this viewer, after recording that they look."""
    with parts.database.read() as session:
        conversations.get_conversation(session, scope, conversation_id)
        authz = Authz("allow", POLICY, current_epoch(session))
    _record_opened(parts, person, corr, conversation_id, authz)
    # Read after the record, so that nothing shown is older than what the record says.
    with parts.database.read() as session:
        conversation = conversations.get_conversation(session, scope, conversation_id)
        turns, has_more = conversations.read_turns(
            session,
            scope,
            conversation_id,
            parts.master_key,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )
        return OpenedTurns(_views(parts, session, person, [conversation])[0], turns, has_more)


def _record_opened(parts: Parts, person: Person, corr: str, conversation_id: str, authz: Authz) -> None:
    actor, what = parts.ledger.identify(person.principal), Resource("conversation", conversation_id)
    event = Event(
        EventType.CONVERSATION_OPENED, Stage.SINGLE, corr, actor, res=what, authz=authz, outcome="ok"
    )
    parts.ledger.record(event)


def _views(
    parts: Parts, session: Session, person: Person, found: Sequence[Conversation]
) -> list[ConversationView]:
    me = person.principal.principal_id
    shares = {row.id: conversations.shares_of(session, row.id) for row in found if row.owner == me}
    named = {row.owner for row in found}.union(*shares.values())
    labels = sharing.labels_for(session, person.principal, named)
    return [
        ConversationView(
            conversation=row,
            title=conversations.title_of(row, parts.master_key),
            owner_label=labels[row.owner],
            is_mine=row.owner == me,
            shared_with=[
                {"id": principal, "label": labels[principal]} for principal in shares.get(row.id, [])
            ],
        )
        for row in found
    ]


# --- changing -------------------------------------------------------------------------------------


def create(parts: Parts, person: Person, corr: str, title: str) -> ConversationView:
    """Keep a new conversation of one's own."""
    with parts.database.write() as session:
        owner = person.principal.principal_id
        conversation = conversations.create_conversation(session, parts.master_key, owner=owner, title=title)
        _record(session, parts, person, corr, EventType.CONVERSATION_KEPT, conversation)
        return _views(parts, session, person, [conversation])[0]


def set_share(
    parts: Parts,
    person: Person,
    scope: AccessScope,
    corr: str,
    conversation_id: str,
    principal: str,
    *,
    shared: bool,
) -> None:
    """Let somebody look at one's own conversation, or stop doing so. No document is shared by this."""
    with parts.database.write() as session:
        conversation = _own(session, person, scope, conversation_id)
        if shared:
            sharing.refuse_foreign_groups(person.principal, [principal])
            conversations.share_conversation(session, conversation, principal)
        else:
            conversations.unshare_conversation(session, conversation, principal)
        event = EventType.CONVERSATION_SHARED if shared else EventType.CONVERSATION_UNSHARED
        _record(session, parts, person, corr, event, conversation, with_whom=principal)


def delete(parts: Parts, person: Person, scope: AccessScope, corr: str, conversation_id: str) -> None:
    """Remove one's own conversation with turns and key; raises LegalHoldStands while a hold covers it."""
    with parts.database.write() as session:
        take_turns(session)
        conversation = _own(session, person, scope, conversation_id)
        refuse_while_held(session, person.principal.principal_id)
        conversations.delete_conversation(session, conversation)
        _record(session, parts, person, corr, EventType.CONVERSATION_DELETED, conversation)


def record_kept(
    session: Session, parts: Parts, person: Person, corr: str, conversation: Conversation
) -> None:
    """Record, in the transaction that adds them, that turns were added; `corr` is their answer's id."""
    _record(session, parts, person, corr, EventType.CONVERSATION_KEPT, conversation)


def _own(session: Session, person: Person, scope: AccessScope, conversation_id: str) -> Conversation:
    me = person.principal.principal_id
    return conversations.get_own_conversation(session, scope, conversation_id, me)


def _record(
    session: Session,
    parts: Parts,
    person: Person,
    corr: str,
    event_type: EventType,
    conversation: Conversation,
    *,
    with_whom: str | None = None,
) -> None:
    actor, what = parts.ledger.actor_for(session, person.principal), Resource("conversation", conversation.id)
    event = Event(event_type, Stage.SINGLE, corr, actor, res=what, outcome="ok")
    # With whom is content, not an identifier of the log: it is encrypted, and can be erased.
    content = json.dumps({"principal": with_whom}).encode() if with_whom else None
    parts.ledger.record_in(session, event, content)
