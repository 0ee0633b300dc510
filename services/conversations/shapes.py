"""From kept conversations to OpenAI's Conversations shapes, and to Markdown."""

from __future__ import annotations

from typing import Any, Final

from agents.events import Citation, Evidence
from agents.evidence import as_plain_text, boxes_of
from infra.conversations import ReadableTurn, WithheldTurn
from infra.errors import InvalidInput
from services.chat.shapes import Transcript
from services.conversations.exchange import INTERRUPTED
from services.conversations.service import ConversationView
from services.documents.places import place_label

WITHHELD_TEXT: Final = "This answer cannot be shown to you."
"""The same for every withheld answer, so that nothing can be read from it."""


def conversation_object(view: ConversationView) -> dict[str, Any]:
    """Return OpenAI's conversation object with our additions."""
    return {
        "id": view.conversation.id,
        "object": "conversation",
        "created_at": view.conversation.created_at // 1000,
        "metadata": {"title": view.title} if view.title else {},
        "x_updated_at": view.conversation.updated_at // 1000,
        "x_owner": {"id": view.conversation.owner, "label": view.owner_label, "me": view.is_mine},
        "x_shared_with": view.shared_with,
    }


def item_object(conversation_id: str, entry: ReadableTurn | WithheldTurn, *, base_url: str) -> dict[str, Any]:
    """Return one turn as a conversation item; a withheld one says nothing but that."""
    item_id = f"msg_{conversation_id}_{entry.number}"
    if isinstance(entry, WithheldTurn):
        return {"id": item_id, "type": "withheld", "content": [{"type": "text", "text": WITHHELD_TEXT}]}
    turn = entry.turn
    message = {
        "id": item_id,
        "type": "message",
        "role": turn.role,
        "status": "incomplete" if turn.status == INTERRUPTED else "completed",
        "x_created_at": entry.created_at // 1000,
    }
    if turn.role == "user":
        return {**message, "content": [{"type": "input_text", "text": turn.text}]}
    said = _replayed(entry, base_url)
    notes = [{"type": note["type"], **note["url_citation"]} for note in said.annotations()]
    return {
        **message,
        "content": [{"type": "output_text", "text": said.text.strip(), "annotations": notes}],
        "x_citations": said.citation_objects(),
        "x_answer": {"id": turn.answer_id, "model": turn.model, "status": turn.status},
    }


def number_of(item_id: str) -> int:
    """Return the turn's number in an item id; raises InvalidInput for anything else."""
    number = item_id.rpartition("_")[2]
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise InvalidInput("There is no such item to go on from.", param="after")
    return int(number)


def markdown_of(view: ConversationView, turns: list[ReadableTurn | WithheldTurn], *, base_url: str) -> str:
    """Return a conversation as Markdown, with the same answers withheld as everywhere else."""
    blocks = [f"# {as_plain_text(view.title) or 'Conversation'}"]
    for entry in turns:
        if isinstance(entry, WithheldTurn):
            blocks += ["## Answer", f"*{WITHHELD_TEXT}*"]
        elif entry.turn.role == "user":
            # What a person typed must not fetch anything on the machine of whoever reads the export.
            blocks += ["## Question", "\n".join(as_plain_text(line) for line in entry.turn.text.splitlines())]
        else:
            blocks += ["## Answer", *_answer_blocks(entry, base_url)]
    return "\n\n".join(blocks) + "\n"


def _answer_blocks(entry: ReadableTurn, base_url: str) -> list[str]:
    said = _replayed(entry, base_url)
    sources = [_source_line(citation) for citation in said.citations]
    text = [said.text.strip()] if said.text.strip() else []
    return [*text, *(["Sources:", "\n".join(sources)] if sources else [])]


def _source_line(citation: Citation) -> str:
    name, place = as_plain_text(citation.passage.document_name), place_label(citation.passage)
    where = f"{name}, {place}" if place else name
    return f"- [{citation.n}] {where}: “{as_plain_text(citation.quote)}”"


def _replayed(entry: ReadableTurn, base_url: str) -> Transcript:
    """Say a kept answer again, with links for this viewer's address."""
    citations = [
        Citation(
            n=kept.n,
            passage=entry.passages[kept.passage_id],
            quote=kept.quote,
            span=kept.span,
            support=kept.support,
            shown=kept.shown,
            boxes=boxes_of(entry.passages[kept.passage_id], kept.span),
        )
        for kept in entry.turn.citations
    ]
    said = Transcript(entry.turn.answer_id, entry.turn.model, base_url, quotes_in_text=True)
    said.chunk(Evidence(citations=citations, text=entry.turn.text, sufficient=True))
    return said
