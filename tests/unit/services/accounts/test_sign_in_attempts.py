"""Guessing passwords, keys and invitations is slowed down, and nobody learns anything by being held up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from front_door import CHEAP, PASSWORD, FrontDoor

from infra import accounts
from infra.access import Role
from infra.accounts import passwords
from infra.audit.event_types import EventType
from infra.directories.claims import DirectoryPerson
from infra.errors import DirectoryRefused


class CountingHasher:
    """Argon2, and how often it was asked."""

    def __init__(self) -> None:
        self.verified = 0

    def verify(self, password_hash: str, password: str) -> bool:
        """Count, then verify."""
        self.verified += 1
        return CHEAP.verify(password_hash, password)

    def hash(self, password: str) -> str:
        """Count like verifying: it costs the same."""
        self.verified += 1
        return CHEAP.hash(password)


@pytest.fixture
def hasher(cheap_passwords: None, monkeypatch: pytest.MonkeyPatch) -> CountingHasher:
    """Watch how often a password is looked at."""
    counting = CountingHasher()
    monkeypatch.setattr(passwords, "_PASSWORDS", counting)
    return counting


def without_id(answer: Any) -> tuple[int, str, dict[str, str]]:
    """Return all that an answer says, but for its id."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.text, headers


def test_no_password_is_looked_at_while_an_account_is_held_up(
    door: FrontDoor, hasher: CountingHasher
) -> None:
    """Not even the right one; when the wait is over, the right one opens and everything is forgotten."""
    door.join("ada")
    for _ in range(6):
        assert door.sign_in("ada", "wrong").status_code == 401
    looked = hasher.verified
    assert looked == 6
    blocked = door.sign_in("ada")
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (429, "throttled")
    assert blocked.headers["retry-after"] == "1"
    assert hasher.verified == looked
    door.later(1)
    assert door.sign_in("ada").status_code == 200
    for _ in range(6):
        assert door.sign_in("ada", "wrong").status_code == 401


def test_an_account_that_does_not_exist_is_held_up_alike(door: FrontDoor, hasher: CountingHasher) -> None:
    """Step by step the same answers, headers and work."""
    door.join("ada")
    seen = []
    for name in ("ada", "bob"):
        answers = [without_id(door.sign_in(name, "wrong")) for _ in range(8)]
        seen.append((answers, hasher.verified))
        hasher.verified = 0
    assert seen[0] == seen[1]
    assert [status for status, _, _ in seen[0][0]] == [401] * 6 + [429] * 2


def test_an_address_is_held_up_for_every_account(door: FrontDoor) -> None:
    """One password tried on many accounts is guessing, too."""
    door.join("ada")
    assert [door.sign_in(f"x{n}", "wrong").status_code for n in range(21)] == [401] * 21
    assert door.sign_in("ada").status_code == 429


def test_people_who_mistype_now_and_then_do_not_hold_up_their_office(door: FrontDoor) -> None:
    """A success gives its own attempt back: twenty-five sign in from one address."""
    door.join("ada")
    assert [door.sign_in("ada").status_code for _ in range(25)] == [200] * 25


def test_a_key_cannot_be_guessed_but_a_good_one_goes_on(door: FrontDoor) -> None:
    """The address that tries many gets 429, and whoever has a good key or signs in there is not held up."""
    user = door.join("ada")
    good = door.key(user)
    bad = {"authorization": "Bearer sr-wrong"}
    assert [door.client.get("/v1/me", headers=bad).status_code for _ in range(23)] == [401] * 21 + [429] * 2
    assert int(door.client.get("/v1/me", headers=bad).headers["retry-after"]) >= 1
    assert door.client.get("/v1/me", headers=good).status_code == 200
    assert door.sign_in("ada").status_code == 200
    assert door.client.get("/v1/me").status_code == 200


def test_no_key_and_an_old_cookie_are_no_guesses(door: FrontDoor) -> None:
    """Browsers send what they have."""
    old = {"cookie": "__Host-strongroom=old"}
    assert {door.client.get("/v1/me", headers=headers).status_code for headers in (old, {}) * 30} == {401}


