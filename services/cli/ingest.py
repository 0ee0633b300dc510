"""`strongroom ingest`: upload files and folders, follow their jobs, and sum up."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from infra.access import EVERYONE
from infra.errors import InvalidInput, StrongroomError
from services.cli.connection import Connection
from services.cli.large_upload import LARGE_BYTES, upload_in_parts
from services.cli.terminal import answers, messages, plain, print_json

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

AT_ONCE: Final = 3
"""Files under way at the same time; more would only wait in the server's queue."""
MAX_BATCH_NAME: Final = 200
_POLL_S: Final = 0.25
_FINAL: Final = frozenset({"succeeded", "failed", "cancelled", "quarantined"})
_WILDCARDS: Final = frozenset("*?[")


@dataclass
class FileResult:
    """What became of one file: `ingested`, `unchanged`, `duplicate`, `failed` or `skipped`.

    A duplicate has the bytes of another file of theirs, which now goes by both names. `seconds` is wall time.
    """

    path: str
    result: str
    file_id: str | None = None
    job_id: str | None = None
    pages: int | None = None
    passages: int | None = None
    seconds: float = 0.0
    code: str | None = None
    reason: str | None = None
    hint: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the file can be asked about now."""
        return self.result in {"ingested", "unchanged", "duplicate"}


class Watcher(Protocol):
    """Hears how far each file has come."""

    def at(self, path: Path, doing: str, done: int, total: int | None) -> None:
        """Hear that `path` is at `done` of `total` (None: unknown) of what `doing` says."""
        ...

    def end(self, path: Path) -> None:
        """Hear that `path` is finished, well or not."""
        ...


def ingest(connection: Connection, given: list[str], share: str | None, *, as_json: bool) -> bool:
    """Ingest what `given` names and print the outcome; returns whether every file succeeded.

    Raises InvalidInput for a path that does not exist, Refused or NotRunning for the server.
    """
    files = list(find_files(given))
    principals = [_principal(connection, share)] if share else []
    fields = {"share": principals, **(_in_batch(connection, given) if len(files) > 1 else {})}
    run = _Run(connection, fields)
    with _progress(len(files)) as watcher:
        results = run.all(files, watcher)
    if as_json:
        print_json({"files": [asdict(result) for result in results], "totals": _totals(results)})
    else:
        _print_table(results)
    return all(result.is_done for result in results)


def _in_batch(connection: Connection, given: list[str]) -> dict[str, list[str]]:
    """Return the fields that put several files into one batch, behind what people upload one by one."""
    name = plain(" ".join(given))[:MAX_BATCH_NAME].strip() or "strongroom ingest"
    return {"batch": [connection.post("/v1/batches", {"name": name})["id"]], "queue": ["bulk"]}


def find_files(given: Iterable[str]) -> Iterator[Path]:
    """Yield the files that paths, folders and patterns name, each once, without hidden ones in folders.

    Raises InvalidInput for a path or pattern that names nothing.
    """
    seen: set[Path] = set()
    for text in given:
        found = list(_named_by(text))
        if not found:
            raise InvalidInput(f"There is no file at {text}.", hint="Give files, folders or quoted patterns.")
        for path in found:
            key = path.resolve()
            if key not in seen:
                seen.add(key)
                yield path


def _named_by(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_dir():
        yield from _inside(path)
    elif path.exists():
        yield path
    elif _WILDCARDS & set(text):
        root, pattern = (path.anchor, text[len(path.anchor) :]) if path.is_absolute() else (".", text)
        yield from (match for match in sorted(Path(root).glob(pattern)) if match.is_file())


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


class _Run:
    """One ingestion of several files through one connection."""

    def __init__(self, connection: Connection, fields: Mapping[str, list[str]]) -> None:
        self._connection = connection
        self._fields = fields
        self._stopping = threading.Event()

    def all(self, files: list[Path], watcher: Watcher) -> list[FileResult]:
        """Upload and follow every file, at most AT_ONCE at a time; results are in the order of `files`."""
        twins = _later_namesakes(files)
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ingest")
        try:
            return list(pool.map(lambda path: self._one(path, watcher, is_twin=path in twins), files))
        finally:
            self._stopping.set()
            pool.shutdown(cancel_futures=True)

    def _one(self, path: Path, watcher: Watcher, *, is_twin: bool) -> FileResult:
        started = time.monotonic()
        if is_twin:
            # Names tell a person's documents apart: a second one would replace the first as its new version.
            result = _failed(
                path, "same_name", "Another file of this run has the same name.", result="skipped"
            )
            result.hint = "Rename one of the two, and ingest it again."
        else:
            result = self._tried(path, watcher)
        result.seconds = round(time.monotonic() - started, 1)
        watcher.end(path)
        return result

    def _tried(self, path: Path, watcher: Watcher) -> FileResult:
        try:
            return self._upload_and_follow(path, watcher)
        except StrongroomError as error:
            return _failed(path, error.code, error.message, hint=error.hint)
        except OSError as error:
            return _failed(path, "not_readable", f"The file cannot be read: {error.strerror}.")

    def _upload_and_follow(self, path: Path, watcher: Watcher) -> FileResult:
        stored = self._upload(path, watcher)
        job_id: str = stored["x_job"]["id"]
        # What was there already says so; if it could not be read then, it is tried again now.
        result = {"unchanged": "unchanged", "duplicate": "duplicate"}.get(stored["x_upload"], "ingested")
        job = self._follow(path, job_id, watcher)
        if job["state"] != "succeeded":
            reason = job["reason"] or {
                "code": job["state"],
                "message": f"It was {job['state']}.",
                "hint": None,
            }
            failed = _failed(path, reason["code"], reason["message"], hint=reason["hint"])
            failed.file_id, failed.job_id = stored["id"], job_id
            return failed
        return _succeeded(path, result, self._connection.get(f"/v1/files/{stored['id']}"), job_id)

    def _upload(self, path: Path, watcher: Watcher) -> dict[str, Any]:
        size = path.stat().st_size

        def sent(so_far: int) -> None:
            watcher.at(path, "uploading", so_far, size)

        if size >= LARGE_BYTES:
            return upload_in_parts(self._connection, path, self._fields, sent)
        with _Counted(io.FileIO(path), sent) as file:
            return self._connection.upload(file, path.name, self._fields)

    def _follow(self, path: Path, job_id: str, watcher: Watcher) -> dict[str, Any]:
        while True:
            job = self._connection.get(f"/v1/jobs/{job_id}")
            if job["state"] in _FINAL:
                return job
            watcher.at(path, _doing(job), job["done"], job["total"])
            if self._stopping.wait(_POLL_S):
                raise StrongroomError("Stopped; the server goes on reading this file.")


_STAGES: Final = {
    "queued": "waiting",
    "parse": "reading",
    "chunk": "dividing",
    "embed": "embedding",
    "index": "indexing",
}


def _doing(job: dict[str, Any]) -> str:
    """Say what a job is at, how fast, and how long that still takes, as far as it is known."""
    words = [_STAGES.get(job["stage"], job["stage"])]
    if job["rate"] is not None:
        words.append(f"{job['rate']:g} {job['unit']}/s")
    if job["remaining_s"] is not None:
        words.append(f"{_duration(job['remaining_s'])} left")
    return " · ".join(words)


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class _Counted(io.BufferedReader):
    """A file that tells how many bytes of it were read."""

    def __init__(self, file: io.FileIO, on_read: Callable[[int], None]) -> None:
        super().__init__(file)
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file, and tell where that led."""
        data = super().read(size)
        self._on_read(self.tell())
        return data


