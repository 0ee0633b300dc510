"""What the server shows the record to, from its settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.audit.ledger import Ledger
from infra.audit.witness.cosignature import Cosigner
from infra.database import Database
from infra.database.tables import Base
from infra.errors import ConfigurationError
from infra.keys import MasterKey
from infra.settings import Settings
from services.outposts import Outposts

KEY = str(Cosigner("witness.example/w1", bytes(32)).key)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty record."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    Base.metadata.create_all(database.engine)
    opened = Ledger(database, MasterKey(bytes(32)), origin="log.example/test", source="one", timeout_s=5.0)
    yield opened
    opened.close()
    database.close()


def test_without_settings_there_are_none(ledger, tmp_path):
    """A server on its own says so, and starts and stops no thread."""
    outposts = Outposts(ledger, Settings(data_dir=tmp_path))
    outposts.start()
    outposts.stop()
    assert outposts.summary() == {"witnesses": "none", "forwarding": "none"}


def test_what_is_set_up_is_new_until_it_was_reached(ledger, tmp_path):
    """Before the first contact the state is neither good nor bad."""
    witnesses = [{"url": "http://127.0.0.1:1", "key": KEY}]
    settings = Settings(data_dir=tmp_path, witnesses=witnesses, syslog_url="syslog+tls://127.0.0.1:1")
    assert Outposts(ledger, settings).summary() == {"witnesses": "new", "forwarding": "new"}


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"syslog_url": "syslog+tls://8.8.8.8"}, "STRONGROOM_SYSLOG_URL"),
        ({"syslog_url": "syslog://127.0.0.1"}, "STRONGROOM_SYSLOG_URL"),
        ({"witnesses": [{"url": "http://8.8.8.8", "key": KEY}]}, "STRONGROOM_WITNESSES"),
    ],
)
def test_an_address_outside_stops_the_start(ledger, tmp_path, wrong, name):
    """What may not be contacted is a sentence at the start, not a surprise later."""
    with pytest.raises(ConfigurationError, match=name):
        Outposts(ledger, Settings(data_dir=tmp_path, **wrong))
