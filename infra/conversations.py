"""Kept conversations: each under a key of its own, each turn shown only to whom its citations are readable.

A share lets somebody look at the conversation, never at a document: whatever an answer cites is opened for
each viewer as if they had asked for it, and an answer with one passage that does not open is withheld whole,
from its owner as well. Every read takes an AccessScope.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from infra.access import AccessScope
from infra.clock import new_id, now_ms
from infra.database.tables import Conversation, ConversationShare, ConversationTurn
from infra.documents import Passage, open_passages
from infra.errors import Conflict, InvalidInput, NotFound
from infra.keys import MasterKey, new_key, seal, unseal
from infra.sharing import no_such_principal, principal_exists

NO_SUCH_CONVERSATION: Final = "There is no such conversation."
MAX_TITLE_CHARS: Final = 200
MAX_TURNS: Final = 1000
"""Most turns of one conversation, so that opening and exporting it stay bounded."""
MAX_SHARES: Final = 100
DERIVED_TITLE_WORDS: Final = 10
DERIVED_TITLE_CHARS: Final = 80


@dataclass(frozen=True)
class KeptCitation:
    """A quote as it was released. `span` is its character range in the passage, `support` 0 to 100."""

    n: int
    passage_id: str
    quote: str
    span: tuple[int, int]
    support: int
    shown: bool


@dataclass(frozen=True)
class KeptTurn:
    """What was said. Of an answer: also every passage that it shows or names, and how it ended."""

    role: str  # "user" or "assistant"
    text: str
    citations: tuple[KeptCitation, ...] = ()
    answer_id: str = ""
    model: str = ""
    status: str = ""


@dataclass(frozen=True)
class ReadableTurn:
    """A turn that the viewer may see, with the passages it cites, opened for this viewer."""

    number: int
    created_at: int
    turn: KeptTurn
    passages: dict[str, Passage] = field(default_factory=dict)


@dataclass(frozen=True)
class WithheldTurn:
    """An answer that the viewer may not see. Nothing here depends on what is withheld."""

    number: int


@dataclass(frozen=True)
class ConversationsDeleted:
    """How much went with somebody's conversations."""

    conversations: int
    turns: int
    shares: int


# --- looking --------------------------------------------------------------------------------------


def get_conversation(session: Session, scope: AccessScope, conversation_id: str) -> Conversation:
    """Return a conversation that is theirs or shared with them; raise NotFound otherwise."""
    found = session.scalar(select(Conversation).where(Conversation.id == conversation_id, _visible(scope)))
    if found is None or not _may_look(scope, found, shares_of(session, found.id)):
        raise NotFound(NO_SUCH_CONVERSATION)
    return found


def get_own_conversation(
    session: Session, scope: AccessScope, conversation_id: str, principal_id: str
) -> Conversation:
    """Return a conversation that this principal owns; raise NotFound otherwise."""
    conversation = get_conversation(session, scope, conversation_id)
    if conversation.owner != principal_id:
        raise NotFound(NO_SUCH_CONVERSATION)
    return conversation


def list_conversations(
    session: Session, scope: AccessScope, *, after: str | None = None, limit: int
) -> tuple[list[Conversation], bool]:
    """List conversations that are theirs or shared with them, newest first; and whether more follow."""
    wanted = select(Conversation).where(_visible(scope))
    if after is not None:
        # Ids are UUIDv7, so their order is that of creation, and a page stays where it is while people write.
        wanted = wanted.where(Conversation.id < after)
    rows = session.scalars(wanted.order_by(Conversation.id.desc()).limit(limit + 1)).all()
    page = [row for row in rows[:limit] if _may_look(scope, row, shares_of(session, row.id))]
    return page, len(rows) > limit


def read_turns(
    session: Session,
    scope: AccessScope,
    conversation_id: str,
    master_key: MasterKey,
    *,
    after: int | None = None,
    limit: int = MAX_TURNS,
    newest_first: bool = False,
) -> tuple[list[ReadableTurn | WithheldTurn], bool]:
    """Return turns as this viewer may see them now, behind number `after`; and whether more follow.

    Raises NotFound when the conversation is absent or not theirs to look at.
    """
    conversation = get_conversation(session, scope, conversation_id)
    turns = select(ConversationTurn).where(ConversationTurn.conversation_id == conversation.id)
    if after is not None:
        number = ConversationTurn.number
        turns = turns.where(number < after if newest_first else number > after)
    order = ConversationTurn.number.desc() if newest_first else ConversationTurn.number
    rows = session.scalars(turns.order_by(order).limit(limit + 1)).all()
    key = _key(conversation, master_key)
    opened = [(row, _open_turn(key, row)) for row in rows[:limit]]
    passages = _readable_passages(session, scope, (turn for _, turn in opened), master_key)
    return [_as_seen(row, turn, passages) for row, turn in opened], len(rows) > limit


