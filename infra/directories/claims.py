"""What a company directory says about a person, checked, whichever protocol was spoken."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from infra.errors import DirectoryRefused

MAX_GROUPS: Final = 500
MAX_GROUP_CHARS: Final = 160
MAX_SUBJECT_CHARS: Final = 255
MAX_NAME_CHARS: Final = 200
MAX_EMAIL_CHARS: Final = 320

_PRINCIPAL_PREFIXES: Final = ("group:", "user:", "service:")


@dataclass(frozen=True)
class DirectoryPerson:
    """Somebody a directory vouches for. `(directory, subject)` identifies them; name and email are labels.

    An email address may be given to somebody else later, or be whatever the person typed at the provider:
    never find an account by it. `groups_known` is False when the directory said nothing about groups, which
    is not the same as saying that there are none: whoever is in a denied group must not slip out of it
    because one kind of token leaves groups out. `email_vouched` says that the directory itself knows the
    address to be theirs.
    """

    directory: str
    subject: str
    name: str
    email: str | None
    group_ids: frozenset[str]
    groups_known: bool = True
    email_vouched: bool = False


def directory_group(directory: str, value: object) -> str:
    """Return the principal id `group:<directory>:<value>` of one group (at most 199 characters).

    Raises DirectoryRefused (`group_refused`) for what is no immutable id: empty, over 160 characters, with
    spaces or control characters, or already a principal id, which would be a group of another directory.
    """
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_GROUP_CHARS
        or not _is_plain(value)
        or value.casefold().startswith(_PRINCIPAL_PREFIXES)
    ):
        raise DirectoryRefused("group_refused")
    return f"group:{directory}:{value}"


def directory_groups(directory: str, values: Iterable[object]) -> frozenset[str]:
    """Return the principal ids of a person's groups; raises DirectoryRefused for a bad one or over 500."""
    groups: set[str] = set()
    for count, value in enumerate(values, start=1):
        if count > MAX_GROUPS:
            # A cut list would silently drop groups, and with them the rules that deny by group.
            raise DirectoryRefused("too_many_groups")
        groups.add(directory_group(directory, value))
    return frozenset(groups)


def directory_person(
    directory: str,
    *,
    subject: object,
    name: object,
    email: object,
    groups: Iterable[object] | None,
    vouches_for_email: bool = False,
) -> DirectoryPerson:
    """Check what a directory sent and return the person; `groups` None means that it said nothing of them.

    Raises DirectoryRefused (`subject_refused`) without a usable subject. A bad name or email address is
    dropped, because neither decides anything.
    """
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not _is_plain(subject):
        raise DirectoryRefused("subject_refused")
    address = _email(email)
    return DirectoryPerson(
        directory=directory,
        subject=subject,
        name=_label(name) or address or subject[:MAX_NAME_CHARS],
        email=address,
        group_ids=frozenset() if groups is None else directory_groups(directory, groups),
        groups_known=groups is not None,
        email_vouched=address is not None and vouches_for_email,
    )


def _is_plain(text: str) -> bool:
    """Tell whether `text` has neither separators nor control, format, surrogate or unassigned characters."""
    return not any(unicodedata.category(char)[0] in "CZ" for char in text)


def _email(value: object) -> str | None:
    if not isinstance(value, str) or not 3 <= len(value) <= MAX_EMAIL_CHARS or not _is_plain(value):
        return None
    local, at, domain = value.rpartition("@")
    return value if at and local and domain else None


def _label(value: object) -> str:
    """Return a name fit to be shown: no control or direction-changing characters, at most 200 characters."""
    if not isinstance(value, str):
        return ""
    shown = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in value)
    return " ".join(shown.split())[:MAX_NAME_CHARS].strip()
