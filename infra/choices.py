"""What administrators choose while the server runs; each choice has a name and a form of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from infra.clock import now_ms
from infra.database.tables import Choice
from infra.errors import InvalidInput, NotFound

MAX_TEXT_CHARS: Final = 500
# The text becomes part of answers, which clients show as Markdown: nothing in it may turn into a link, an
# image or a tag, because answers carry no address that a reader's client would fetch (design §5).
_MARKUP = re.compile(r"[\\`*\[\]<>]|://|\bwww\.", re.IGNORECASE)


class ChoiceName(StrEnum):
    """The choices that there are."""

    NO_ANSWER_TEXT = "no_answer_text"
    """What is said after every answer that says that nothing was found, e.g. whom to ask."""


def choice_name(name: str) -> ChoiceName:
    """Return the choice that is called `name`; raises NotFound."""
    try:
        return ChoiceName(name)
    except ValueError as error:
        raise NotFound("There is no such choice.", hint=f"There is: {', '.join(ChoiceName)}.") from error


def read_choice(session: Session, name: ChoiceName) -> str | None:
    """Return what was chosen, or None when nothing was."""
    row = session.get(Choice, name.value)
    return row.value if row is not None else None


def choose(session: Session, name: ChoiceName, value: str | None) -> str | None:
    """Choose a value, or go back to having none; returns what is chosen now.

    Raises InvalidInput for a value that the choice cannot have.
    """
    checked = _CHECKS[name](value) if value is not None else None
    row = session.get(Choice, name.value)
    if row is not None and checked is None:
        session.delete(row)
    elif row is not None and checked is not None:
        row.value, row.changed_at = checked, now_ms()
    elif checked is not None:
        session.add(Choice(name=name.value, value=checked, changed_at=now_ms()))
    session.flush()
    return checked


def _plain_text(text: str) -> str | None:
    """Return a text on one line; None for a blank one."""
    one_line = " ".join(text.split())
    if len(one_line) > MAX_TEXT_CHARS:
        raise InvalidInput(f"The text has at most {MAX_TEXT_CHARS} characters.", param="value")
    if not one_line.isprintable() or _MARKUP.search(one_line):
        raise InvalidInput(
            "The text is plain: no links, no Markdown, no control characters.",
            hint="Name a person, a room, a telephone number or an e-mail address.",
            param="value",
        )
    return one_line or None


_CHECKS: Final[Mapping[ChoiceName, Callable[[str], str | None]]] = {ChoiceName.NO_ANSWER_TEXT: _plain_text}