def test_an_invitation_cannot_be_guessed(door: FrontDoor, hasher: CountingHasher) -> None:
    """No password is hashed for a bad link, and after twenty-one of them the address waits."""
    body = {"token": "guess", "name": "X", "email": "x@example.org", "password": PASSWORD}
    answers = [door.client.post("/v1/invitations/accept", json=body).status_code for _ in range(22)]
    assert answers == [401] * 21 + [429]
    assert hasher.verified == 0


def test_a_password_change_is_an_attempt_like_a_sign_in(door: FrontDoor, hasher: CountingHasher) -> None:
    """Who finds an open browser cannot guess the password there, nor there and at the door in turns."""
    door.join("ada")
    here = door.browser("ada")
    hasher.verified = 0
    wrong = {"current": "wrong", "new": "another long password"}
    for _ in range(3):
        answer = door.client.post("/v1/me/password", json=wrong, headers=here)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "current")
        assert door.sign_in("ada", "wrong").status_code == 401
    right = {"current": PASSWORD, "new": "another long password"}
    assert door.client.post("/v1/me/password", json=right, headers=here).status_code == 429
    assert hasher.verified == 6


def test_a_failed_sign_in_is_on_the_record_without_what_was_typed(door: FrontDoor) -> None:
    """The sign-in and the refusal, by nobody known; being held up is a refusal as well."""
    for _ in range(7):
        door.sign_in("nobody", "a secret guess")
    failed = door.events(EventType.SIGNIN_FAILED)
    assert [leaf.actor.kind for leaf in failed] == ["anonymous"] * 6
    assert [leaf.outcome for leaf in door.events(EventType.REFUSED)] == ["not_authenticated"] * 6 + [
        "throttled"
    ]
    assert not any(
        b"nobody@" in event.raw or b"guess" in event.raw for event in door.ledger.reader.events(limit=1000)
    )


def test_an_invitation_finds_out_no_addresses(door: FrontDoor) -> None:
    """A link that holds says of twenty-one addresses that they are taken, and then its holder waits."""
    door.join("ada")
    with door.database.write() as session:
        token, _ = accounts.invite(session, {Role.EMPLOYEE}, created_by=None)
    body = {"token": token, "name": "X", "email": "ada@example.org", "password": PASSWORD}
    answers = [door.client.post("/v1/invitations/accept", json=body).status_code for _ in range(22)]
    assert answers == [409] * 21 + [429]


class OnePerson:
    """A directory in which every name leads to Ada, and how often her password was looked at."""

    def __init__(self) -> None:
        self.looked = 0

    def sign_in(self, login: str, password: str, *, may_try: Callable[[str], bool]) -> DirectoryPerson:
        """Ask, then compare."""
        if not may_try("ada-1"):
            raise DirectoryRefused("wrong_credentials")
        self.looked += 1
        if password != PASSWORD:
            raise DirectoryRefused("wrong_credentials")
        return DirectoryPerson("corp", "ada-1", "Ada", None, frozenset(), groups_known=False)


def test_a_directorys_person_is_counted_under_all_their_names(door: FrontDoor) -> None:
    """Many names are no more guesses, being held up looks like a wrong password, and a good one clears."""
    directory = OnePerson()
    door.app.state.parts.directories = SimpleNamespace(
        ldap=lambda _name: directory, asking=lambda _name: nullcontext()
    )

    def sign_in(login: str, password: str) -> Any:
        body = {"email": login, "password": password, "directory": "corp"}
        return door.client.post("/v1/session", json=body)

    wrong = [sign_in(f"name {number}", "wrong") for number in range(9)]
    assert {answer.status_code for answer in wrong} == {401}
    assert directory.looked == 6
    held_up = sign_in("another name", PASSWORD)
    assert (held_up.status_code, held_up.json()) == (401, wrong[0].json())
    door.later(3600)
    assert sign_in("another name", PASSWORD).status_code == 200
    assert sign_in("name", "wrong").status_code == 401
    assert directory.looked == 8
