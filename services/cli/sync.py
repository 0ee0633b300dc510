"""`strongroom sync`: list the watched folders and buckets, or have one looked at now and wait for it."""

from __future__ import annotations

import time
from typing import Any, Final

from infra.errors import InvalidInput, StrongroomError
from services.cli.connection import Connection
from services.cli.terminal import answers, messages, plain, print_json

PATH: Final = "/v1/sources"
PATIENCE_S: Final = 3600.0
"""How long to wait for the end of a look; a first one may take in many files."""
_POLL_S: Final = 0.5


def list_sources(connection: Connection, *, as_json: bool) -> bool:
    """Print every source and how it stands; returns whether none is halted. Raises Refused or NotRunning."""
    sources = connection.get(PATH)["data"]
    if as_json:
        print_json(sources)
    else:
        _show(sources)
    return all(source["problem"] is None for source in sources)


def sync(connection: Connection, name: str, *, accept_deletions: bool, as_json: bool) -> bool:
    """Have one source looked at and print how it stands then; returns whether the look came to its end.

    Raises Refused or NotRunning; InvalidInput when there is no source of that name.
    """
    if name not in {source["name"] for source in connection.get(PATH)["data"]}:
        raise InvalidInput(f"There is no watched folder or bucket called {plain(name)}.", param="name")
    wanted = "?accept_deletions=true" if accept_deletions else ""
    connection.post(f"{PATH}/{name}/sync{wanted}", {})
    found = _ended(connection, name)
    if as_json:
        print_json(found)
    else:
        _show([found])
    return found["problem"] is None


def _ended(connection: Connection, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    with messages().status("looking"):
        while time.monotonic() < deadline:
            listed = connection.get(PATH)["data"]
            found: dict[str, Any] = next(source for source in listed if source["name"] == name)
            if found["state"] not in {"asked", "looking"}:
                return found
            time.sleep(_POLL_S)
    raise StrongroomError("The look has not ended within an hour.", hint="It goes on; ask again later.")


def _show(sources: list[dict[str, Any]]) -> None:
    from rich.table import Table

    console = answers()
    if not sources:
        console.print("No folder and no bucket is watched. docs/sync.md tells how.", soft_wrap=True)
        return
    table = Table("name", "kind", "state", "files", "last look", box=None, pad_edge=False)
    for source in sources:
        table.add_row(
            source["name"], source["kind"], source["state"], str(source["files"]), _when(source["looked_at"])
        )
    console.print(table)
    for source in sources:
        for reason in filter(None, [source["problem"], *source["left_aside"]]):
            count = f"{reason['count']} left aside: " if "count" in reason else ""
            line = f"{source['name']}: {count}{reason['message']} {reason['hint']}"
            console.print(plain(line), soft_wrap=True)


def _when(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
