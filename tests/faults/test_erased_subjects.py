"""Many people erased: the chain is valid, and nothing of them can be found in the raw files.

Searching in here reads the files of a database that is open. That is safe because this process is the only
one at it; `infra.database.search_files` says what would happen otherwise.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

from infra import accounts, conversations
from infra.access import Principal, Role, scope_of
from infra.audit import content as contents
from infra.audit.content import ContentErased
from infra.audit.event_types import EventType, Stage
from infra.audit.leaf import Event
from infra.audit.ledger import Ledger
from infra.audit.removal.erasure import ErasureWish, erase
from infra.audit.removal.key_backups import restore_keys, save_keys
from infra.conversations import KeptTurn, add_turns, create_conversation
from infra.database import Database
from infra.database.tables import Conversation, Feedback, SubjectKey
from infra.keys import MasterKey
from infra.settings import Settings
from infra.stores import open_database, open_ledger

SEED: Final = 20261122
MARK: Final = b"canary"
"""Stands in everything that an erased person said, kept, or is called."""
SUBJECTS: Final = 20
"""How many are erased, unless `--subjects` says otherwise."""
STAYERS: Final = 5
ADMIN: Final = Principal(user_id="admin", kind="user", roles=frozenset({Role.ADMIN}))


@dataclass
class House:
    """An open data folder."""

    folder: Path
    database: Database
    master_key: MasterKey
    ledger: Ledger


@dataclass
class Made:
    """Somebody with a past: what they recorded, and every key that opens something of theirs, unwrapped."""

    principal: Principal
    events: list[str]
    keys: list[bytes]
    wrapped: bytes


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Open a fresh data folder as a server does, without its models."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    yield House(settings.data_dir, database, master_key, ledger)
    ledger.close()
    database.close()


@pytest.mark.timeout(3600)  # a thousand people take some minutes on a busy machine
def test_erased_people_leave_nothing_behind(house: House, pytestconfig: pytest.Config) -> None:
    """Neither words nor names nor keys are in any file, not even in a backup of keys; the log is sound."""
    chance = random.Random(SEED)
    subjects = pytestconfig.getoption("subjects", None) or SUBJECTS
    leavers = [somebody(house, f"canary{number}", chance) for number in range(subjects)]
    stayers = [somebody(house, f"stayer{number}", chance) for number in range(STAYERS)]
    house.ledger.sealer.seal_all()
    backup = save_keys(house.ledger, house.master_key, 30, corr="backup")
    (house.folder / "keys.backup").write_bytes(backup)
    # The search can find something: names stand there in the open, and keys as they are wrapped.
    before = raw_files(house.folder)
    assert any(MARK in raw for raw in before)
    assert all(any(one.wrapped in raw for raw in before) for one in leavers)
    assert_no_key_in_the_open(before, [*leavers, *stayers])

    chance.shuffle(leavers)
    certificates = [erase_account(house, one) for one in leavers]

    for certificate in certificates:
        assert set(certificate["search"]["found"].values()) == {0}
        assert (certificate["search"]["disk"]["log_emptied"], certificate["search"]["disk"]["key_found"]) == (
            True,
            0,
        )
    assert_nothing_is_found(raw_files(house.folder), leavers)
    assert_sound(house, leavers, stayers)
    restored = restore_keys(house.ledger, house.master_key, backup, corr="restore")
    assert (restored.restored, restored.present, restored.erased) == (0, STAYERS, subjects)
    house.ledger.close()
    house.database.close()
    assert_nothing_is_found(raw_files(house.folder), leavers)


def somebody(house: House, name: str, chance: random.Random) -> Made:
    """Make a person who asked, kept a conversation and judged an answer."""
    with house.database.write() as session:
        token, _ = accounts.invite(session, [Role.EMPLOYEE], created_by=None)
        user = accounts.accept_invitation(
            session, token, name=name, email=f"{name}@example.org", password_hash="none"
        )
        principal = Principal(user_id=user.id, kind="user", roles=frozenset({Role.EMPLOYEE}))
        actor = house.ledger.actor_for(session, principal)
        asked = Event(EventType.SEARCH_PERFORMED, Stage.SINGLE, user.id, actor)
        events = [
            house.ledger.record_in(session, asked, f"{name} asks {chance.random()}".encode() * 20).id
            for _ in range(chance.randint(1, 5))
        ]
        kept = create_conversation(session, house.master_key, owner=principal.principal_id, title=name)
        turns = [KeptTurn("user", f"{name} says {chance.random()}") for _ in range(chance.randint(1, 6))]
        add_turns(session, scope_of(principal), kept.id, principal.principal_id, house.master_key, turns)
        session.add(Feedback(answer_id="a", principal=principal.principal_id, verdict="good", created_at=1))
    with house.database.read() as session:
        key = contents.keys_of(session, [actor.sub])[actor.sub].unwrap(house.master_key)
        conversation = session.get_one(Conversation, kept.id)
        other = conversations._key(conversation, house.master_key)
        wrapped = session.scalars(
            select(SubjectKey.wrapped_key).where(SubjectKey.subject_id == actor.sub)
        ).one()
    return Made(principal, events, [key, other], wrapped)


def erase_account(house: House, one: Made) -> dict[str, Any]:
    """Erase somebody together with their account."""
    wish = ErasureWish(user_id=one.principal.user_id, reason="left", is_account_too=True)
    return erase(house.ledger, wish, by=ADMIN, corr="erase")


def raw_files(folder: Path) -> list[bytes]:
    """Return the bytes of every file under the data folder: database, log, shared memory, keys, backups."""
    return [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]


def assert_nothing_is_found(files: list[bytes], leavers: list[Made]) -> None:
    """Check that no file holds a word, a name or a key of those who were erased, wrapped keys included."""
    assert [left for raw in files for left in re.findall(rb".{0,40}canary.{0,40}", raw, re.DOTALL)] == []
    assert not [one for one in leavers if any(one.wrapped in raw for raw in files)]
    assert_no_key_in_the_open(files, leavers)


def assert_no_key_in_the_open(files: list[bytes], people: list[Made]) -> None:
    """Check that no key stands anywhere as it is, and no word that was sealed under one."""
    assert not [one for one in people if any(key in raw for key in one.keys for raw in files)]
    assert not any(b" asks 0." in raw or b" says 0." in raw for raw in files)


def assert_sound(house: House, leavers: list[Made], stayers: list[Made]) -> None:
    """Check the log, that what was erased does not open, and that what was not does."""
    house.ledger.sealer.seal_all()
    report = house.ledger.verify()
    assert report.is_sound, report
    assert report.contents_erased == sum(len(one.events) for one in leavers)
    for one in leavers:
        with pytest.raises(ContentErased):
            house.ledger.reader.read_content(one.events[0])
    for one in stayers:
        assert house.ledger.reader.read_content(one.events[0]).startswith(b"stayer")
