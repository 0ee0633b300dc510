"""Files within files: an archive's entries and a message's attachments, each read by its own type.

All of them, however deeply they are packed into each other, share one budget, which is what keeps a small
file from becoming a large one. One that cannot be read is named with its reason; the others are read.
"""

from __future__ import annotations

import io
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, BinaryIO, Final, Protocol, cast

from infra.errors import UnreadableFile
from ingest.parse import kinds, parse
from ingest.parse.blocks import Block, ParsedDocument
from ingest.parse.containers.archive import MAX_ENTRIES, RATIO_MATTERS_ABOVE_BYTES, expands_too_much
from ingest.parse.detect import detect
from ingest.parse.limits import ParseLimits
from ingest.parse.texts.text import no_text

MAX_DEPTH: Final = 4
MAX_NAME_CHARS: Final = 200
# What members may use of the child's processor time; the rest writes the result down.
SHARE_OF_TIME: Final = 0.8
# One slow member does not take the time of all that follow.
SHARE_OF_ONE: Final = 0.5
_CONTAINERS: Final = {
    kinds.ZIP: "ingest.parse.containers.packed",
    kinds.TAR: "ingest.parse.containers.packed",
    kinds.EML: "ingest.parse.containers.mail",
    kinds.MSG: "ingest.parse.containers.outlook",
    kinds.MBOX: "ingest.parse.containers.mbox",
}
_PACKAGES: Final = frozenset(
    {kinds.DOCX, kinds.PPTX, kinds.XLSX, kinds.ODT, kinds.ODP, kinds.ODS, kinds.EPUB}
)
_CONVERTED: Final = frozenset({kinds.DOC, kinds.PPT})


class _Container(Protocol):
    def parse_within(self, file: BinaryIO, budget: Budget, on_progress: Progress) -> ParsedDocument: ...


Progress = Callable[[int, int | None], None]


