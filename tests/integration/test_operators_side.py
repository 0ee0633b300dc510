"""What an operator should see on the record of a real server: changed settings, and strangers' floods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2

from infra.audit.leaf import Leaf
from infra.audit.verify import Verdict
from infra.settings import Settings
from infra.stores import open_database, open_ledger
from services.refusals import ANONYMOUS_PER_MINUTE
from tests.preloaded import PreloadedServer

BEYOND = 10


def recorded(data_dir: Path) -> list[Leaf]:
    """Return what a server that has stopped left on its record, which is sound."""
    settings = Settings(data_dir=data_dir)
    database, master_key = open_database(settings)
    ledger = open_ledger(settings, database, master_key)
    try:
        assert ledger.verify().verdict is Verdict.SOUND
        events = ledger.reader.events(limit=1000)
        return [event.leaf for event in events if event.leaf is not None]
    finally:
        ledger.close()
        database.close()


def test_a_start_with_other_settings_and_a_flood_are_on_the_record(
    make_server: Callable[..., PreloadedServer], tmp_path: Path
) -> None:
    """The names of what changed; and each refusal, by itself or in a number that is written at the end."""
    server = make_server(tmp_path / "data")
    server.start()
    with httpx2.Client(base_url=server.url, timeout=30) as stranger:
        for _ in range(ANONYMOUS_PER_MINUTE + BEYOND):
            assert stranger.get("/v1/me").status_code == 401
    server.stop()
    server.environment["STRONGROOM_BREAK_GLASS"] = "true"
    server.start()
    server.stop()
    leaves = recorded(tmp_path / "data")
    told = [leaf for leaf in leaves if leaf.type in {"server.start", "settings.changed", "server.stop"}]
    assert [(leaf.type, leaf.outcome) for leaf in told] == [
        ("server.start", "ok"),
        ("server.stop", "ok"),
        ("server.start", "ok"),
        ("settings.changed", "break_glass"),
        ("server.stop", "ok"),
    ]
    first, again, changed = told[0].res, told[2].res, told[3].res
    assert first is not None
    assert (first.type, again) == ("settings", changed)
    assert first != again
    refused = [leaf.outcome or "" for leaf in leaves if leaf.type == "refused"]
    several = [int(outcome.partition(" ")[0]) for outcome in refused if "not recorded one by one" in outcome]
    # Over the turn of a minute more of them are recorded one by one.
    assert len(refused) - len(several) + sum(several) == ANONYMOUS_PER_MINUTE + BEYOND
