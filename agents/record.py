"""The record of one answer, written before anything of it is released (fail closed, design §4).

Each method commits its event before it returns, or raises AuditUnavailable; the caller releases nothing
until then.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from agents.events import Citation, Question, Status
from agents.retrieve import Found
from infra.access import POLICY, Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.group_commit import fail_closed, unavailable
from infra.audit.leaf import AI, Actor, Authz, Event, Resource, Retrieved, Tokens
from infra.audit.ledger import Ledger
from infra.audit.model_calls import begun_and_ended
from infra.audit.records import readable
from infra.database.tables import AuditInbox, AuditLeaf
from infra.documents import Passage
from infra.errors import Conflict


def as_recorded(passages: Sequence[Passage]) -> tuple[Retrieved, ...]:
    """Return passages, best first, as the ledger lists them."""
    return tuple(
        Retrieved(
            doc=passage.document_id,
            ver=passage.version_id,
            chunk=passage.id,
            hash=passage.sha256,
            rank=rank,
        )
        for rank, passage in enumerate(passages, start=1)
    )


class AnswerRecord:
    """Writes the events of one answer: asked, retrieved, segments, generated, finished.

    Several threads may hold one: a thread goes on writing when its reader has left and the answer was
    cancelled. One event is written at a time, and none after the end.
    """

    def __init__(self, ledger: Ledger, principal: Principal, answer_id: str) -> None:
        self._ledger = ledger
        self._principal = principal
        self.answer_id = answer_id
        self._actor: Actor | None = None
        self._passages: tuple[Retrieved, ...] = ()
        self._call: AI | None = None
        self._calls: tuple[AI, ...] = ()
        self._segments = 0
        self._begun = False
        self._ended = False
        self._left = False
        self._in_doubt = False
        self._writing = threading.RLock()

    @property
    def is_in_doubt(self) -> bool:
        """Whether a write failed, so that `interrupted` first has to ask the record what stands there."""
        return self._in_doubt

    def asked(self, question: Question) -> None:
        """Record who asks what; the conversation that comes along is part of it."""
        actor = self._ledger.identify(self._principal)
        turns = [{"role": turn.role, "text": turn.text} for turn in question.history]
        content = json.dumps({"question": question.text, "history": turns}, ensure_ascii=False)
        with self._writing:
            self._refuse_after_the_end()
            self._actor, self._begun = actor, True
            self._write(EventType.ANSWER_ASKED, Stage.START, content=content)

    def retrieved(self, found: Found, citations: Sequence[Citation]) -> None:
        """Record which passages the answer may use, before a model sees them, and every quote from them.

        All quotes travel to the reader as citations, also those that the text does not show, so all of them
        are content of this record.
        """
        passages = as_recorded(found.passages)
        quotes = [{"n": c.n, "chunk": c.passage.id, "span": c.span, "quote": c.quote} for c in citations]
        content = json.dumps({"quotes": quotes}, ensure_ascii=False)
        authz = Authz(decision="allow", policy=POLICY, epoch=found.epoch)
        with self._writing:
            self._refuse_after_the_end()
            self._passages = passages
            self._write(EventType.ANSWER_RETRIEVED, Stage.SEGMENT, ret=passages, authz=authz, content=content)

    def segment(self, text: str) -> None:
        """Record a piece of the answer that is about to be released."""
        with self._writing:
            self._refuse_after_the_end()
            self._write(EventType.ANSWER_SEGMENT, Stage.SEGMENT, content=text)
            self._segments += 1

    def calling(self, model: str, prompt: str, params: dict[str, str | int]) -> None:
        """Record the model call before it is made: which model, which prompt template, which parameters."""
        call = AI(model=model, prompt=prompt, params=params)
        with self._writing:
            self._refuse_after_the_end()
            self._call = call
            self._write(EventType.ANSWER_GENERATED, Stage.START, ai=call)

    def called(self, tokens: Tokens, outcome: str) -> None:
        """Record how the model call ended, and how much text it read and wrote."""
        with self._writing:
            self._refuse_after_the_end()
            if self._call is not None:
                self._end_call(replace(self._call, tokens=tokens), outcome)

    def finished(self, status: Status, cited: Sequence[Citation]) -> dict[str, Any]:
        """Record how the answer ended, what it cites and which model calls it took; returns the receipt."""
        chunks = {citation.passage.id for citation in cited}
        with self._writing:
            self._refuse_after_the_end()
            used = tuple(replace(entry, cited=int(entry.chunk in chunks)) for entry in self._passages)
            return self._end(status.value, used)

    def interrupted(self, outcome: str) -> None:
        """Record that the answer stopped early: the reader left, or something failed.

        An answer whose beginning did not get onto the record has no end there either. Call it again when it
        raises: it goes on where it was. Waits for a thread that is writing, and lets none write afterwards.
        """
        with self._writing:
            self._left = True
            if self._in_doubt:
                self._find_out()
            if self._call is not None:
                self._end_call(self._call, outcome)
            if self._begun and not self._ended:
                self._end(outcome, self._passages)

    def _refuse_after_the_end(self) -> None:
        if self._left or self._ended:
            raise Conflict("This answer has ended.")

    def _find_out(self) -> None:
        """Learn from the record itself what stands there, after a write that was given up waiting for.

        Such a write may still be committed. Records are written in turn, so once the ledger has taken
        something later, it is decided. Raises AuditUnavailable until then.
        """
        if not self._ledger.healthy():
            raise unavailable()
        with fail_closed(), self._ledger.database.read() as session:
            # A record moves from the inbox to the log, never back, and both are of one moment here.
            waiting = session.scalars(select(AuditInbox.leaf).order_by(AuditInbox.id)).all()
            of_answer = select(AuditLeaf.leaf).where(AuditLeaf.corr == self.answer_id)
            sealed = session.scalars(of_answer.order_by(AuditLeaf.index)).all()
        own = [leaf for raw in (*sealed, *waiting) if (leaf := readable(raw)) and leaf.corr == self.answer_id]
        stand = Counter((leaf.type, leaf.stage) for leaf in own)
        self._begun = stand[EventType.ANSWER_ASKED.value, Stage.START] > 0
        self._ended = stand[EventType.ANSWER_FINISHED.value, Stage.END] > 0
        self._segments = stand[EventType.ANSWER_SEGMENT.value, Stage.SEGMENT]
        begun, self._calls = begun_and_ended(own)
        self._call = begun[-1] if len(begun) > len(self._calls) else None
        self._in_doubt = False

    def _end_call(self, ai: AI, outcome: str) -> None:
        self._write(EventType.ANSWER_GENERATED, Stage.END, ai=ai, outcome=outcome)
        self._call, self._calls = None, (*self._calls, ai)

    def _end(self, outcome: str, used: tuple[Retrieved, ...]) -> dict[str, Any]:
        # Calls and segments once more: a receipt that lacks their records contradicts its own end.
        told: dict[str, Any] = {"ret": used, "calls": self._calls, "segments": self._segments}
        recorded = self._write(EventType.ANSWER_FINISHED, Stage.END, **told, outcome=outcome)
        self._ended = True
        return {"id": self.answer_id, "event": recorded.id, "leaf_hash": recorded.leaf_hash.hex()}

    def _write(self, event_type: EventType, stage: Stage, *, content: str | None = None, **parts: Any) -> Any:
        if self._actor is None:
            raise RuntimeError("an answer begins with the question")
        event = Event(
            type=event_type,
            stage=stage,
            corr=self.answer_id,
            actor=self._actor,
            res=Resource(type="answer", id=self.answer_id),
            **parts,
        )
        try:
            return self._ledger.record(event, content=content.encode() if content is not None else None)
        except Exception:
            self._in_doubt = True
            raise
