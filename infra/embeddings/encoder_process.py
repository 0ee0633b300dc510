"""The embedding model in a process of its own (`encoder_child`), asked through pipes.

A request is one line of JSON, its answer one line of JSON and the vectors' bytes. The child ends when its
standard input does, however this process ends. One that died is started again, once for each request.

Many small batches side by side, each on one processor core, use a machine better than one batch on all of
them: cores that share a batch wait for each other at every step, and for whatever else the machine does.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from infra.embeddings.model_folder import Dtype, ModelFolder, Role
from infra.errors import ConfigurationError, ModelUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_LANES: Final = 8
"""Above this, a batch gets more than one core: Python's own work on the batches takes turns."""

_STOP_GRACE_S: Final = 5.0
_LOOK_S: Final = 1.0
_PACKAGES: Final = Path(__file__).resolve().parents[2]


class ProcessEncoder:
    """The model in a child process; safe for threads."""

    def __init__(self, folder: ModelFolder, dtype: Dtype) -> None:
        """Remember the folder; the child starts at first use."""
        cores = len(os.sched_getaffinity(0))
        self.lanes = min(cores, MOST_LANES)
        self._order = {
            "folder": str(folder.path.resolve()),
            "dtype": dtype,
            "lanes": self.lanes,
            "threads": max(1, cores // self.lanes),
        }
        self._starting = threading.Lock()
        self._child: _Child | None = None

    def load(self) -> int:
        """Start the child and wait for its model; takes seconds the first time."""
        return self._running().length

    def encode(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        """Embed `texts` as one batch; raises ModelUnavailable when the child dies of it twice."""
        import numpy as np

        for _ in range(2):
            child = self._running()
            try:
                content = child.ask({"texts": texts, "role": role})
            except _Gone:
                self._end(child)
                continue
            vectors: NDArray[np.float32] = np.frombuffer(content, dtype="<f4").reshape(len(texts), -1)
            return vectors
        raise _unavailable()

    def close(self) -> None:
        """End the child; the next use starts another."""
        child = self._child
        if child is not None:
            self._end(child)

    @property
    def pid(self) -> int | None:
        """The child's process number while it runs."""
        child = self._child
        return child.pid if child is not None and child.is_alive() else None

    def _running(self) -> _Child:
        with self._starting:
            child = self._child
            # A process forked from this one inherits the pipes, but must not share them.
            if child is not None and child.owner == os.getpid():
                if child.is_alive():
                    return child
                child.end()
            self._child = _Child(self._order, 2 * self.lanes)
            return self._child

    def _end(self, child: _Child) -> None:
        with self._starting:
            if self._child is child:
                self._child = None
        child.end()


class _Gone(Exception):
    """The child ended, or does not speak our language any more."""


class _Child:
    """One child and the pipes to its lanes."""

    def __init__(self, order: dict[str, Any], channels: int) -> None:
        """Start it and wait until it has loaded the model `order` names."""
        self.owner = os.getpid()
        self._ended = False
        self._free: queue.LifoQueue[_Channel] = queue.LifoQueue()
        theirs: list[int] = []
        for _ in range(channels):
            their_requests, our_requests = os.pipe()
            our_answers, their_answers = os.pipe()
            theirs += [their_requests, their_answers]
            self._free.put(_Channel(os.fdopen(our_requests, "wb"), os.fdopen(our_answers, "rb")))
        self._process = start_child(theirs)
        for descriptor in theirs:
            os.close(descriptor)
        try:
            self.length = self._load({**order, "channels": theirs})
        except _Gone as error:
            self.end()
            raise _unavailable() from error
        except ConfigurationError:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> bytes:
        """Send a request to a lane that is free and return the answer's bytes."""
        channel = self._taken()
        try:
            return channel.ask(request)
        finally:
            self._free.put(channel)
            if self._ended:
                self._close_free()

    def _taken(self) -> _Channel:
        while not self._ended:
            with suppress(queue.Empty):
                return self._free.get(timeout=_LOOK_S)
        raise _Gone

    def end(self) -> None:
        """End it; safe to call twice, and from several threads."""
        self._ended = True
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            self._process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_free()

    def _close_free(self) -> None:
        """Close the pipes that nobody uses; whoever still uses one finds it broken and comes here later."""
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().close()

    def _load(self, order: dict[str, Any]) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise _Gone
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
            match json.loads(stdout.readline() or b"null"):
                case {"length": int() as length}:
                    return length
                case {"refused": str() as reason}:
                    raise ConfigurationError(reason)
        except (OSError, ValueError) as error:
            raise _Gone from error
        raise _Gone


class _Channel:
    """The two pipes of one lane."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers

    def ask(self, request: dict[str, Any]) -> bytes:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
            header = json.loads(self._answers.readline() or b"null")
            size = header["bytes"]
            content = self._answers.read(size)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _Gone from error
        if len(content) != size:
            raise _Gone
        return content

    def close(self) -> None:
        for stream in (self._requests, self._answers):
            with suppress(OSError):
                stream.close()


def start_child(channels: list[int]) -> subprocess.Popen[bytes]:
    """Start the child, which inherits the descriptors `channels`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.embeddings.encoder_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a library's complaints may quote a passage
        pass_fds=channels,
        # Nothing of the server's own environment, in which there are secrets.
        env={"PYTHONPATH": str(_PACKAGES), "LC_ALL": "C.UTF-8"},
        start_new_session=True,  # a person's Ctrl-C is for the server, which still has work for the child
    )


def _unavailable() -> ModelUnavailable:
    return ModelUnavailable(
        "The embedding model's process ended.",
        hint="The machine may be short of memory; `strongroom doctor` tells whether the model loads.",
    )
