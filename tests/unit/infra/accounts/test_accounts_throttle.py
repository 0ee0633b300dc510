"""How failed attempts are counted, and how long they hold somebody up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.accounts import throttle
from infra.accounts.throttle import Bucket
from infra.database import Database
from infra.database.tables import Throttle
from infra.errors import Throttled

ACCOUNT = throttle.account_bucket("ada@example.org")
ADDRESS = throttle.address_bucket("192.0.2.1")
HOUR_S, DAY_S = 3600, 86_400


class Clock:
    """The time, moved by hand."""

    def __init__(self) -> None:
        self.s = 1_000_000.0

    def __call__(self) -> int:
        """Return UTC milliseconds."""
        return int(self.s * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Nobody waits in these tests."""
    made = Clock()
    monkeypatch.setattr(throttle, "now_ms", made)
    return made


@pytest.fixture
def fail(database: Database) -> Callable[..., None]:
    """Count failed attempts, each in its own transaction."""

    def attempt(*buckets: Bucket, times: int = 1) -> None:
        for _ in range(times):
            with database.write() as session:
                throttle.begin_attempt(session, buckets)

    return attempt


def test_the_first_failures_cost_nothing_and_then_the_wait_doubles_to_15_minutes(
    clock: Clock, fail: Callable[..., None]
) -> None:
    """Five for an account; whoever comes too early is told when, and does not make it longer."""
    fail(ACCOUNT, times=6)
    waits = []
    for _ in range(12):
        with pytest.raises(Throttled) as refused:
            fail(ACCOUNT)
        waits.append(refused.value.retry_after_s)
        clock.s += waits[-1] - 0.001
        with pytest.raises(Throttled):
            fail(ACCOUNT)
        clock.s += 0.001
        fail(ACCOUNT)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_an_address_has_more_attempts_than_an_account(clock: Clock, fail: Callable[..., None]) -> None:
    """Several people may share one: twenty are free, and the one after the next has to wait."""
    fail(ADDRESS, times=21)
    with pytest.raises(Throttled):
        fail(ADDRESS)
    fail(throttle.address_bucket("192.0.2.2"))


def test_nothing_is_counted_when_one_bucket_is_blocked(
    clock: Clock, fail: Callable[..., None], database: Database
) -> None:
    """Somebody who is held up does not use up what others at the address have left."""
    fail(ACCOUNT, times=6)
    with pytest.raises(Throttled):
        fail(ADDRESS, ACCOUNT)
    with database.read() as session:
        assert session.get(Throttle, ADDRESS.id) is None


def test_success_clears_the_account_and_gives_the_address_its_attempt_back(
    clock: Clock, fail: Callable[..., None], database: Database
) -> None:
    """The address keeps its other failures, or one account of one's own would clear it for guessing."""
    fail(ACCOUNT, ADDRESS, times=4)
    with database.write() as session:
        throttle.attempt_succeeded(session, account=ACCOUNT, address=ADDRESS)
    with database.read() as session:
        assert session.get(Throttle, ACCOUNT.id) is None
        assert session.get_one(Throttle, ADDRESS.id).failures == 3


def test_failures_are_forgotten_one_by_one(clock: Clock, fail: Callable[..., None]) -> None:
    """An address forgets one in three minutes, an account one in an hour."""
    fail(ADDRESS, times=20)
    fail(ACCOUNT, times=5)
    clock.s += 180
    fail(ADDRESS, times=2)
    fail(ACCOUNT)
    for bucket in (ADDRESS, ACCOUNT):
        with pytest.raises(Throttled):
            fail(bucket)
    clock.s += HOUR_S + 1
    for bucket in (ADDRESS, ACCOUNT):
        fail(bucket)
    clock.s += 16 * HOUR_S
    fail(ACCOUNT, times=5)


def test_what_was_counted_is_in_the_database(
    clock: Clock, fail: Callable[..., None], database: Database
) -> None:
    """It holds after a restart, and for the other replica."""
    fail(ACCOUNT, times=6)
    other = Database(database.url)
    with other.read() as session, pytest.raises(Throttled):
        throttle.check_not_blocked(session, ACCOUNT)
    other.close()


def test_old_rows_are_swept(clock: Clock, fail: Callable[..., None], database: Database) -> None:
    """A day later a new row takes the old ones away; newer ones stay."""
    for number in range(30):
        fail(throttle.account_bucket(f"{number}@example.org"))
    clock.s += DAY_S - 10
    fail(ACCOUNT)
    clock.s += 11
    fail(ADDRESS)
    with database.read() as session:
        assert {row.bucket for row in session.query(Throttle)} == {ACCOUNT.id, ADDRESS.id}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("testclient", "unknown", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    """A machine has a whole IPv6 /64 to choose from, and one IPv4 address however it is written."""
    assert (throttle.address_bucket(one) == throttle.address_bucket(other)) is same


def test_accounts_and_purposes_do_not_share_a_bucket() -> None:
    """A withdrawn key must not keep people from signing in; an account's name has no upper case."""
    buckets = [throttle.address_bucket("192.0.2.1", what) for what in ("sign-in", "invitation", "key")]
    buckets.append(throttle.account_bucket("192.0.2.1"))
    assert len({bucket.id for bucket in buckets}) == 4
    assert throttle.account_bucket(" Ada@Example.org ") == ACCOUNT


@pytest.mark.parametrize(
    "spelling",
    [
        "ada  lovelace",
        "\uff21da\u3000lovelace",
        "ada\u200b\u00ad lovelace",
        "ada\tlovelace\x00",
        "ADA\ufe0f Lovelace\n",
    ],
)
def test_spellings_of_a_name_are_counted_together(spelling: str) -> None:
    """Spaces, full-width letters and characters that nobody sees make no new account."""
    one = throttle.account_bucket("ada lovelace", "corp")
    assert throttle.account_bucket(spelling, "corp") == one
    assert throttle.account_bucket("ada lovelace") != one
    assert throttle.account_bucket("ada lovelac", "corp") != one
    assert "ada" not in ACCOUNT.id
