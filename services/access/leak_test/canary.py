"""What a canary is: a small document with a secret word, and everything that could give it away."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from infra.clock import new_id

_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"
_SYLLABLES: Final = 6
"""A word of six syllables is one of 70^6, about 10^11."""


@dataclass(frozen=True)
class Rule:
    """The one rule that keeps a canary from the outsiders; `about` is the group, level or compartment."""

    kind: str  # "group", "person", "clearance", "compartment", "collection", "narrowed" or "deny"
    about: str = ""


@dataclass(frozen=True)
class Canary:
    """A canary, with the ids that it has got so far; an empty one does not apply.

    `topic` is what questions name; `secret` stands in its text alone. `insider` may read it. Outsiders may
    not read `own_collection`; they may read `open_collection`, and not the file in it.
    """

    rule: Rule
    topic: str
    secret: str
    insider: str = ""
    file_id: str = ""
    job_id: str = ""
    citation_id: str = ""
    own_collection: str = ""
    open_collection: str = ""
    private_conversation: str = ""
    shared_conversation: str = ""
    answer_id: str = ""

    @property
    def filename(self) -> str:
        """The file's name; a PDF where there has to be a page image."""
        return f"leak-test-{self.topic}.{'pdf' if self.rule.kind == 'person' else 'md'}"

    @property
    def question(self) -> str:
        """What somebody asks who looks for it; it does not hold the secret."""
        return f"Who is the keeper of the {self.topic} lighthouse?"

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        heading = f"The {self.topic} lighthouse"
        sentence = f"The keeper of the {self.topic} lighthouse is called {self.secret}."
        if self.filename.endswith(".pdf"):
            return _pdf([heading, sentence])
        return f"# {heading}\n\n{sentence}\n".encode()

    def marks(self) -> dict[str, str]:
        """Return what must not reach an outsider, by what it tells them."""
        named = {
            "content": self.secret,
            "file name": self.filename,
            "file id": self.file_id,
            "job id": self.job_id,
            "citation id": self.citation_id,
            "collection id": self.own_collection,
            "conversation id": self.private_conversation,
        }
        return {name: mark for name, mark in named.items() if mark}

    def unknown_twin(self) -> Canary:
        """Return a canary that does not exist; it would stand in the collection that outsiders may read."""
        return Canary(
            rule=self.rule,
            topic=new_word(),
            secret=new_word(),
            insider=self.insider,
            file_id=new_id(),
            job_id=new_id(),
            citation_id=new_id(),
            own_collection=new_id(),
            open_collection=self.open_collection,
            private_conversation=new_id(),
            shared_conversation=new_id(),
            answer_id=new_id(),
        )

    def anonymous(self, text: str) -> str:
        """Return `text` with everything that is this canary's own replaced by what it is."""
        text = text.replace(self.filename, "<filename>")
        for name, value in vars(self).items():
            if isinstance(value, str) and value:
                text = text.replace(value, f"<{name}>")
        return text


def new_canary(rule: Rule) -> Canary:
    """Return a canary with words of its own; nothing of it is stored yet."""
    return Canary(rule=rule, topic=new_word(), secret=new_word())


def new_word() -> str:
    """Return a word that nobody has written before and nobody can guess."""
    return "".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(_SYLLABLES))


def _pdf(lines: list[str]) -> bytes:
    """Return a PDF 1.4 document (ISO 32000-1) of one page; `lines` must not hold brackets or backslashes."""
    shown = "".join(f"({line}) Tj 0 -24 Td " for line in lines)
    stream = f"BT /F1 14 Tf 72 760 Td {shown}ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body, offsets = "%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{each}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("ascii")
