"""One question and its answer on their way into a kept conversation, and the history they continue."""

from __future__ import annotations

from typing import Final

import anyio
from sqlalchemy.exc import SQLAlchemyError

from agents.events import Citation, Evidence, Notice, Outcome, Question, Released, Sentence, Turn
from infra import conversations
from infra.access import scope_of
from infra.conversations import KeptCitation, KeptTurn, ReadableTurn
from infra.errors import StrongroomError
from infra.logs import get_logger
from services.conversations.service import record_kept
from services.deps import Person
from services.parts import Parts

HISTORY_TURNS: Final = 40
INTERRUPTED: Final = "interrupted"
_log = get_logger()


def history_of(parts: Parts, person: Person, conversation_id: str, *, max_chars: int) -> tuple[Turn, ...]:
    """Return the latest turns of one's own conversation that one may still see, oldest first.

    Answers that rest on a passage this person may not read now are left out, as in every other view.
    Raises NotFound for anybody but the owner, and Conflict when the conversation is full.
    """
    scope = scope_of(person.principal)
    with parts.database.read() as session:
        conversations.get_own_conversation(session, scope, conversation_id, person.principal.principal_id)
        conversations.refuse_when_full(session, conversation_id)
        seen, _ = conversations.read_turns(
            session, scope, conversation_id, parts.master_key, limit=HISTORY_TURNS, newest_first=True
        )
    turns, left = [], max_chars
    for entry in seen:
        if isinstance(entry, ReadableTurn) and entry.turn.text:
            left -= len(entry.turn.text)
            if left < 0:
                break
            turns.append(Turn(entry.turn.role, entry.turn.text))
    return tuple(reversed(turns))


class Exchange:
    """Hears what an answer releases, and keeps exactly that, once.

    The text is kept with plain marks such as [1]: links are made for each view, on the address that the
    viewer uses, so that nobody can plant a link in a conversation that others look at.
    """

    def __init__(
        self,
        parts: Parts,
        person: Person,
        conversation_id: str,
        question: Question,
        *,
        model: str,
        quotes_in_text: bool,
    ) -> None:
        self.conversation_id = conversation_id
        self._parts = parts
        self._person = person
        self._question = question
        self._model = model
        self._quotes_in_text = quotes_in_text
        self._text = ""
        self._citations: list[Citation] = []
        self._named: set[int] = set()
        self._status = INTERRUPTED
        self._done = False

    def hear(self, piece: Released) -> None:
        """Remember a piece that was released."""
        if isinstance(piece, Evidence):
            self._citations = piece.citations
            self._text += f"{piece.text}\n" if self._quotes_in_text else ""
        elif isinstance(piece, Sentence):
            self._text += f"{piece.text} "
            self._named.update(piece.citations)
        elif isinstance(piece, Notice):
            self._text += piece.text
        elif isinstance(piece, Outcome):
            self._citations, self._status = piece.citations, piece.status.value

    async def keep(self) -> None:
        """Store question and answer, with their record, in one transaction; does nothing a second time.

        Raises NotFound when the conversation was deleted meanwhile, AuditUnavailable and DatabaseBusy.
        """
        if not self._done:
            self._done = True
            await anyio.to_thread.run_sync(self._store)

    async def keep_what_was_released(self) -> None:
        """Store what there is after a stream broke off; nobody is there any more to be told of a failure."""
        try:
            await self.keep()
        except (StrongroomError, SQLAlchemyError) as error:
            kind = type(error).__name__
            _log.warning("conversation.not_kept", conversation=self.conversation_id, error=kind)

    def _store(self) -> None:
        parts, principal = self._parts, self._person.principal
        with parts.database.write() as session:
            conversation = conversations.add_turns(
                session,
                scope_of(principal),
                self.conversation_id,
                principal.principal_id,
                parts.master_key,
                self._turns(),
            )
            record_kept(session, parts, self._person, self._question.answer_id, conversation)

    def _turns(self) -> list[KeptTurn]:
        asked = KeptTurn("user", self._question.text)
        said = KeptTurn(
            role="assistant",
            text=self._text.strip(),
            citations=tuple(_kept(citation) for citation in self._citations if self._rests_on(citation)),
            answer_id=self._question.answer_id,
            model=self._model,
            status=self._status,
        )
        return [asked, said] if said.text or said.citations else [asked]

    def _rests_on(self, citation: Citation) -> bool:
        """Say whether the answer shows or names a passage; what was merely near is not part of it.

        Otherwise an answer about a public document would be withheld from everybody who lacks some other
        one that the search happened to find as well.
        """
        return citation.shown or citation.n in self._named


def _kept(citation: Citation) -> KeptCitation:
    return KeptCitation(
        n=citation.n,
        passage_id=citation.passage.id,
        quote=citation.quote,
        span=citation.span,
        support=citation.support,
        shown=citation.shown,
    )
