"""The record of one answer, written before anything of it is released (fail closed, design §4).

Each method commits its event before it returns, or raises AuditUnavailable; the caller releases nothing
until then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.events import Citation, Question, Status
from agents.retrieve import Found
from infra.access import POLICY, Principal
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import AI, Actor, Authz, Event, Resource, Retrieved, Tokens
from infra.audit.ledger import Ledger
from infra.documents import Passage


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
    """Writes the events of one answer: asked, retrieved, segments, generated, finished."""

    def __init__(self, ledger: Ledger, principal: Principal, answer_id: str) -> None:
        self._ledger = ledger
        self._principal = principal
        self.answer_id = answer_id
        self._actor: Actor | None = None
        self._passages: tuple[Retrieved, ...] = ()
        self._call: AI | None = None
        self._begun = False
        self._ended = False

    def asked(self, question: Question) -> None:
        """Record who asks what; the conversation that comes along is part of it."""
        self._actor = self._ledger.identify(self._principal)
        turns = [{"role": turn.role, "text": turn.text} for turn in question.history]
        content = json.dumps({"question": question.text, "history": turns}, ensure_ascii=False)
        self._write(EventType.ANSWER_ASKED, Stage.START, content=content)
        self._begun = True

    def retrieved(self, found: Found, citations: Sequence[Citation]) -> None:
        """Record which passages the answer may use, before a model sees them, and every quote from them.

        All quotes travel to the reader as citations, also those that the text does not show, so all of them
        are content of this record.
        """
        self._passages = as_recorded(found.passages)
        quotes = [{"n": c.n, "chunk": c.passage.id, "span": c.span, "quote": c.quote} for c in citations]
        content = json.dumps({"quotes": quotes}, ensure_ascii=False)
        authz = Authz(decision="allow", policy=POLICY, epoch=found.epoch)
        self._write(
            EventType.ANSWER_RETRIEVED, Stage.SEGMENT, ret=self._passages, authz=authz, content=content
        )

    def segment(self, text: str) -> None:
        """Record a piece of the answer that is about to be released."""
        self._write(EventType.ANSWER_SEGMENT, Stage.SEGMENT, content=text)

    def calling(self, model: str, prompt: str, params: dict[str, str | int]) -> None:
        """Record the model call before it is made: which model, which prompt template, which parameters."""
        call = AI(model=model, prompt=prompt, params=params)
        self._write(EventType.ANSWER_GENERATED, Stage.START, ai=call)
        self._call = call

    def called(self, tokens: Tokens, outcome: str) -> None:
        """Record how the model call ended, and how much text it read and wrote."""
        if self._call is not None:
            ai = replace(self._call, tokens=tokens)
            self._write(EventType.ANSWER_GENERATED, Stage.END, ai=ai, outcome=outcome)
            self._call = None

    def finished(self, status: Status, cited: Sequence[Citation]) -> dict[str, Any]:
        """Record how the answer ended and what it cites; returns the receipt."""
        chunks = {citation.passage.id for citation in cited}
        used = tuple(replace(entry, cited=int(entry.chunk in chunks)) for entry in self._passages)
        return self._end(status.value, used)

    def interrupted(self, outcome: str) -> None:
        """Record that the answer stopped early: the reader left, or something failed.

        An answer whose beginning did not get onto the record has no end there either. Call it again when it
        raises: it goes on where it was.
        """
        if self._call is not None:
            self._write(EventType.ANSWER_GENERATED, Stage.END, ai=self._call, outcome=outcome)
            self._call = None
        if self._begun and not self._ended:
            self._end(outcome, self._passages)

    def _end(self, outcome: str, used: tuple[Retrieved, ...]) -> dict[str, Any]:
        recorded = self._write(EventType.ANSWER_FINISHED, Stage.END, ret=used, outcome=outcome)
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
        return self._ledger.record(event, content=content.encode() if content is not None else None)
