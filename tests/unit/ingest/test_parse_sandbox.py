"""The one-shot child: what it returns, what it is denied, and how it is stopped."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import psutil
import pytest
from made_files import drawn_pdf, lines_at, read
from PIL import Image

from infra.errors import UnreadableFile
from ingest.parse.confined import bubblewrap
from ingest.parse.confined.sandbox import (
    ParsingCancelled,
    parse_in_child,
    render_page_in_child,
    sandbox_guarantees,
)
from ingest.parse.limits import MIB, ParseLimits

PDF = drawn_pdf(lines_at(72, 100, "Page one"), lines_at(72, 100, "Page two"))


def heavy_workbook() -> bytes:
    """Return a workbook that takes seconds to read."""
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet("S")
    for row in range(20_000):
        sheet.append([row * 7 + column for column in range(20)])
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def slow_file() -> bytes:
    """A real file whose reading outlasts any small limit."""
    return heavy_workbook()


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return psutil.Process().num_fds()


def children_now() -> set[int]:
    """Return the process ids of this process's parsing children; other suites keep children of their own."""
    return {
        child.pid for child in psutil.Process().children() if "ingest.parse.confined.child" in child.cmdline()
    }


@pytest.mark.parametrize("wrapped", [True, False], ids=["bubblewrap", "kernel"])
def test_the_child_returns_what_parsing_here_returns(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, boxes, title and pages survive the way through the pipe, with and without the outer wall."""
    if wrapped and not bubblewrap.is_usable():
        pytest.skip("bubblewrap is not usable here")
    monkeypatch.setattr(bubblewrap, "is_usable", lambda: wrapped)
    assert parse_in_child([PDF[:100], PDF[100:]], "a.pdf", ParseLimits()) == read(PDF, "a.pdf")


def test_progress_reaches_the_caller() -> None:
    """Pages done are reported with their number."""
    seen: list[tuple[int, int | None]] = []
    parse_in_child([PDF], "a.pdf", ParseLimits(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_reason_found_in_the_child_is_raised_here() -> None:
    """The error has the code, words and hint that the parser gave."""
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([b"MZ\x90\x00"], "a.pdf", ParseLimits())
    assert (caught.value.code, caught.value.hint) == ("mislabelled", "Check that this is the file you meant.")


def test_an_empty_file_is_named() -> None:
    """No bytes at all are a reason of their own."""
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([], "a.pdf", ParseLimits())
    assert caught.value.code == "empty"


def test_wall_clock_is_enforced(slow_file: bytes) -> None:
    """A child that takes too long is killed, and nothing of it stays."""
    started = time.monotonic()
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([slow_file], "a.xlsx", ParseLimits(wall_s=0.6))
    assert caught.value.code == "took_too_long"
    assert time.monotonic() - started < 5
    assert not children_now()


def test_cpu_time_is_enforced(slow_file: bytes) -> None:
    """A child that burns its CPU time is ended by the kernel."""
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([slow_file], "a.xlsx", ParseLimits(cpu_s=1))
    assert caught.value.code == "took_too_long"


def test_memory_is_enforced() -> None:
    """A child that wants more memory than allowed ends in words, not in a dead server."""
    text = b"word " * (8 * MIB)
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([text], "a.txt", ParseLimits(memory_bytes=120 * MIB, max_text_chars=100 * MIB))
    assert caught.value.code == "too_complex"


def test_cancellation_kills_the_child_within_a_second(slow_file: bytes) -> None:
    """Somebody who cancels does not wait for the parser."""
    cancel = threading.Event()
    cancelled_at: list[float] = []

    def cancel_soon() -> None:
        cancelled_at.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(0.5, cancel_soon)
    timer.start()
    with pytest.raises(ParsingCancelled):
        parse_in_child([slow_file], "a.xlsx", ParseLimits(), cancelled=cancel.is_set)
    timer.join()
    assert time.monotonic() - cancelled_at[0] < 1
    assert not children_now()


def test_cancellation_is_seen_while_the_plaintext_is_written() -> None:
    """A long upload is not decrypted to its end for nothing."""

    def pieces() -> Iterator[bytes]:
        while True:
            yield b"x" * 1024

    with pytest.raises(ParsingCancelled):
        parse_in_child(pieces(), "a.txt", ParseLimits(), cancelled=lambda: True)


def test_an_error_in_the_plaintext_passes_through_and_leaves_no_descriptor() -> None:
    """A file that does not decrypt is the caller's own error."""
    before = open_descriptors()

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        parse_in_child(broken(), "a.txt", ParseLimits())
    assert open_descriptors() == before


def test_descriptors_are_returned_after_a_document() -> None:
    """Pipes and the memory file are closed, document after document."""
    parse_in_child([b"text"], "a.txt", ParseLimits())
    before = open_descriptors()
    parse_in_child([b"text"], "a.txt", ParseLimits())
    assert open_descriptors() == before


@pytest.mark.parametrize("wrapped", [True, False], ids=["bubblewrap", "kernel"])
def test_this_machine_grants_the_basic_confinements(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every supported kernel gives is given, inside bubblewrap too; each is named for the operator."""
    if wrapped and not bubblewrap.is_usable():
        pytest.skip("bubblewrap is not usable here")
    monkeypatch.setattr(bubblewrap, "is_usable", lambda: wrapped)
    granted = sandbox_guarantees()
    assert granted["dies_with_parent"]
    assert granted["no_new_privileges"]
    assert granted["resource_limits"]
    assert granted["no_network"] or granted["no_sockets"]
    assert granted["no_sockets"] == granted["no_processes"]
    assert "closed_filesystem" in granted


LOOKING = """
import json, os, socket, sys
from pathlib import Path
print(json.dumps({
    "files": [Path(path).exists() for path in sys.argv[1:]],
    "root": sorted(os.listdir("/")),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "process": os.getpid(),
}))
"""


def test_inside_bubblewrap_there_is_nothing_to_find(tmp_path: Path) -> None:
    """No file of ours but the program's own code, no network, and no other process."""
    if not bubblewrap.is_usable():
        pytest.skip("bubblewrap is not usable here")
    (tmp_path / "secret").write_text("x")
    root = Path(__file__).resolve().parents[3]
    looked_for = [tmp_path / "secret", root / "pyproject.toml", Path("/etc/passwd"), root / "ingest"]
    command = bubblewrap.command([sys.executable, "-S", "-c", LOOKING, *map(str, looked_for)])
    seen = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert seen["files"] == [False, False, False, True]
    assert set(seen["interfaces"]) <= {"lo"}
    assert seen["process"] < 10
    assert not {"home", "var", "proc", "data"} & set(seen["root"])


def test_a_signal_that_ends_the_child_inside_bubblewrap_is_understood(slow_file: bytes) -> None:
    """Bubblewrap gives it as a status of its own; the reason is the same."""
    if not bubblewrap.is_usable():
        pytest.skip("bubblewrap is not usable here")
    with pytest.raises(UnreadableFile) as caught:
        parse_in_child([slow_file], "a.xlsx", ParseLimits(cpu_s=1))
    assert caught.value.code == "took_too_long"
    assert not children_now()


def test_the_render_of_a_page_is_an_image_of_its_size() -> None:
    """Scale 1.5 gives one and a half pixels to a point."""
    image = Image.open(io.BytesIO(render_page_in_child([PDF], 2, 1.5, ParseLimits())))
    assert image.format == "PNG"
    assert abs(image.width - 595.28 * 1.5) < 2
    assert abs(image.height - 841.89 * 1.5) < 2


def test_an_enormous_scale_gives_a_bounded_image() -> None:
    """Nobody can ask for a picture that fills the memory."""
    image = Image.open(io.BytesIO(render_page_in_child([PDF], 1, 100, ParseLimits())))
    assert image.width * image.height < 17_000_000


@pytest.mark.parametrize("page", [0, 3, -1])
def test_a_page_that_is_not_there_is_an_error(page: int) -> None:
    """Pages count from 1 to their number."""
    with pytest.raises(UnreadableFile) as caught:
        render_page_in_child([PDF], page, 1, ParseLimits())
    assert caught.value.code == "no_such_page"


def test_only_a_pdf_or_an_image_has_page_images() -> None:
    """Asking for a page of a text is an error, not a crash."""
    with pytest.raises(UnreadableFile) as caught:
        render_page_in_child([b"text"], 1, 1, ParseLimits(), name="a.txt")
    assert caught.value.code == "unsupported_type"


CONFINED = """
import json, os, socket, sys, threading
from pathlib import Path
from ingest.parse.confined import confinement
from ingest.parse.limits import ParseLimits
confinement.forbid_new_privileges()
seen = {"sockets": confinement.forbid_system_calls(), "files": confinement.close_filesystem([])}
confinement.limit_resources(ParseLimits())
def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
seen["socket"] = tried(socket.socket)
seen["fork"] = tried(os.fork)
seen["kill"] = tried(lambda: os.kill(os.getppid(), 0))
def thread():
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        raise PermissionError
seen["thread"] = tried(thread)
seen["read"] = tried(lambda: Path(sys.argv[1]).read_bytes())
seen["write"] = tried(lambda: Path(sys.argv[2]).write_bytes(b"x"))
seen["exec"] = tried(lambda: os.execv("/bin/true", ["true"]))
print(json.dumps(seen))
"""


def test_a_confined_process_can_do_nothing_but_compute(tmp_path: Path) -> None:
    """The kernel refuses it to connect, read, write, execute, fork, start threads and signal, root or not."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    written = tmp_path / "written"
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", CONFINED, str(secret), str(written)],
        capture_output=True,
        check=True,
        cwd=root,
        timeout=60,
    )
    seen = json.loads(run.stdout)
    if not (seen["sockets"] and seen["files"]):
        pytest.skip("this kernel has no seccomp filter or no Landlock")
    refused = ("socket", "read", "exec", "fork", "thread", "kill")
    assert {name: seen[name] for name in refused} == dict.fromkeys(refused, "PermissionError")
    assert seen["write"] in {"PermissionError", "OSError"}
    assert not written.exists()
