"""A first start gives the operator a key and a link, on the record."""

from __future__ import annotations

import stat

import pytest

from infra import accounts
from infra.access import Role
from infra.errors import NotAuthenticated
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.cli.first_link import renew_first_link
from services.cli.operator_access import ACCOUNT_NAME, prepare_access
from services.cli.operator_key import operator_key_file, read_operator_key


@pytest.fixture
def settings(tmp_path):
    """Return settings of an empty data folder."""
    return Settings(data_dir=tmp_path / "data")


def recorded(settings: Settings) -> list[tuple[str, str]]:
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    try:
        ledger.sealer.seal_all()
        return [(event.leaf.type, event.leaf.actor.sub) for event in ledger.reader.events()]
    finally:
        ledger.close()
        database.close()


def principal(settings: Settings, secret: str):
    database, _ = open_database(settings)
    try:
        with database.read() as session:
            return accounts.principal_of_key(session, secret)
    finally:
        database.close()


def test_the_key_works_and_is_private(settings):
    """The file's secret identifies the operator's service account, as an employee and nothing more."""
    prepare_access(settings)
    found = principal(settings, read_operator_key(settings.data_dir))
    assert (found.kind, found.roles) == ("service", {Role.EMPLOYEE})
    assert stat.S_IMODE(operator_key_file(settings.data_dir).stat().st_mode) == 0o600


def test_what_is_made_is_on_the_record(settings):
    """Account, key and invitation are each recorded as the server's own doing."""
    prepare_access(settings)
    assert recorded(settings) == [
        ("account.created", "system"),
        ("key.created", "system"),
        ("invitation.created", "system"),
    ]


def test_a_second_start_makes_no_second_key(settings):
    """The key stays; only the link is new, because only its hash was kept."""
    first_token = prepare_access(settings)
    key = read_operator_key(settings.data_dir)
    second_token = prepare_access(settings)
    assert read_operator_key(settings.data_dir) == key
    assert first_token != second_token
    assert [kind for kind, _ in recorded(settings)].count("key.created") == 1


def test_a_lost_key_is_replaced_for_the_same_account(settings):
    """Without the file a new key is made, and the account stays one."""
    prepare_access(settings)
    operator_key_file(settings.data_dir).unlink()
    prepare_access(settings)
    types = [kind for kind, _ in recorded(settings)]
    assert (types.count("account.created"), types.count("key.created")) == (1, 2)
    assert principal(settings, read_operator_key(settings.data_dir)) is not None


def test_a_revoked_key_is_replaced(settings):
    """A file whose key was withdrawn does not count as a key."""
    prepare_access(settings)
    old = read_operator_key(settings.data_dir)
    database, _ = open_database(settings)
    with database.write() as session:
        account = accounts.ensure_service_account(session, ACCOUNT_NAME)
        accounts.revoke_key(session, account.id, accounts.keys_of(session, account.id)[0].id)
    database.close()
    prepare_access(settings)
    assert read_operator_key(settings.data_dir) != old


def test_there_is_no_link_once_there_is_an_administrator(settings):
    """The link makes the first administrator only, and the earlier link has ended by then."""
    token = prepare_access(settings)
    database, _ = open_database(settings)
    with database.write() as session:
        hashed = accounts.hash_password("a long enough password")
        accounts.accept_invitation(session, token, name="Ada", email="ada@example.org", password_hash=hashed)
    database.close()
    assert prepare_access(settings) is None


def test_a_running_server_gets_a_fresh_link(settings):
    """A second `up` replaces the link, on the record, until there is an administrator."""
    first = prepare_access(settings)
    second = renew_first_link(settings)
    assert second not in {None, first}
    assert [kind for kind, _ in recorded(settings)].count("invitation.created") == 2
    database, _ = open_database(settings)
    with database.write() as session:
        hashed = accounts.hash_password("a long enough password")
        with pytest.raises(NotAuthenticated):
            accounts.accept_invitation(session, first, name="Eve", email="e@x.org", password_hash=hashed)
        accounts.accept_invitation(session, second, name="Ada", email="a@example.org", password_hash=hashed)
    database.close()
    assert renew_first_link(settings) is None
