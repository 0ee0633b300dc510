"""The classes in which contents are kept, each for its own number of days. Pure: events' names only."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RetentionClass(StrEnum):
    """What is kept equally long. A day's number of 0 keeps a class for ever."""

    ANSWERS = "answers"
    """Questions, answers, the searches made for them, and what people said about an answer."""
    SEARCHES = "searches"
    """What people searched for without asking for an answer."""
    ADMINISTRATION = "administration"
    """The particulars of everything else: whom a change was about, what a setting was."""


_OF_PREFIX: Final = {
    "answer": RetentionClass.ANSWERS,
    "feedback": RetentionClass.ANSWERS,
    "search": RetentionClass.SEARCHES,
    "suggestions": RetentionClass.SEARCHES,
}


def class_of(event_type: str) -> RetentionClass:
    """Return the class of an event's content; a type that is not known here is administration."""
    return _OF_PREFIX.get(event_type.partition(".")[0], RetentionClass.ADMINISTRATION)
