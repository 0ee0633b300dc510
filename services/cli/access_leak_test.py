"""`strongroom access leak-test`: start the server's leak test, wait for it, and tell what it found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from infra.errors import StrongroomError
from services.cli.connection import Connection
from services.cli.terminal import answers, messages, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

CLEAN: Final = 0
LEAK: Final = 1
NOTHING_PROVED: Final = 2
PATH: Final = "/v1/access/leak-test"
PATIENCE_S: Final = 3600.0
"""How long to wait for the end; by then the keys of the test's accounts have expired."""
_POLL_S: Final = 1.0


def leak_test(connection: Connection, *, as_json: bool) -> int:
    """Run the leak test on a server and print its result; returns the exit code, 0, 1 or 2.

    Raises Refused, or NotRunning.
    """
    result = _ended(connection, connection.post(PATH, {})["run"])
    if as_json:
        print_json(result)
    else:
        show(answers(), result)
    return {"clean": CLEAN, "leak": LEAK}.get(result["outcome"], NOTHING_PROVED)


def _ended(connection: Connection, run: str) -> dict[str, Any]:
    """Wait for the end of a run, and return its result; raises StrongroomError when there is none."""
    deadline = time.monotonic() + PATIENCE_S
    # Not by `state`: behind a proxy, another replica may answer than the one that runs the test.
    with messages().status("starting") as status:
        while time.monotonic() < deadline:
            found = connection.get(PATH)
            last: dict[str, Any] | None = found["last"]
            if last is not None and last["id"] == run:
                return last
            if found["state"] == "running":
                status.update(f"{found['step']} ({found['done']} of {found['total']})")
            time.sleep(_POLL_S)
    raise StrongroomError("The leak test has not ended within an hour.")


def show(console: Console, result: dict[str, Any]) -> None:
    """Print what was found: each leak once, with the roles that it shows itself to."""
    seconds = (result["ended_at"] - result["started_at"]) / 1000
    did = f"{len(result['canaries'])} canaries, {result['asked']} requests, {seconds:.0f} s"
    if result["outcome"] == "clean":
        console.print(
            f"Nobody was told anything that is not theirs: {did}.", style="bold green", soft_wrap=True
        )
    elif result["outcome"] == "leak":
        console.print(f"Leaks: {result['leak_count']} ({did}).", style="bold red", soft_wrap=True)
        _print_table(console, ("interface", "operation", "rule", "told", "to the role"), _leaks(result))
    else:
        console.print(f"Nothing is proved ({did}).", style="bold red", soft_wrap=True)
    if result["failure"]:
        console.print(plain(result["failure"]), soft_wrap=True)
    if result["unproven"]:
        console.print(f"Not proved: {result['unproven_count']}", soft_wrap=True)
        rows = [(each["interface"], _rule(each["rule"]), each["why"]) for each in result["unproven"]]
        _print_table(console, ("interface", "rule", "why"), rows)
    for note in result["notes"]:
        console.print(plain(note), soft_wrap=True)


def _leaks(result: dict[str, Any]) -> list[tuple[str, ...]]:
    roles: dict[tuple[str, ...], list[str]] = {}
    for leak in result["leaks"]:
        told = (leak["interface"], leak["operation"], _rule(leak["rule"]), leak["what"])
        roles.setdefault(told, []).append(leak["role"])
    return [(*told, ", ".join(dict.fromkeys(those))) for told, those in roles.items()]


def _rule(rule: dict[str, str]) -> str:
    return f"{rule['kind']} {rule['about']}".strip()


def _print_table(console: Console, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    console.print(table)