@dataclass(slots=True)
class Budget:
    """What all files within one file may use together. `size` is of the outermost, in bytes."""

    limits: ParseLimits
    size: int
    expanded: int = 0
    entries: int = 0
    characters: int = 0
    depth: int = 0
    cpu_until: float = field(default=0.0)
    wall_until: float = field(default=0.0)

    @classmethod
    def of(cls, file: BinaryIO, limits: ParseLimits) -> Budget:
        """Start the budget of the outermost file, which is left at its start."""
        size = file.seek(0, 2)
        file.seek(0)
        return cls(
            limits,
            size,
            cpu_until=time.process_time() + SHARE_OF_TIME * limits.cpu_s,
            wall_until=time.monotonic() + SHARE_OF_TIME * limits.wall_s,
        )

    def spend_bytes(self, count: int) -> None:
        """Count expanded bytes. Raises UnreadableFile(`expands_too_much`)."""
        self.expanded += count
        suspicious = self.expanded > self.limits.max_ratio * max(self.size, 1)
        if (suspicious and self.expanded > RATIO_MATTERS_ABOVE_BYTES) or self.room() < 0:
            raise expands_too_much()

    def spend_entry(self) -> None:
        """Count an entry of an archive. Raises UnreadableFile(`expands_too_much`)."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise expands_too_much()

    def room(self) -> int:
        """Return how many bytes may still be expanded."""
        return self.limits.max_expanded_bytes - self.expanded

    def seconds(self) -> float:
        """Return the seconds of processor and wall time that are left for members, whichever ends first."""
        return min(self.cpu_until - time.process_time(), self.wall_until - time.monotonic())

    def share(self) -> AbstractContextManager[None]:
        """Bound what runs within to its share of the time. Raises UnreadableFile(`took_too_long`)."""
        return _at_most(self.seconds() * SHARE_OF_ONE)

    def limits_within(self) -> ParseLimits:
        """Return the limits of the next member."""
        characters = max(self.limits.max_text_chars - self.characters, 0)
        return replace(self.limits, max_text_chars=characters, max_expanded_bytes=max(self.room(), 0))


@dataclass(slots=True)
class Members:
    """What has been read of the files within one file."""

    budget: Budget
    blocks: list[Block] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0

    def add(self, name: str, content: bytes) -> None:
        """Read one file of this name; a file that cannot be read is noted, and nothing is raised."""
        self.take(name, lambda: _parsed(content, name, self.budget))

    def take(
        self,
        name: str,
        read: Callable[[], ParsedDocument],
        placed: Callable[[Block, str], Block] | None = None,
    ) -> None:
        """Add what `read` returns as the file of this name, or note why it returns nothing.

        `placed` gets each block and the name, and returns the block with its place in the whole file.
        """
        put = placed or within
        label = tidy_name(name)
        try:
            document = read()
        except UnreadableFile as error:
            self.unread.append((label, error.code))
        except (MemoryError, RecursionError):
            self.unread.append((label, "too_complex"))
        except Exception:  # noqa: BLE001 - the edge of a member: any library's failure is that file's
            self.unread.append((label, "damaged"))
        else:
            self.read += 1
            self.blocks += [put(block, label) for block in document.blocks]
            self.unread += [(f"{label}/{inner}", code) for inner, code in document.unread]

    def refuse(self, name: str, code: str) -> None:
        """Note a file that is not even tried."""
        self.unread.append((tidy_name(name), code))


def container(
    media_type: str, title: str | None, blocks: Iterable[Block], members: Members
) -> ParsedDocument:
    """Return a file with what it says itself and what the files within it say.

    Raises UnreadableFile: `nothing_readable` when there are files within and none could be read, `no_text`
    when there is nothing at all.
    """
    own = tuple(blocks)
    members.budget.characters += sum(len(block.text) for block in own)
    everything = (*own, *members.blocks)
    if not everything:
        raise _nothing_readable(members.unread) if members.unread else no_text()
    return ParsedDocument(title, None, everything, media_type, unread=tuple(members.unread))


def within(block: Block, name: str) -> Block:
    """Return the block as part of the file `name` that stands in another."""
    return replace(block, place=replace(block.place, within=(name, *block.place.within)))


def tidy_name(name: str) -> str:
    """Return a member's name as a label: no roots, no `..`, no control characters, of bounded length.

    Nothing is ever written under this name.
    """
    printable = "".join(character if character.isprintable() else " " for character in name)
    parts = [part.strip() for part in printable.replace("\\", "/").split("/")]
    label = "/".join(part for part in parts if part not in {"", ".", ".."})
    if len(label) > MAX_NAME_CHARS:
        label = "…" + label[-(MAX_NAME_CHARS - 1) :]
    return label or "unnamed"


def _parsed(content: bytes, name: str, budget: Budget) -> ParsedDocument:
    file = io.BytesIO(content)
    media_type = detect(file, name)
    if media_type in _CONVERTED:
        hint = "Upload it on its own: it needs a converter, which cannot run within another file."
        raise UnreadableFile("needs_converter", "This is an Office 97–2003 file.", hint=hint)
    if budget.seconds() <= 0:
        raise _too_slow()
    if media_type in _CONTAINERS:
        return _container_within(media_type, file, budget)
    if media_type in _PACKAGES:
        budget.spend_bytes(_declared_bytes(file))
    limits = budget.limits_within()
    with budget.share():
        document = parse(media_type, file, limits)
    characters = sum(len(block.text) for block in document.blocks)
    if characters > limits.max_text_chars:
        raise UnreadableFile("too_complex", "This file holds more text than is left for it.")
    budget.characters += characters
    return document


def _container_within(media_type: str, file: BinaryIO, budget: Budget) -> ParsedDocument:
    if budget.depth >= MAX_DEPTH:
        raise UnreadableFile("too_deep", f"Files are packed into each other more than {MAX_DEPTH} deep.")
    module = cast(_Container, import_module(_CONTAINERS[media_type]))
    budget.depth += 1
    try:
        return module.parse_within(file, budget, lambda done, total: None)
    finally:
        budget.depth -= 1


def _declared_bytes(file: BinaryIO) -> int:
    """Return what a package says it expands to; its parser checks that it says the truth."""
    with zipfile.ZipFile(file) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
    file.seek(0)
    return total


class _Interrupt(BaseException):
    """Ends a member's parser from a signal; no `except Exception` of a library keeps it."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Interrupt what runs within after so much processor time. Raises UnreadableFile(`took_too_long`).

    The kernel's own limit would end the child, and with it what has been read of the others. Only a main
    thread can take signals, which is where the child parses.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    running = True

    def interrupt(number: int, frame: Any) -> None:
        if running:
            raise _Interrupt

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.05))
    try:
        yield
    except _Interrupt:
        raise _too_slow() from None
    finally:
        running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _too_slow() -> UnreadableFile:
    return UnreadableFile("took_too_long", "Reading the files within this file took longer than is allowed.")


def _nothing_readable(unread: list[tuple[str, str]]) -> UnreadableFile:
    codes = {code for _, code in unread}
    if codes == {"encrypted"}:
        return kinds.encrypted("the program that packed it")
    if codes <= {"empty", "no_text"}:
        return no_text()
    if "expands_too_much" in codes:
        return expands_too_much()
    return UnreadableFile(
        "nothing_readable",
        "None of the files within this file can be read.",
        hint="Upload them one by one to see what each of them lacks.",
    )
