"""What the words of a manifest mean: whom, and which collections. All are looked up at once.

Rows repeat each other, and while a row is written nobody else can write: what its words mean is known before.
"""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.access import EVERYONE, Principal, scope_of
from infra.collections import NO_SUCH_COLLECTION, list_collections
from infra.database.batches import in_batches
from infra.database.tables import Group, User
from infra.errors import Conflict, InvalidInput, NotFound
from infra.sharing import may_name, unknown_principals

WINDOWS_EVERYONE: Final = frozenset(
    {"everyone", "authenticated users", "nt authority\\authenticated users", "s-1-1-0", "s-1-5-11"}
)
"""What Windows calls whoever can sign in; the last two are well-known SIDs (MS-DTYP 2.4.2.4)."""
_OURS: Final = "everyone"
"""Our own word for everyone; Windows writes its with a capital."""
_GROUP: Final = "group:"


@dataclass(frozen=True)
class Meanings:
    """What words mean to one person at one moment; a word that is not in here means nothing to them.

    `everyone` lets Windows' groups of everybody mean everyone.
    """

    everyone: bool
    _principals: Mapping[str, Sized[str]]
    _own_collections: Mapping[str, Sized[str]]

    def principals(self, words: Iterable[str], column: str) -> set[str]:
        """Return the principal ids of one list; raises InvalidInput for a word that is nobody for certain."""
        return {self._principal(word, column) for word in _distinct(words)}

    def collection(self, named: str) -> str:
        """Return the id of one's own collection of this name, or else `named`, which may be an id.

        Anybody may give their collection any name and share it: a foreign one must be meant by its id.
        """
        mine = self._own_collections.get(named, ())
        if len(mine) > 1:
            raise Conflict(
                "You have several collections of this name.", hint="Give an id.", param="collection"
            )
        if not mine and not named.isprintable():
            raise NotFound(NO_SUCH_COLLECTION, param="collection")
        return next(iter(mine), named)

    def _principal(self, word: str, column: str) -> str:
        if word == _OURS:
            return EVERYONE
        if word.casefold() in WINDOWS_EVERYONE:
            if self.everyone:
                return EVERYONE
            raise InvalidInput(
                f"“{word}” would mean everybody who can sign in.",
                hint="Say that this is meant with --everyone.",
                param=column,
            )
        found = self._principals.get(word, ())
        if len(found) != 1:
            many = "Several groups are called" if found else "There is nobody called"
            raise InvalidInput(f"{many} “{word}”.", hint=_hint(word), param=column)
        return next(iter(found))


def look_up(
    session: Session, asking: Principal, words: Iterable[str], collections: Iterable[str], *, everyone: bool
) -> Meanings:
    """Look up all words of access lists and names of collections, in as few statements as they need."""
    wanted = {word for word in _distinct(words) if word.isprintable()}
    ids = {word for word in wanted if may_name(asking, word)}
    found: dict[str, set[str]] = {word: {word} for word in ids - unknown_principals(session, ids)}
    others = wanted - found.keys()
    names = {word.removeprefix(_GROUP) for word in others if word.startswith(_GROUP)}
    for group_id, name in _groups(session, asking, names):
        found.setdefault(_GROUP + name, set()).add(group_id)
    accounts = _accounts(session, {word.lower() for word in others if _is_address(word)})
    found |= {word: {accounts[word.lower()]} for word in others if word.lower() in accounts}
    return Meanings(everyone, found, _own_collections(session, asking, set(collections)))


def _groups(session: Session, asking: Principal, names: Sized[str]) -> list[tuple[str, str]]:
    """Return id and name of groups: all for those who look after people or files, one's own for others.

    To everybody else a group that they are not in looks like one that does not exist.
    """
    return [
        (id_, name)
        for batch in in_batches(names)
        for id_, name in session.execute(select(Group.id, Group.name).where(Group.name.in_(batch)))
        if may_name(asking, id_)
    ]


def _accounts(session: Session, addresses: Sized[str]) -> dict[str, str]:
    """Return the principal id for each address that somebody else vouched for.

    Whoever accepts an invitation may state any address. Were such a one enough, somebody could wait under
    a director's address for the files of a share.
    """
    vouched = select(User.email, User.kind, User.id).where(User.email_vouched.is_(True))
    return {
        email: f"{kind}:{id_}"
        for batch in in_batches(addresses)
        for email, kind, id_ in session.execute(vouched.where(User.email.in_(batch)))
        if email is not None
    }


def _own_collections(session: Session, asking: Principal, names: Sized[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for collection in list_collections(session, scope_of(asking)) if names else ():
        if collection.owner == asking.principal_id and collection.name in names:
            found.setdefault(collection.name, []).append(collection.id)
    return found


def _distinct(words: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(word.strip() for word in words if word.strip())


def _is_address(word: str) -> bool:
    return "@" in word and not word.startswith(_GROUP)


def _hint(word: str) -> str | None:
    """Say what to write instead; it is the same whether or not an account has the address."""
    if not _is_address(word):
        return None
    return (
        "An address counts when an administrator or a directory stated it. "
        "Otherwise write user:<id>, as the People page shows it."
    )
