"""Read a set of questions from a folder; what makes no sense is refused with its file and line.

`corpus.jsonl` (id, title, text) with `queries.jsonl` (id, text, answers?, answerable?, lang?) and `qrels.tsv`
(header; query, document, grade) is a set of its own. `questions.jsonl` (question, answers?, documents?,
answerable?, lang?, id?) asks about that corpus or, without one, about the documents of a running server.
Other fields are left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.errors import InvalidInput

CORPUS: Final = "corpus.jsonl"
QUERIES: Final = "queries.jsonl"
QRELS: Final = "qrels.tsv"
QUESTIONS: Final = "questions.jsonl"
HIGHEST_GRADE: Final = 100
_LAYOUT: Final = "docs/evaluation.md describes the files of a set."
_COLUMNS: Final = 3


@dataclass(frozen=True)
class SetDocument:
    """One document of a set's own corpus; the title may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class SetQuestion:
    """One question, and what is known about its answer.

    `grades` are relevant documents with their grades, 0 for known irrelevant ones. `answerable` is None where
    nobody says and nothing tells.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    grades: Mapping[str, int] = field(default_factory=dict)
    answerable: bool | None = None
    lang: str | None = None

    @property
    def relevant(self) -> frozenset[str]:
        """The documents that are worth finding."""
        return frozenset(document for document, grade in self.grades.items() if grade > 0)


@dataclass(frozen=True)
class QuestionSet:
    """The questions of a folder. `documents` is empty for a set about a running server.

    `sha256` is of the files that were read, so that two runs can be told to be about the same.
    """

    name: str
    documents: tuple[SetDocument, ...]
    questions: tuple[SetQuestion, ...]
    sha256: str


def read_set(folder: Path) -> QuestionSet:
    """Read a folder. Raises InvalidInput, with file and line, for anything that is no set of questions."""
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.", hint="Name the folder of a set.")
    name = folder.resolve().name
    documents = tuple(_documents(folder)) if (folder / CORPUS).is_file() else ()
    if not documents and not (folder / QUESTIONS).is_file():
        raise InvalidInput(f"In {folder} is neither {CORPUS} nor {QUESTIONS}.", hint=_LAYOUT)
    known = {document.id for document in documents} if documents else None
    if (folder / QUESTIONS).is_file():
        questions, read = tuple(_own_questions(folder, known)), [CORPUS, QUESTIONS]
    else:
        questions, read = tuple(_queries(folder, known or set())), [CORPUS, QUERIES, QRELS]
    if not questions:
        raise InvalidInput(f"There is no question in {folder}.", hint=_LAYOUT)
    return QuestionSet(name, documents, questions, _digest(folder, read))


# --- the files ------------------------------------------------------------------------------------


def _documents(folder: Path) -> Iterator[SetDocument]:
    seen: set[str] = set()
    for entry in _entries(folder / CORPUS):
        document = SetDocument(entry.name("id"), entry.text("title", ""), entry.text("text"))
        if document.id in seen:
            raise entry.error(f"the document “{_short(document.id)}” stands here a second time")
        seen.add(document.id)
        yield document
    if not seen:
        raise InvalidInput(f"There is no document in {folder / CORPUS}.", hint=_LAYOUT)


def _queries(folder: Path, known: Collection[str]) -> Iterator[SetQuestion]:
    asked: dict[str, _Entry] = {}
    for entry in _entries(folder / QUERIES):
        query = entry.name("id")
        if query in asked:
            raise entry.error(f"the question “{_short(query)}” stands here a second time")
        asked[query] = entry
    grades = _grades(folder / QRELS, asked, known)
    for query, entry in asked.items():
        yield _question(entry, query, entry.name("text"), grades[query])


def _own_questions(folder: Path, known: Collection[str] | None) -> Iterator[SetQuestion]:
    seen: set[str] = set()
    for entry in _entries(folder / QUESTIONS):
        name = entry.name("id", f"line-{entry.line}")
        if name in seen:
            raise entry.error(f"the question “{_short(name)}” stands here a second time")
        seen.add(name)
        documents = entry.texts("documents")
        strangers = [each for each in documents if known is not None and each not in known]
        if strangers:
            raise entry.error(f"there is no document “{_short(strangers[0])}” in {CORPUS}")
        yield _question(entry, name, entry.name("question"), dict.fromkeys(documents, 1))


def _question(entry: _Entry, name: str, text: str, grades: Mapping[str, int]) -> SetQuestion:
    answers = entry.texts("answers")
    answerable = entry.truth("answerable")
    has_source = any(grade > 0 for grade in grades.values())
    if answerable is None and (has_source or answers):
        answerable = True
    if answerable is False and has_source:
        raise entry.error("a question that cannot be answered has no relevant document")
    return SetQuestion(name, text, answers, grades, answerable, entry.text("lang", "") or None)


def _grades(file: Path, asked: Collection[str], known: Collection[str]) -> dict[str, dict[str, int]]:
    """Return the grades of each question's documents; a set may have no such file."""
    grades: dict[str, dict[str, int]] = {query: {} for query in asked}
    if not file.is_file():
        return grades
    for number, line in _lines(file):
        columns = line.split("\t")
        if len(columns) != _COLUMNS:
            raise _error(file, number, "a line has three columns: question, document, grade")
        query, document, grade = (column.strip() for column in columns)
        is_number = grade.isascii() and grade.isdigit()
        if number == 1:
            if is_number:
                raise _error(file, number, "the first line names the columns, and this one is data")
            continue
        if not is_number or int(grade) > HIGHEST_GRADE:
            raise _error(file, number, f"a grade is a whole number from 0 to {HIGHEST_GRADE}")
        if query not in grades:
            raise _error(file, number, f"there is no question “{_short(query)}” in {QUERIES}")
        if document not in known:
            raise _error(file, number, f"there is no document “{_short(document)}” in {CORPUS}")
        if document in grades[query]:
            raise _error(file, number, "this document was graded for this question before")
        grades[query][document] = int(grade)
    return grades


