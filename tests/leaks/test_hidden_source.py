"""A question whose only source the asker may not read is answered as if that document did not exist."""

from __future__ import annotations

from typing import Any

from leak_house import CANTEEN_QUESTION, MERGER, MERGER_QUESTION, House, cited_files, indexed, seen, streamed

from tests.made_documents import pdf_of

# The second and third share words with the hidden file: its word statistics must not move anything.
QUESTIONS = [MERGER_QUESTION, CANTEEN_QUESTION, "Is lunch planned with Halden Foods?", "Where are bicycles?"]


def test_a_hidden_document_changes_nothing(house: House) -> None:
    """Hidden from employee, admin and auditor: the merger. Visible: the canteen, and the merger to Ada.

    Status, text, citations, their order and support, and every streamed chunk are the same before and after
    the upload, and so are lists.
    """
    before = {person.email: everything(person) for person in house.others}
    text = [["Strictly for the board: lunch, canteen, bicycles.", MERGER], *[[MERGER]] * 20]
    indexed(house.ada, "merger.pdf", pdf_of(text))
    after = {person.email: everything(person) for person in house.others}
    assert after == before
    for person in house.others:
        assert cited_files(person, CANTEEN_QUESTION)[0] == "canteen.md"
        assert "Halden" not in str(seen(person, CANTEEN_QUESTION))
    assert cited_files(house.ada, MERGER_QUESTION)[0] == "merger.pdf"
    assert "ninth of October" in str(seen(house.ada, MERGER_QUESTION)["choices"])


def everything(person: Any) -> dict[str, Any]:
    """Return all that this person can get: answers whole and streamed, files, jobs, principals."""
    answers = {question: (seen(person, question), streamed(person, question)) for question in QUESTIONS}
    lists = {path: person.client.get(path).json() for path in ("/v1/files", "/v1/jobs", "/v1/principals")}
    return answers | lists
