"""Sign-ins that have begun at a directory: used once, for ten minutes, by the browser that began them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.accounts import flows
from infra.accounts.flows import FLOW_S, BegunFlow, keep_flow, take_flow
from infra.accounts.tokens import hash_secret
from infra.database import Database
from infra.database.tables import Base, SignInFlow
from infra.errors import DirectoryRefused

KEY = b"\x11" * 32
FLOW = BegunFlow(
    directory="sso",
    redirect_uri="https://strongroom.internal/v1/directories/sso/callback",
    after="/documents",
    nonce="the nonce",
    verifier="the verifier",
    browser_hash=hash_secret("the browser"),
)


@pytest.fixture
def session(tmp_path: Path):
    """One open transaction on an empty database."""
    database = Database(f"sqlite:///{tmp_path / 'flows.sqlite3'}")
    Base.metadata.create_all(database.engine)
    with database.write() as opened:
        yield opened
    database.close()


def count(session: Session) -> int | None:
    return session.scalar(select(func.count()).select_from(SignInFlow))


def test_a_flow_is_taken_once(session):
    """What was kept comes back whole, and then never again."""
    keep_flow(session, KEY, "state", FLOW)
    assert take_flow(session, KEY, "state") == FLOW
    assert take_flow(session, KEY, "state") is None


def test_an_unknown_state_takes_nothing(session):
    """Another state leaves the flow where it is."""
    keep_flow(session, KEY, "state", FLOW)
    assert take_flow(session, KEY, "another") is None
    assert take_flow(session, KEY, "state") == FLOW


@pytest.mark.parametrize(("later_s", "found"), [(FLOW_S - 1, True), (FLOW_S, False)])
def test_a_flow_expires(session, monkeypatch, later_s, found):
    """After ten minutes a flow is worth nothing."""
    monkeypatch.setattr(flows, "now_ms", lambda: 0)
    keep_flow(session, KEY, "state", FLOW)
    monkeypatch.setattr(flows, "now_ms", lambda: later_s * 1000)
    assert (take_flow(session, KEY, "state") == FLOW) is found


def test_expired_flows_are_swept(session, monkeypatch):
    """A new flow removes those that are over, and leaves the others."""
    monkeypatch.setattr(flows, "now_ms", lambda: 0)
    keep_flow(session, KEY, "old", FLOW)
    monkeypatch.setattr(flows, "now_ms", lambda: 1)
    keep_flow(session, KEY, "open", FLOW)
    monkeypatch.setattr(flows, "now_ms", lambda: FLOW_S * 1000)
    keep_flow(session, KEY, "new", FLOW)
    assert count(session) == 2
    assert take_flow(session, KEY, "open") == FLOW


def test_a_flood_pushes_out_the_oldest(session, monkeypatch):
    """The table is bounded, and who came last still gets in."""
    monkeypatch.setattr(flows, "MAX_FLOWS", 3)
    for number in range(5):
        monkeypatch.setattr(flows, "now_ms", lambda number=number: number)
        keep_flow(session, KEY, f"state {number}", FLOW)
    assert count(session) == 3
    assert [take_flow(session, KEY, f"state {number}") is None for number in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_nothing_secret_is_stored_in_clear(session):
    """Neither the state nor what the answer is checked against can be read from the table."""
    keep_flow(session, KEY, "state", FLOW)
    session.flush()
    row = session.scalars(select(SignInFlow)).one()
    assert row.state_hash == hash_secret("state")
    for secret in (FLOW.nonce, FLOW.verifier, FLOW.after):
        assert secret.encode() not in row.sealed


def test_a_sealed_flow_cannot_be_moved(session):
    """A row's content under another state does not open."""
    keep_flow(session, KEY, "state", FLOW)
    keep_flow(session, KEY, "another", replace(FLOW, after="/"))
    session.flush()
    rows = {row.state_hash: row for row in session.scalars(select(SignInFlow))}
    rows[hash_secret("another")].sealed = rows[hash_secret("state")].sealed
    session.flush()
    assert take_flow(session, KEY, "another") is None


@pytest.mark.parametrize(
    ("directory", "browser", "reason"),
    [
        ("other", "the browser", "other_directory"),
        ("sso", "another browser", "other_browser"),
        ("sso", "", "other_browser"),
    ],
)
def test_a_flow_is_for_one_directory_and_one_browser(directory, browser, reason):
    """An answer of another provider, or to another browser, is refused."""
    with pytest.raises(DirectoryRefused) as refusal:
        FLOW.check(directory=directory, browser=browser)
    assert refusal.value.reason == reason


def test_the_browser_that_began_passes():
    """The directory and the browser of the beginning are let through."""
    FLOW.check(directory="sso", browser="the browser")
