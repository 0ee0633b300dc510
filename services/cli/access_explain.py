"""`strongroom access explain`: why an account may or may not read a file, rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.connection import Connection
from services.cli.terminal import answers, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def explain(connection: Connection, user: str, document: str, *, as_json: bool) -> None:
    """Print what each rule says. Raises Refused for an unknown account or file, or NotRunning."""
    found = connection.get("/v1/access/explain", user=user, document=document)
    if as_json:
        print_json(found)
    else:
        show(answers(), found)


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the decision, the rules, and whether the index has caught up with the access list."""
    granted = found["decision"] == "allow"
    verdict = "may read" if granted else "may not read"
    who = plain(found["user"]["label"])
    console.print(f"{who} {verdict} file {found['document']['id']}.", style=_style(granted), soft_wrap=True)
    console.print(_rules(found["rules"]))
    epochs = found["epochs"]
    if found["index_agrees"]:
        console.print(f"The index has the access list as it is (epoch {epochs['document']}).")
    else:
        console.print(
            f"The index still has epoch {epochs['index']} of the access list, which is at"
            f" {epochs['document']}; every search is checked against the list as it is.",
            soft_wrap=True,
        )


def _rules(rules: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("rule", "", "why", "because of", box=None, pad_edge=False)
    for rule in rules:
        because = ", ".join(plain(each["label"]) for each in rule["because"])
        verdict = "grants" if rule["granted"] else "denies"
        table.add_row(rule["rule"], verdict, plain(rule["text"]), because, style=_style(rule["granted"]))
    return table


def _style(granted: bool) -> str:
    return "" if granted else "bold red"