# --- lines and fields -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One line of a JSONL file."""

    file: Path
    line: int
    fields: dict[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a field that is a string; raises InvalidInput for anything else."""
        found = self.fields.get(name)
        found = default if found is None else found
        if not isinstance(found, str):
            raise self.error(f"`{name}` must be a text" + (", and is missing" if found is None else ""))
        return found

    def name(self, name: str, default: str | None = None) -> str:
        """Return a field that is a string with something in it; raises InvalidInput for anything else."""
        found = self.text(name, default).strip()
        if not found:
            raise self.error(f"`{name}` is empty")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list of strings, each once; raises InvalidInput for anything else."""
        found = self.fields.get(name) or []
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self.error(f"`{name}` must be a list of texts")
        return tuple(dict.fromkeys(found))

    def truth(self, name: str) -> bool | None:
        """Return a field that is true, false or not there; raises InvalidInput for anything else."""
        found = self.fields.get(name)
        if found is not None and not isinstance(found, bool):
            raise self.error(f"`{name}` must be true or false")
        return found

    def error(self, what: str) -> InvalidInput:
        """Return the error about this line."""
        return _error(self.file, self.line, what)


def _entries(file: Path) -> Iterator[_Entry]:
    for number, line in _lines(file):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _error(file, number, "this is no JSON") from error
        if not isinstance(fields, dict):
            raise _error(file, number, "each line is one JSON object")
        yield _Entry(file, number, fields)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines with something on them, with their numbers from 1.

    Only `\\n` ends a line: JSON texts may hold other characters that Python takes for line ends.
    """
    number = 0
    try:
        with file.open("rb") as opened:
            for number, raw in enumerate(opened, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise _error(file, number, "this is no text in UTF-8") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}.", hint=_LAYOUT) from error


def _error(file: Path, line: int, what: str) -> InvalidInput:
    return InvalidInput(f"{file.name}, line {line}: {what}.", hint=f"It is about {file}. {_LAYOUT}")


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:60]}…"


def _digest(folder: Path, names: Collection[str]) -> str:
    """Return one SHA-256 over the files that were read, in hex."""
    digest = hashlib.sha256()
    for name in names:
        file = folder / name
        if file.is_file():
            with file.open("rb") as opened:
                digest.update(name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