def _later_namesakes(files: list[Path]) -> set[Path]:
    seen: set[str] = set()
    twins: set[Path] = set()
    for path in files:
        if path.name in seen:
            twins.add(path)
        seen.add(path.name)
    return twins


def _principal(connection: Connection, share: str) -> str:
    """Return the principal that `share` means: `everyone`, an id, or the exact name of a person or group."""
    if share.lower() == "everyone":
        return EVERYONE
    if ":" in share:
        return share
    found = connection.get("/v1/principals", q=share)["data"]
    exact = [entry["id"] for entry in found if entry["label"].lower() == share.lower()]
    if len(exact) == 1:
        return str(exact[0])
    raise InvalidInput(
        f"{'More than one' if exact else 'No'} person or group is called “{share}”.",
        hint="Use `everyone`, or a principal id such as `group:local:…`.",
    )


def _succeeded(path: Path, result: str, stored: dict[str, Any], job_id: str | None) -> FileResult:
    return FileResult(
        str(path),
        result,
        file_id=stored["id"],
        job_id=job_id,
        pages=stored["x_pages"],
        passages=stored["x_passages"],
    )


def _failed(
    path: Path, code: str, reason: str, *, hint: str | None = None, result: str = "failed"
) -> FileResult:
    return FileResult(str(path), result, code=code, reason=reason, hint=hint)


def _totals(results: list[FileResult]) -> dict[str, int]:
    kinds = ("ingested", "unchanged", "duplicate", "failed", "skipped")
    totals = {kind: sum(result.result == kind for result in results) for kind in kinds}
    return totals | {"passages": sum(result.passages or 0 for result in results)}


def _print_table(results: list[FileResult]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("result")
    for heading in ("pages", "passages", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("reason", overflow="fold")
    for result in results:
        numbers = (_shown(result.pages), _shown(result.passages), f"{result.seconds:.1f}")
        reason = " ".join(text for text in (result.reason, result.hint) if text)
        table.add_row(plain(result.path), result.result, *numbers, plain(reason))
    console = answers()
    console.print(table)
    totals = _totals(results)
    counts = ", ".join(f"{totals[kind]} {kind}" for kind in list(totals)[:5] if totals[kind])
    console.print(f"\n{counts or 'no files'}; {totals['passages']} passages", style="bold")


class _Bars:
    """Progress bars: one for each file under way, and one for all of them."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all files", total=files, doing="")
        self._tasks: dict[Path, TaskID] = {}

    def at(self, path: Path, doing: str, done: int, total: int | None) -> None:
        """Show one file's state."""
        if path not in self._tasks:
            self._tasks[path] = self._progress.add_task(plain(path.name), total=total, doing=doing)
        self._progress.update(self._tasks[path], completed=done, total=total, doing=doing)

    def end(self, path: Path) -> None:
        """Take a finished file's bar away."""
        task = self._tasks.pop(path, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.advance(self._all)


@contextmanager
def _progress(files: int) -> Iterator[Watcher]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        # A file may be called anything, also what Rich would take for a colour.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=messages(), transient=True) as progress:
        yield _Bars(progress, files)


def _shown(number: int | None) -> str:
    return "–" if number is None else str(number)
