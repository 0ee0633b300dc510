"""`/v1/chat/completions`, `/v1/models` and receipts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from agents.events import Outcome, Question, Released
from infra.access import Role
from infra.audit.leaf import EventType, Stage
from infra.errors import InvalidInput, NotFound, StrongroomError
from infra.logs import get_logger
from services.chat.schemas import ASSISTANT, MODELS, QUOTES, ChatRequest
from services.chat.shapes import Transcript
from services.deps import CurrentPerson, PartsDep, RequestId
from services.errors import envelope
from services.requests import UNEXPECTED

router = APIRouter(prefix="/v1", tags=["chat"])
_log = get_logger()


@router.get("/models")
def list_models(_person: CurrentPerson) -> dict[str, Any]:
    """List the assistants that a chat completion may name as its model."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "strongroom", "x_description": text}
        for name, text in MODELS.items()
    ]
    return {"object": "list", "data": data}


@router.post("/chat/completions", response_model=None)
async def create_chat_completion(
    body: ChatRequest, request: Request, parts: PartsDep, person: CurrentPerson, corr: RequestId
) -> dict[str, Any] | Response:
    """Answer the last message from the documents that one may read, with citations.

    The record of the question and of the passages is written before this returns anything; a failure of
    the ledger is 503 `audit_unavailable`.
    """
    if body.model not in MODELS:
        raise NotFound(
            f"There is no assistant called “{body.model[:60]}”.", hint=f"Use {ASSISTANT} or {QUOTES}."
        )
    if body.tools:
        raise InvalidInput("Tools from the client are not supported.", param="tools")
    text, history = body.turns(parts.settings.question_max_chars)
    limit = body.max_completion_tokens or body.max_tokens
    question = Question(corr, text, history, quotes_only=body.model == QUOTES, max_tokens=limit)
    transcript = Transcript(
        answer_id=corr,
        model=body.model,
        base_url=parts.settings.public_url or str(request.base_url),
        quotes_in_text=body.x_evidence == "content",
    )
    pieces = parts.answerer.answer(question, person.principal)
    if not body.stream:
        async with aclosing(pieces):
            async for piece in pieces:
                transcript.chunk(piece)
        return transcript.completion()
    # The first piece is awaited here, so that a refusal is an HTTP status and not a broken stream.
    first = await anext(pieces)
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    return EventSourceResponse(_stream(transcript, first, pieces, wants_usage=wants_usage), sep="\n")


async def _stream(
    transcript: Transcript, first: Released, rest: AsyncGenerator[Released], *, wants_usage: bool
) -> AsyncIterator[dict[str, str]]:
    yield _data(transcript.opening())
    yield _data(transcript.chunk(first))
    try:
        if not isinstance(first, Outcome):
            async for piece in rest:
                yield _data(transcript.chunk(piece))
        if wants_usage:
            yield _data(transcript.usage_chunk())
    except StrongroomError as error:
        yield _data(envelope(error))
    except Exception as error:  # noqa: BLE001 - the edge of a stream: headers are gone, so say it in the stream
        _log.error("answer.failed", answer=transcript.answer_id, error=type(error).__name__, exc_info=error)
        yield _data(envelope(StrongroomError(UNEXPECTED)))
    finally:
        await rest.aclose()
    yield {"data": "[DONE]"}


@router.get("/answers/{answer_id}/receipt")
def get_receipt(answer_id: str, parts: PartsDep, person: CurrentPerson) -> dict[str, Any]:
    """Return the proof that an answer is on the record, to whoever asked and to auditors."""
    subject = parts.ledger.identify(person.principal).sub
    # An answer that has just ended may still wait for its place in the log.
    parts.ledger.seal_all()
    for event in parts.ledger.events(corr=answer_id, limit=1000):
        leaf = event.leaf
        if leaf is None or leaf.type != EventType.ANSWER_FINISHED or leaf.stage is not Stage.END:
            continue
        if leaf.actor.sub == subject or Role.AUDITOR in person.roles:
            return {"answer": answer_id, **parts.ledger.receipt(leaf.id)}
    raise NotFound("There is no such answer.")


def _data(value: dict[str, Any]) -> dict[str, str]:
    return {"data": json.dumps(value, ensure_ascii=False)}
