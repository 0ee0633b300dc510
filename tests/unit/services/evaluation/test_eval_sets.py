"""Sets are read as they are meant, and nonsense is named with its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import InvalidInput
from services.evaluation.sets import read_set

CORPUS = [
    {"id": "a", "title": "Leave", "text": "25 days."},
    {"id": "b", "title": "", "text": "Lunch is at noon."},
]
QUERIES = [
    {"id": "q1", "text": "How many days?", "answers": ["25"], "given_passage": "ignored"},
    {"id": "q2", "text": "Who is the mayor?", "answerable": False, "lang": "en"},
    {"id": "q3", "text": "What is new?"},
]
QRELS = "query-id\tdoc-id\tgrade\nq1\ta\t2\nq1\tb\t0\n"


def lines(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def folder_of(place: Path, **files: str) -> Path:
    """Write a good set, in which `files` (without their endings) are other than usual."""
    usual = {"corpus": lines(CORPUS), "queries": lines(QUERIES), "qrels": QRELS}
    endings = {"qrels": ".tsv"}
    for name, text in {**usual, **files}.items():
        (place / (name + endings.get(name, ".jsonl"))).write_bytes(text.encode("utf-8", "surrogateescape"))
    return place


def test_a_set_with_documents(tmp_path):
    """Documents, questions and grades come back; a question with a source can be answered."""
    found = read_set(folder_of(tmp_path))
    assert [document.id for document in found.documents] == ["a", "b"]
    first, second, third = found.questions
    assert (first.grades, first.relevant, first.answerable) == ({"a": 2, "b": 0}, {"a"}, True)
    assert (second.answerable, second.lang, third.answerable) == (False, "en", None)
    assert found.name == tmp_path.name


def test_a_set_about_a_running_server(tmp_path):
    """Questions alone may name any document; those without an id have their line's number."""
    asked = [{"question": "How many days?", "answers": ["25"], "documents": ["leave.pdf#page=2"]}]
    (tmp_path / "questions.jsonl").write_text("\n" + lines(asked))
    found = read_set(tmp_path)
    assert found.documents == ()
    (question,) = found.questions
    assert (question.id, question.grades) == ("line-2", {"leave.pdf#page=2": 1})


def test_questions_about_a_corpus(tmp_path):
    """With a corpus beside them, questions may name its documents only."""
    good = {"question": "How many days?", "documents": ["a"]}
    place = folder_of(tmp_path, questions=lines([good]))
    assert read_set(place).questions[0].relevant == {"a"}
    folder_of(tmp_path, questions=lines([good, {"question": "What?", "documents": ["z"]}]))
    with pytest.raises(InvalidInput, match=r"questions\.jsonl, line 2: .*“z” in corpus\.jsonl"):
        read_set(place)


def test_only_line_feeds_end_a_line(tmp_path):
    """A text may hold the other characters that Python takes for line ends; a byte-order mark is no text."""
    strange = [{"id": "a", "title": "", "text": "one\u2028two\x85three"}]
    text = "\ufeff" + "".join(json.dumps(entry, ensure_ascii=False) + "\r\n" for entry in strange)
    found = read_set(folder_of(tmp_path, corpus=text, qrels="q\td\tg\n"))
    assert found.documents[0].text == "one\u2028two\x85three"


def test_the_digest_follows_the_files(tmp_path):
    """The same files give the same digest, another grade another one."""
    before = read_set(folder_of(tmp_path)).sha256
    assert read_set(tmp_path).sha256 == before
    assert read_set(folder_of(tmp_path, qrels=QRELS.replace("\t2", "\t1"))).sha256 != before


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus", '{"id": "a"}\n', "corpus.jsonl, line 1: `text` must be a text, and is missing"),
        ("corpus", lines([CORPUS[0], CORPUS[0]]), "corpus.jsonl, line 2: the document “a” stands"),
        ("corpus", lines(CORPUS) + "{oops\n", "corpus.jsonl, line 3: this is no JSON"),
        ("corpus", "[1]\n", "corpus.jsonl, line 1: each line is one JSON object"),
        ("corpus", "[" * 100_000 + "\n", "corpus.jsonl, line 1: this is no JSON"),
        ("corpus", lines(CORPUS) + "\udcff\n", "corpus.jsonl, line 3: this is no text in UTF-8"),
        ("corpus", '{"id": " ", "text": "x"}\n', "corpus.jsonl, line 1: `id` is empty"),
        ("corpus", "\n", "no document in"),
        ("queries", lines([QUERIES[0], QUERIES[0]]), "queries.jsonl, line 2: the question “q1” stands"),
        ("queries", '{"id": "q1", "text": 5}\n', "queries.jsonl, line 1: `text` must be a text"),
        ("queries", '{"id": "q1", "text": "?", "answers": "25"}\n', "line 1: `answers` must be a list"),
        ("queries", '{"id": "q1", "text": "?", "answerable": 1}\n', "`answerable` must be true or false"),
        ("queries", '{"id": "q1", "text": "?", "answerable": false}\n', "line 1: a question that cannot"),
        ("queries", "", "no question in"),
        ("qrels", "q1\ta\t1\n", "qrels.tsv, line 1: the first line names the columns"),
        ("qrels", QRELS + "q1 a 1\n", "qrels.tsv, line 4: a line has three columns"),
        ("qrels", QRELS + "q2\ta\t-1\n", "qrels.tsv, line 4: a grade is a whole number"),
        ("qrels", QRELS + "q2\ta\t1.5\n", "qrels.tsv, line 4: a grade is a whole number"),
        ("qrels", QRELS + "q9\ta\t1\n", "qrels.tsv, line 4: there is no question “q9”"),
        ("qrels", QRELS + "q3\tz\t1\n", "qrels.tsv, line 4: there is no document “z”"),
        ("qrels", QRELS + "q1\ta\t1\n", "qrels.tsv, line 4: this document was graded"),
    ],
)
def test_nonsense_is_named(file, text, message, tmp_path):
    """The error says in which file and line, and what is wrong there."""
    changes = {file: text}
    if file == "queries" and "q3" not in text and "cannot" not in message and "stands" not in message:
        changes["qrels"] = "q\td\tg\n"
    with pytest.raises(InvalidInput) as refused:
        read_set(folder_of(tmp_path, **changes))
    assert message in refused.value.message
    assert refused.value.hint


def test_folders_that_are_no_sets(tmp_path):
    """No folder, an empty one, and documents without questions are told apart."""
    with pytest.raises(InvalidInput, match="no folder"):
        read_set(tmp_path / "none")
    with pytest.raises(InvalidInput, match=r"neither corpus\.jsonl nor questions\.jsonl"):
        read_set(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(lines(CORPUS))
    with pytest.raises(InvalidInput, match=r"queries\.jsonl cannot be read"):
        read_set(tmp_path)
