"""What the conversation endpoints do: keep, show, share and remove, each on the record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from infra import conversations, sharing
from infra.access import AccessScope
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event, Resource
from infra.audit.removal.holds import refuse_while_held, take_turns
from infra.conversations import ReadableTurn, WithheldTurn
from infra.database.tables import Conversation
from infra.documents import open_passages
from infra.epoch import current_epoch
from services.conversations.opened import record_opened
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
    """Return turns with their citations checked for this viewer, after recording which passages they show.

    Raises NotFound when the conversation is not theirs to look at, and AuditUnavailable.
    """
    with parts.database.read() as session:
        epoch = current_epoch(session)
        turns, has_more = conversations.read_turns(
            session,
            scope,
            conversation_id,
            parts.master_key,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )
    record_opened(parts, person, corr, conversation_id, turns, epoch=epoch)
    # The record may have taken a while: look once more, so that a share that ended meanwhile shows nothing.
    with parts.database.read() as session:
        conversation = conversations.get_conversation(session, scope, conversation_id)
        turns = _still_shown(parts, session, scope, turns)
        return OpenedTurns(_views(parts, session, person, [conversation])[0], turns, has_more)


def _still_shown(
    parts: Parts, session: Session, scope: AccessScope, turns: Sequence[ReadableTurn | WithheldTurn]
) -> list[ReadableTurn | WithheldTurn]:
    """Withhold what rests on a passage that does not open any more."""
    cited = {name for turn in turns if isinstance(turn, ReadableTurn) for name in turn.passages}
    found = open_passages(session, scope, list(cited), parts.master_key, current_only=False)
    lost = cited - {passage.id for passage in found}
    return [
        WithheldTurn(turn.number)
        if isinstance(turn, ReadableTurn) and not lost.isdisjoint(turn.passages)
        else turn
        for turn in turns
    ]


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