def title_of(conversation: Conversation, master_key: MasterKey) -> str:
    """Return the title: what its owner typed, or the first words of their first question, or nothing yet."""
    key = _key(conversation, master_key)
    return unseal(key, conversation.sealed_title, context=_title_context(conversation.id)).decode()


def shares_of(session: Session, conversation_id: str) -> list[str]:
    """Return the principals that a conversation is shared with, sorted; its owner's business alone."""
    principals = session.scalars(
        select(ConversationShare.principal).where(ConversationShare.conversation_id == conversation_id)
    )
    return sorted(principals)


def _visible(scope: AccessScope) -> ColumnElement[bool]:
    shared = exists().where(
        ConversationShare.conversation_id == Conversation.id,
        ConversationShare.principal.in_(scope.principals),
    )
    return Conversation.owner.in_(scope.principals) | shared


def _may_look(scope: AccessScope, conversation: Conversation, shares: Sequence[str]) -> bool:
    """Decide on one row again without SQL, so that a mistake in the condition above shows nothing."""
    return not scope.principals.isdisjoint({conversation.owner, *shares})


def _readable_passages(
    session: Session, scope: AccessScope, turns: Iterable[KeptTurn], master_key: MasterKey
) -> dict[str, Passage]:
    # Also of versions that were replaced: the answer was about those.
    cited = list({citation.passage_id for turn in turns for citation in turn.citations})
    found = open_passages(session, scope, cited, master_key, current_only=False)
    return {passage.id: passage for passage in found}


def _as_seen(
    row: ConversationTurn, turn: KeptTurn, passages: dict[str, Passage]
) -> ReadableTurn | WithheldTurn:
    cited = {citation.passage_id for citation in turn.citations}
    if not cited <= passages.keys():
        return WithheldTurn(row.number)
    return ReadableTurn(row.number, row.created_at, turn, {name: passages[name] for name in cited})


# --- changing -------------------------------------------------------------------------------------


def create_conversation(session: Session, master_key: MasterKey, *, owner: str, title: str) -> Conversation:
    """Add a conversation that its owner alone may see; without a title, its first question gives it one."""
    conversation_id, key, now = new_id(), new_key(), now_ms()
    conversation = Conversation(
        id=conversation_id,
        owner=owner,
        wrapped_key=master_key.wrap(key, context=_key_context(conversation_id)),
        sealed_title=_seal_title(key, conversation_id, checked_title(title)),
        created_at=now,
        updated_at=now,
    )
    session.add(conversation)
    session.flush()
    return conversation


def checked_title(title: str) -> str:
    """Return a title without outer spaces, possibly empty; raises InvalidInput for an unusable one."""
    stripped = title.strip()
    if len(stripped) > MAX_TITLE_CHARS or not stripped.isprintable():
        raise InvalidInput(f"A title has at most {MAX_TITLE_CHARS} printable characters.", param="title")
    return stripped


def refuse_when_full(session: Session, conversation_id: str) -> None:
    """Raise Conflict when a conversation has no room for another question."""
    if _last_number(session, conversation_id) >= MAX_TURNS:
        raise Conflict(f"This conversation has {MAX_TURNS:,} turns.", hint="Start a new one.")


def add_turns(
    session: Session,
    scope: AccessScope,
    conversation_id: str,
    principal_id: str,
    master_key: MasterKey,
    turns: Sequence[KeptTurn],
) -> Conversation:
    """Add what was said to one's own conversation; raises NotFound when it is not there any more."""
    conversation = get_own_conversation(session, scope, conversation_id, principal_id)
    # Two answers may end at once: their turns follow each other instead of taking the same numbers.
    locked = select(Conversation.id).where(Conversation.id == conversation_id).with_for_update()
    if session.scalar(locked) is None:
        raise NotFound(NO_SUCH_CONVERSATION)
    key, last, now = _key(conversation, master_key), _last_number(session, conversation_id), now_ms()
    for number, turn in enumerate(turns, start=last + 1):
        session.add(
            ConversationTurn(
                conversation_id=conversation_id,
                number=number,
                role=turn.role,
                sealed=_seal_turn(key, conversation_id, number, turn),
                created_at=now,
            )
        )
    conversation.updated_at = now
    if not title_of(conversation, master_key):
        asked = next((turn.text for turn in turns if turn.role == "user"), "")
        conversation.sealed_title = _seal_title(key, conversation_id, _derived_title(asked))
    session.flush()
    return conversation


