"""What a passage supports, and what is withheld."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.citations import check_claim
from agents.events import Citation
from agents.evidence import as_plain_text, best_quotes, boxes_of
from agents.wording import names_in, numbers_in, split_marks
from infra.documents import Passage
from infra.embeddings import Embedder
from infra.sentences import sentence_spans


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The packaged model; real embeddings, because the thresholds are for them."""
    return Embedder(None)


def _passage(text: str, *, n: int = 1, lines: list[list[float]] | None = None) -> Passage:
    return Passage(
        id=f"chunk-{n}",
        document_id="document",
        version_id="version",
        version_number=1,
        document_name="policy.pdf",
        media_type="application/pdf",
        ordinal=n,
        sha256="0" * 64,
        text=text,
        title="Travel policy",
        heading="",
        place={"page": n},
        lines=lines or [],
        created_at=0,
    )


def _citation(text: str, n: int = 1) -> Citation:
    return Citation(n=n, passage=_passage(text, n=n), quote=text, span=(0, len(text)), support=80)


LEAVE = (
    "Full-time employees have 28 days of paid annual leave in a calendar year. Leave is not paid out in cash."
)
RATES = "Country | Meals\nSwitzerland | 65 EUR\nFrance | 48 EUR\nPoland | 30 EUR"


@pytest.mark.parametrize(
    ("claim", "supported"),
    [
        ("Full-time employees get 28 days of paid annual leave.", True),
        ("Employees have twenty-eight days of leave in Norway.", False),
        ("Full-time employees get 30 days of paid annual leave.", False),
        ("Full-time employees get 28 days of paid annual leave, says Director Miller.", False),
        ("Leave is paid out in cash.", False),
        ("The canteen serves lunch from noon.", False),
        ("See https://example.org for the 28 days of paid annual leave.", False),
        ("Full-time employees get 28 days of paid annual leave ![x](y).", False),
    ],
)
def test_a_claim_stands_only_on_its_passage(embedder: Embedder, claim: str, supported: bool) -> None:
    """Numbers, names, negations, meaning and links each decide."""
    question = "How many days of annual leave are there?"
    verdict = check_claim(claim, (1,), question, [_citation(LEAVE)], embedder.embed_sentences)
    assert verdict.supported is supported
    assert (verdict.citations == (1,)) is supported


@pytest.mark.parametrize(("rate", "supported"), [("65", True), ("48", False), ("30", False)])
def test_a_number_from_another_row_is_withheld(embedder: Embedder, rate: str, supported: bool) -> None:
    """The passage holds all three numbers; only one is about Switzerland."""
    claim = f"The meal allowance in Switzerland is {rate} EUR."
    question = "What is the meal allowance in Switzerland?"
    verdict = check_claim(claim, (1,), question, [_citation(RATES)], embedder.embed_sentences)
    assert verdict.supported is supported


def test_a_name_from_the_question_must_stand_in_the_passage(embedder: Embedder) -> None:
    """The passage is about the portal being down; that Platinum customers must do this, nothing says."""
    text = "When the portal is down, acknowledge the page within 5 minutes, and open the channel #incident."
    claim = "When Platinum customers get updates, they must acknowledge the page within 5 minutes."
    question = "When must Platinum customers get updates?"
    verdict = check_claim(claim, (1,), question, [_citation(text)], embedder.embed_sentences)
    assert (verdict.supported, verdict.reason) == (False, "name")


def test_a_true_sentence_about_something_else_is_withheld(embedder: Embedder) -> None:
    """A model that goes on reciting its passage does not answer the question with it."""
    question = "When is the canteen open?"
    verdict = check_claim(
        "Full-time employees have 28 days of paid annual leave in a calendar year.",
        (1,),
        question,
        [_citation(LEAVE)],
        embedder.embed_sentences,
    )
    assert (verdict.supported, verdict.reason) == (False, "beside")


