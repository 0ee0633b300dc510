"""From released pieces to OpenAI's shapes."""

from __future__ import annotations

import pytest

from agents.events import Citation, Evidence, Outcome, Progress, Sentence, Status
from infra.documents import Passage
from infra.errors import InvalidInput, TooLarge
from services.chat.schemas import ChatRequest
from services.chat.shapes import Transcript

TEXT = "Employees receive 25 days of leave."


def citation(n: int) -> Citation:
    """Return a citation of page `n`."""
    passage = Passage(
        id=f"chunk-{n}",
        document_id="doc",
        version_id="version",
        version_number=1,
        document_name="leave.pdf",
        media_type="application/pdf",
        ordinal=n,
        sha256="0" * 64,
        text=TEXT,
        title="",
        heading="",
        place={"page": n},
        lines=[],
        created_at=0,
    )
    return Citation(n=n, passage=passage, quote=TEXT, span=(0, len(TEXT)), support=90)


def transcript(*, quotes_in_text: bool = True) -> Transcript:
    """Return a transcript that has heard evidence and one sentence."""
    made = Transcript("id", "strongroom", "http://host/", quotes_in_text)
    made.chunk(Evidence([citation(1), citation(2)], f"> {TEXT} [1]\n", sufficient=True))
    made.chunk(Progress("reading"))
    made.chunk(Sentence("There are 25 days [1][2]", (1, 2), 95))
    return made


def finished(made: Transcript) -> dict[str, object]:
    """End the answer, and return its last chunk."""
    outcome = Outcome(
        status=Status.ANSWERED,
        mode="generated",
        message="",
        looked_for="leave",
        dropped=0,
        citations=made.citations,
        prompt_tokens=7,
        completion_tokens=5,
        receipt={"id": "id", "leaf_hash": "ab"},
    )
    return made.chunk(outcome)


def test_marks_become_links_of_our_own_host() -> None:
    """Each mark links to its source on this server; a number without a citation stays plain text."""
    made = transcript()
    made.chunk(Sentence("And more [7]", (), 50))
    assert f"[[1]](http://host/sources/chunk-1?start=0&end={len(TEXT)})" in made.text
    assert "And more [7]" in made.text


def test_annotations_cover_exactly_the_links() -> None:
    """Start and end cut the link out of the final text, for every mark in order."""
    made = transcript()
    content = made.completion()["choices"][0]["message"]["content"]
    notes = [note["url_citation"] for note in made.annotations()]
    cut = [content[note["start_index"] : note["end_index"]] for note in notes]
    assert [piece[:5] for piece in cut] == ["[[1]]", "[[1]]", "[[2]]"]
    assert all(piece.endswith(f"]({note['url']})") for piece, note in zip(cut, notes, strict=True))


def test_quotes_can_stay_out_of_the_text() -> None:
    """They are in the citations in either case."""
    made = transcript(quotes_in_text=False)
    assert TEXT not in made.text
    assert [entry["quote"] for entry in made.citation_objects()] == [TEXT, TEXT]


def test_the_last_chunk_ends_the_answer() -> None:
    """Finish reason, annotations, citations, outcome and usage."""
    made = transcript()
    last = finished(made)
    choice = last["choices"][0]  # type: ignore[index]  # a chunk is JSON
    assert choice["finish_reason"] == "stop"
    assert len(choice["delta"]["annotations"]) == 3
    assert made.usage() == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert made.answer_object()["receipt_url"] == "/v1/answers/id/receipt"


def request(*messages: tuple[str, object], **fields: object) -> ChatRequest:
    """Build a request."""
    return ChatRequest.model_validate(
        {"messages": [{"role": role, "content": content} for role, content in messages], **fields}
    )


def test_the_last_message_is_the_question() -> None:
    """Earlier turns are its history; instructions of the client are left out."""
    parts = [{"type": "text", "text": "When"}, {"type": "text", "text": "exactly?"}]
    asked = request(("system", "Be rude."), ("user", "How many?"), ("assistant", "25."), ("user", parts))
    text, history = asked.turns(1000)
    assert text == "When\nexactly?"
    assert [(turn.role, turn.text) for turn in history] == [("user", "How many?"), ("assistant", "25.")]


def test_a_conversation_has_a_length_and_ends_with_a_question() -> None:
    """The limit counts all messages, the left out ones as well."""
    assert request(("system", "x" * 50), ("user", "y" * 50)).turns(100)[0] == "y" * 50
    with pytest.raises(TooLarge):
        request(("system", "x" * 51), ("user", "y" * 50)).turns(100)
    for messages in ([("system", "x")], [("user", " ")], [("user", "x"), ("assistant", "y")]):
        with pytest.raises(InvalidInput):
            request(*messages).turns(100)
