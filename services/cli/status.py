"""`strongroom status`: how the server is, what it holds, and what it takes of this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import psutil

from infra.settings import Settings
from services.cli.connection import Connection
from services.cli.running import find_server
from services.cli.terminal import answers, in_words, print_json

BLOCK_BYTES: Final = 512
"""The unit of `st_blocks` (POSIX): what a file takes, not how long it looks; the index keeps sparse files."""


def status(connection: Connection, settings: Settings, *, as_json: bool) -> bool:
    """Print the state of the server; returns whether it is ready. Raises Refused or NotRunning.

    Memory, disk and record are read on this machine, so they are there for the local server only.
    """
    facts = _facts(connection, settings)
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    return bool(facts["ready"])


def _facts(connection: Connection, settings: Settings) -> dict[str, Any]:
    readiness = connection.readiness()
    files = connection.get("/v1/files")["data"]
    jobs = connection.get("/v1/jobs")["data"]
    return {
        "url": connection.url,
        "ready": readiness["ready"],
        "ledger": readiness["ledger"],
        "index": readiness["index"],
        "model": readiness["model"],
        "documents": len(files),
        "passages": sum(file["x_passages"] or 0 for file in files),
        "jobs": dict(sorted(Counter(job["state"] for job in jobs).items())),
        "local": _local(connection.url, settings),
    }


def _local(url: str, settings: Settings) -> dict[str, Any] | None:
    server = find_server(settings.data_dir)
    if server is None or server.url != url:
        return None
    from services.cli.record import record_facts

    process = psutil.Process(server.pid)
    return {
        "pid": server.pid,
        "started_at": int(server.started),
        "memory_bytes": process.memory_info().rss,
        "model_memory_bytes": _memory_of(process, "infra.llama_server"),
        "embedder_memory_bytes": _memory_of(process, "infra.embeddings.encoder_child"),
        "disk_bytes": _disk(settings.data_dir),
        "record": record_facts(settings),
    }


def _memory_of(server: psutil.Process, program: str) -> int:
    """Return the resident memory of one of the server's own processes in bytes; 0 when there is none."""
    total = 0
    for child in server.children():
        try:
            if program in child.cmdline():
                total += child.memory_info().rss
        except psutil.Error:
            continue
    return total


def _disk(folder: Path) -> dict[str, int]:
    """Return the bytes that each part of the data folder takes."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                part = path.relative_to(folder).parts[0]
                # The database is three files whose names begin alike.
                sizes["database" if ".sqlite3" in part else part] += path.stat().st_blocks * BLOCK_BYTES
        except FileNotFoundError:
            continue
    return dict(sorted(sizes.items())) | {"total": sum(sizes.values())}


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _lines(facts):
        table.add_row(name, value)
    answers().print(table)


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    local = facts["local"]
    jobs = ", ".join(f"{count} {state}" for state, count in facts["jobs"].items()) or "none"
    lines = [
        ("server", f"{facts['url']} ({'ready' if facts['ready'] else 'not ready'})"),
        ("model", _model_in_words(facts["model"], local)),
        ("documents", f"{facts['documents']} that this key may read, {facts['passages']} passages"),
        ("jobs", jobs),
    ]
    if local is None:
        return lines
    disk = ", ".join(f"{part} {in_words(size)}" for part, size in local["disk_bytes"].items())
    return [
        *lines,
        ("record", _record_in_words(local["record"])),
        ("memory", _memory_in_words(local)),
        ("disk", disk),
    ]


def _memory_in_words(local: dict[str, Any]) -> str:
    apart = local["embedder_memory_bytes"]
    more = f", {in_words(apart)} for embedding" if apart else ""
    return f"{in_words(local['memory_bytes'])} (process {local['pid']}){more}"


def _model_in_words(state: str, local: dict[str, Any] | None) -> str:
    words = {
        "ready": "ready",
        "starting": "loading; answers are quotes meanwhile",
        "failed": "failed; answers are quotes",
        "none": "none; answers are quotes",
    }[state]
    memory = local["model_memory_bytes"] if local else 0
    return f"{words}, {in_words(memory)} of memory" if memory else words


def _record_in_words(record: dict[str, Any] | None) -> str:
    if record is None:
        return "not on this machine"
    return f"{record['size']} records, last signed {record['signed_at'] or 'never'}"