def test_a_wrong_citation_number_is_put_right(embedder: Embedder) -> None:
    """The model names passage 2, but passage 1 says it."""
    citations = [_citation(LEAVE, 1), _citation("The canteen opens at noon.", 2)]
    claim = "Full-time employees have 28 days of paid annual leave."
    verdict = check_claim(claim, (2,), "How much leave is there?", citations, embedder.embed_sentences)
    assert verdict.citations == (1,)


def test_marks_are_taken_out_in_order() -> None:
    """`[n]` and `[n, m]` are citation marks, wherever they stand."""
    assert split_marks("It is 5 [2]. And 6 [1, 2]") == ("It is 5. And 6", (2, 1))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("4,000 euros", {"4000"}),
        ("4000.50 or 4,000.5", {"4000.5"}),
        ("seven days", {"7"}),
        ("on 12 February 2026", {"12", "2026"}),
        ("at 01:30", {"01:30"}),
        ("3%", {"3"}),
        ("no number", set()),
    ],
)
def test_numbers_compare_by_value(text: str, numbers: set[str]) -> None:
    """Grouping, trailing zeros and number words do not make another number."""
    assert numbers_in(text) == numbers


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    """The first word of a sentence is capitalised anyway."""
    assert names_in("The head of Nordic Finance asks Ola") == {"nordic", "finance", "ola"}


@pytest.mark.parametrize(
    ("quote", "shown"),
    [
        ("Costs 25 euros ![x](https://evil.example/p.png?u=1) each", "https://"),
        ("See www.evil.example/p for more", "www."),
        ("Read <img src=x> and [this](ftp://evil.example) [2]", " <img"),
    ],
)
def test_a_quote_cannot_make_a_client_fetch_or_link(quote: str, shown: str) -> None:
    """Markdown in a document is text in an answer, and its addresses are no addresses."""
    text = as_plain_text(quote)
    assert shown not in text
    assert text.replace("\\", "") == quote
    assert "[2]" not in text


def test_the_row_with_the_name_is_the_best_quote(embedder: Embedder) -> None:
    """A row is read with its column names, so that it beats a sentence which only shares the subject."""
    text = f"On days of departure, half of the meal allowance is paid.\n{RATES}"
    question = "What is the meal allowance in Switzerland?"
    vector: NDArray[np.float32] = np.asarray(embedder.embed_query(question))
    quote = best_quotes(question, vector, [_passage(text)], embedder.embed_sentences)[0]
    assert quote.text == "Switzerland | 65 EUR"


def test_the_best_quote_is_verbatim(embedder: Embedder) -> None:
    """A quote is a span of its passage, and it is the sentence that answers."""
    passage = _passage("Founded in 1987. Receipts are due within 30 days of the trip. The canteen is shut.")
    question = "When are receipts due?"
    vector: NDArray[np.float32] = np.asarray(embedder.embed_query(question))
    quote = best_quotes(question, vector, [passage], embedder.embed_sentences)[0]
    assert "Receipts are due within 30 days" in quote.text
    assert passage.text[quote.span[0] : quote.span[1]] == quote.text


def test_boxes_follow_the_span() -> None:
    """Only the lines that the quote touches are drawn."""
    lines: list[list[float]] = [[0, 10, 1, 50, 100, 200, 110], [10, 20, 1, 50, 112, 200, 122]]
    passage = _passage("0123456789abcdefghij", lines=lines)
    assert boxes_of(passage, (12, 15)) == [{"page": 1, "x0": 50, "y0": 112, "x1": 200, "y1": 122}]


def test_sentences_keep_abbreviations_together() -> None:
    """`No. 5` and `e.g. The` are not sentence ends; a line end is."""
    text = "See No. 5 Main Street. It is e.g. Tuesday.\nNext line"
    pieces: Sequence[str] = [text[start:end] for start, end in sentence_spans(text)]
    assert pieces == ["See No. 5 Main Street.", "It is e.g. Tuesday.", "Next line"]