def share_conversation(session: Session, conversation: Conversation, principal: str) -> bool:
    """Let a person or a group look at a conversation; returns whether anything changed."""
    if principal == conversation.owner or not principal_exists(session, principal):
        raise no_such_principal()
    if session.get(ConversationShare, (conversation.id, principal)) is not None:
        return False
    if len(shares_of(session, conversation.id)) >= MAX_SHARES:
        raise InvalidInput(
            f"A conversation is shared with at most {MAX_SHARES} people and groups.",
            hint="Put the people into a group.",
            param="principal",
        )
    session.add(ConversationShare(conversation_id=conversation.id, principal=principal))
    session.flush()
    return True


def unshare_conversation(session: Session, conversation: Conversation, principal: str) -> None:
    """Take a share back; raises NotFound when there is none."""
    row = session.get(ConversationShare, (conversation.id, principal))
    if row is None:
        raise NotFound("It is not shared with that person or group.")
    session.delete(row)
    session.flush()


def delete_conversation(session: Session, conversation: Conversation) -> None:
    """Remove a conversation with its turns, its shares and its key."""
    session.delete(conversation)
    session.flush()


def delete_conversations_of(session: Session, principal_id: str) -> ConversationsDeleted:
    """Remove whatever conversations a principal owns, and every share with them; returns the counts."""
    owned = select(Conversation.id).where(Conversation.owner == principal_id)
    turns = session.execute(
        delete(ConversationTurn)
        .where(ConversationTurn.conversation_id.in_(owned))
        .returning(ConversationTurn.number)
    ).all()
    shares = session.execute(
        delete(ConversationShare)
        .where(or_(ConversationShare.conversation_id.in_(owned), ConversationShare.principal == principal_id))
        .returning(ConversationShare.principal)
    ).all()
    conversations = session.execute(
        delete(Conversation).where(Conversation.owner == principal_id).returning(Conversation.id)
    ).all()
    return ConversationsDeleted(len(conversations), len(turns), len(shares))


def _last_number(session: Session, conversation_id: str) -> int:
    last = select(func.max(ConversationTurn.number)).where(
        ConversationTurn.conversation_id == conversation_id
    )
    return session.scalar(last) or 0


def _derived_title(question: str) -> str:
    words = "".join(sign if sign.isprintable() else " " for sign in question).split()
    title = " ".join(words[:DERIVED_TITLE_WORDS])[:DERIVED_TITLE_CHARS]
    return title if title == " ".join(words) else f"{title.rstrip()} …"


# --- sealing --------------------------------------------------------------------------------------


def _key(conversation: Conversation, master_key: MasterKey) -> bytes:
    return master_key.unwrap(conversation.wrapped_key, context=_key_context(conversation.id))


def _seal_title(key: bytes, conversation_id: str, title: str) -> bytes:
    return seal(key, title.encode(), context=_title_context(conversation_id))


def _seal_turn(key: bytes, conversation_id: str, number: int, turn: KeptTurn) -> bytes:
    content = json.dumps(asdict(turn), ensure_ascii=False).encode()
    return seal(key, content, context=_turn_context(conversation_id, number, turn.role))


def _open_turn(key: bytes, row: ConversationTurn) -> KeptTurn:
    context = _turn_context(row.conversation_id, row.number, row.role)
    content = json.loads(unseal(key, row.sealed, context=context))
    citations = [KeptCitation(**{**c, "span": tuple(c["span"])}) for c in content.pop("citations")]
    return KeptTurn(citations=tuple(citations), **content)


def _key_context(conversation_id: str) -> str:
    return f"conversation:{conversation_id}"


def _title_context(conversation_id: str) -> str:
    return f"conversation:{conversation_id}:title"


def _turn_context(conversation_id: str, number: int, role: str) -> str:
    return f"conversation:{conversation_id}:turn:{number}:{role}"
