"""`/v1/chat/completions` and `/v1/models`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from agents.events import Outcome, Question, Released
from infra.audit.event_types import EventType
from infra.errors import InvalidInput, NotFound, StrongroomError
from infra.logs import get_logger
from services.chat.schemas import ASSISTANT, MODELS, QUOTES, ChatRequest
from services.chat.shapes import Transcript
from services.conversations.exchange import Exchange, history_of
from services.deps import CurrentPerson, PartsDep, Person, RequestId
from services.errors import envelope
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts
from services.requests import UNEXPECTED

router = APIRouter(prefix="/v1", tags=["chat"], route_class=RecordedRoute)
_log = get_logger()


@router.get("/models")
@reads(EventType.CHOICES_READ, "models")
def list_models(_person: CurrentPerson) -> dict[str, Any]:
    """List the assistants that a chat completion may name as its model."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "strongroom", "x_description": text}
        for name, text in MODELS.items()
    ]
    return {"object": "list", "data": data}


@router.post(
    "/chat/completions",
    response_model=None,
    # With `stream`, the answer comes as events.
    responses={200: {"content": {"text/event-stream": {}}}},
)
@writes(EventType.ANSWER_ASKED)
async def create_chat_completion(
    body: ChatRequest, request: Request, parts: PartsDep, person: CurrentPerson, corr: RequestId
) -> dict[str, Any] | Response:
    """Answer the last message from the documents that one may read, with citations.

    `x_conversation` names a kept conversation of one's own: its history is the server's, and question and
    answer are added to it. The record of the question and of the passages is written before this returns
    anything; a failure of the ledger is 503 `audit_unavailable`.
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
    exchange = None
    if body.x_conversation is not None:
        question, exchange = await _continued(body.x_conversation, body, question, parts, person)
    transcript = Transcript(
        answer_id=corr,
        model=body.model,
        base_url=parts.settings.public_url or str(request.base_url),
        quotes_in_text=body.x_evidence == "content",
    )
    pieces = parts.answerer.answer(question, person.principal)
    if not body.stream:
        return await _whole(transcript, pieces, exchange)
    # The first piece is awaited here, so that a refusal is an HTTP status and not a broken stream.
    first = await anext(pieces)
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    stream = _stream(transcript, first, pieces, exchange, wants_usage=wants_usage)
    return EventSourceResponse(stream, sep="\n")


async def _continued(
    conversation_id: str, body: ChatRequest, question: Question, parts: Parts, person: Person
) -> tuple[Question, Exchange]:
    """Return the question with the kept history before it, and what will keep the two turns."""
    room = parts.settings.question_max_chars - len(question.text)
    history = await anyio.to_thread.run_sync(
        lambda: history_of(parts, person, conversation_id, max_chars=room)
    )
    exchange = Exchange(
        parts,
        person,
        conversation_id,
        question,
        model=body.model,
        quotes_in_text=body.x_evidence == "content",
    )
    return replace(question, history=history), exchange


async def _whole(
    transcript: Transcript, pieces: AsyncGenerator[Released], exchange: Exchange | None
) -> dict[str, Any]:
    async with aclosing(pieces):
        async for piece in pieces:
            transcript.chunk(piece)
            if exchange is not None:
                exchange.hear(piece)
    if exchange is None:
        return transcript.completion()
    await exchange.keep()
    return {**transcript.completion(), "x_conversation": exchange.conversation_id}


async def _stream(
    transcript: Transcript,
    first: Released,
    rest: AsyncGenerator[Released],
    exchange: Exchange | None,
    *,
    wants_usage: bool,
) -> AsyncIterator[dict[str, str]]:
    try:
        yield _data(transcript.opening())
        yield await _said(transcript, first, exchange)
        if not isinstance(first, Outcome):
            async for piece in rest:
                yield await _said(transcript, piece, exchange)
        if wants_usage:
            yield _data(transcript.usage_chunk())
    except StrongroomError as error:
        yield _data(envelope(error))
    except Exception as error:  # noqa: BLE001 - the edge of a stream: headers are gone, so say it in the stream
        _log.error("answer.failed", answer=transcript.answer_id, error=type(error).__name__, exc_info=error)
        yield _data(envelope(StrongroomError(UNEXPECTED)))
    finally:
        # Also when the reader has left and this task is being cancelled: what they saw is kept.
        with anyio.CancelScope(shield=True):
            await rest.aclose()
            if exchange is not None:
                await exchange.keep_what_was_released()
    yield {"data": "[DONE]"}


async def _said(transcript: Transcript, piece: Released, exchange: Exchange | None) -> dict[str, str]:
    chunk = transcript.chunk(piece)
    if exchange is not None:
        exchange.hear(piece)
        if isinstance(piece, Outcome):
            # Before the end is told, so that whoever has heard it finds the answer in the conversation.
            await exchange.keep()
            chunk["x_conversation"] = exchange.conversation_id
    return _data(chunk)


def _data(value: dict[str, Any]) -> dict[str, str]:
    return {"data": json.dumps(value, ensure_ascii=False)}
