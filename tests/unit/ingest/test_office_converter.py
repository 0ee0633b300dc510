"""Old Word and PowerPoint files: converted under confinement where LibreOffice is, else refused kindly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from made_files import read

from infra.errors import UnreadableFile
from ingest.parse.confined.sandbox import ParsingCancelled, parse_in_child
from ingest.parse.conversion import office_converter
from ingest.parse.conversion.office_converter import convert, find_converter
from ingest.parse.detect import DOC, PPT
from ingest.parse.limits import ParseLimits
from ingest.parse.reading import read_document
from tests.made_office_files import leave_docx, plan_pptx

ROOT = Path(__file__).resolve().parents[3]
needs_libreoffice = pytest.mark.skipif(find_converter() is None, reason="LibreOffice is not installed")


def old_file(folder: Path, content: bytes, new: str, old: str) -> bytes:
    """Return a new Office file as LibreOffice saves it in the old format."""
    (folder / f"a.{new}").write_bytes(content)
    subprocess.run(
        [
            str(find_converter()),
            "--headless",
            f"-env:UserInstallation=file://{folder}/profile",
            "--convert-to",
            old,
            "--outdir",
            str(folder),
            str(folder / f"a.{new}"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return (folder / f"a.{old}").read_bytes()


@pytest.fixture(scope="module")
def old_letter(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A Word 97–2003 file with every kind of structure and hidden text."""
    return old_file(tmp_path_factory.mktemp("doc"), leave_docx(), "docx", "doc")


def left_behind() -> list[str]:
    """Return scratch folders and converters of this process that are still there."""
    folders = [path.name for path in Path("/dev/shm").glob(f"strongroom-converting-{os.getpid()}-*")]
    running = [child.name() for child in psutil.Process().children(recursive=True)]
    return folders + [name for name in running if "soffice" in name or "oosplash" in name]


@needs_libreoffice
def test_an_old_word_file_is_read_like_the_new_one(old_letter: bytes) -> None:
    """Headings, lists, tables and the reasons why text is hidden survive the conversion."""
    converted = b"".join(convert([old_letter[:1000], old_letter[1000:]], DOC, ParseLimits()))
    found = read(converted, "a.docx")
    expected = read(leave_docx(), "a.docx")
    assert found.title == expected.title
    shown = [
        (block.kind, block.level, block.text, block.header) for block in found.blocks if not block.hidden
    ]
    assert shown == [(b.kind, b.level, b.text, b.header) for b in expected.blocks if not b.hidden]
    assert {b.hidden for b in found.blocks} == {b.hidden for b in expected.blocks}
    assert left_behind() == []


@needs_libreoffice
def test_an_old_presentation_keeps_its_slides_and_what_is_hidden(tmp_path: Path) -> None:
    """Titles, bullets and notes are on their slides; a hidden slide stays hidden."""
    old = old_file(tmp_path, plan_pptx(), "pptx", "ppt")
    found = read(b"".join(convert([old], PPT, ParseLimits())), "a.pptx")
    shown = [(block.text, block.place.slide) for block in found.blocks if not block.hidden]
    assert shown == [("Plan", 1), ("One", 1), ("Two", 1), ("Say hello.", 1)]
    assert {block.text for block in found.blocks if block.hidden} == {"SECRET-OUTSIDE", "SECRET-SLIDE"}


@needs_libreoffice
def test_the_clock_ends_a_conversion_and_nothing_stays(old_letter: bytes) -> None:
    """A converter that takes too long is killed with all its processes, and its folder is wiped."""
    with pytest.raises(UnreadableFile) as caught:
        list(convert([old_letter], DOC, ParseLimits(wall_s=0.8)))
    assert caught.value.code == "took_too_long"
    assert left_behind() == []


@needs_libreoffice
def test_cancelling_ends_a_conversion(old_letter: bytes) -> None:
    """Somebody who cancels does not wait for the converter."""
    cancel = threading.Event()
    timer = threading.Timer(0.6, cancel.set)
    timer.start()
    with pytest.raises(ParsingCancelled):
        list(convert([old_letter], DOC, ParseLimits(), cancel.is_set))
    timer.join()
    assert left_behind() == []


def test_without_a_converter_the_refusal_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader learns which formats to save in, the operator what to install."""
    monkeypatch.setattr(office_converter, "find_converter", lambda: None)
    with pytest.raises(UnreadableFile) as caught:
        list(convert([b"x"], DOC, ParseLimits()))
    assert caught.value.code == "needs_converter"
    assert "DOCX" in str(caught.value.hint)
    assert "libreoffice-writer-nogui" in str(caught.value.hint)


def test_a_program_that_converts_nothing_is_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """No result is a reason, and the scratch folder goes in any case."""
    monkeypatch.setattr(office_converter, "find_converter", lambda: Path("/bin/true"))
    with pytest.raises(UnreadableFile) as caught:
        list(convert([b"x" * 100], DOC, ParseLimits()))
    assert caught.value.code in {"damaged", "not_confined"}
    assert left_behind() == []


def test_what_a_killed_server_left_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a process that is no more goes with the next conversion."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    forgotten = Path(f"/dev/shm/strongroom-converting-{ended.pid}-0123")
    forgotten.mkdir(mode=0o700)
    (forgotten / "document.doc").write_bytes(b"plaintext")
    monkeypatch.setattr(office_converter, "find_converter", lambda: Path("/bin/true"))
    with pytest.raises(UnreadableFile):
        list(convert([b"x"], DOC, ParseLimits()))
    assert not forgotten.exists()


CONFINED = """
import json, os, socket, subprocess, sys
from pathlib import Path
from ingest.parse.confined import confinement
from ingest.parse.conversion import office_confinement
from ingest.parse.limits import ParseLimits
scratch = Path(sys.argv[1])
no_network, own = office_confinement.enter_namespaces()
mounted = own and office_confinement.mount_scratch(scratch, 1 << 20)
confinement.forbid_new_privileges()
office_confinement.limit_resources(ParseLimits())
seen = {"files": office_confinement.close_filesystem([scratch], [])}
seen["calls"] = office_confinement.forbid_calls()
def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
def connected():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(sys.argv[4])
seen["scratch"] = tried(lambda: (scratch / "x").write_bytes(b"x"))
seen["read"] = tried(lambda: Path(sys.argv[2]).read_bytes())
seen["passwords"] = tried(lambda: Path("/etc/passwd").read_bytes())
seen["environment"] = tried(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes())
seen["write"] = tried(lambda: Path(sys.argv[3]).write_bytes(b"x"))
seen["internet"] = tried(lambda: socket.socket(socket.AF_INET))
seen["connect"] = tried(connected)
seen["mount"] = "done" if office_confinement.mount_over(scratch, Path("/usr")) else "refused"
seen["program"] = tried(lambda: subprocess.run(["/bin/true"], check=True))
seen["mounted"] = mounted
print(json.dumps(seen))
"""


def test_the_converter_reaches_its_scratch_folder_and_nothing_else(tmp_path: Path) -> None:
    """The kernel refuses files, other processes, sockets and mounts; programs of the system may run."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "secret").write_text("x")
    paths = [tmp_path / name for name in ("scratch", "secret", "written", "socket")]
    run = subprocess.run(
        [sys.executable, "-c", CONFINED, *map(str, paths)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    seen = json.loads(run.stdout)
    if not (seen["files"] and seen["calls"]):
        pytest.skip("this kernel has no seccomp filter or no Landlock")
    assert (seen["scratch"], seen["program"]) == ("done", "done")
    refused = ("read", "passwords", "environment", "write", "internet", "connect")
    assert {name: seen[name] for name in refused} == dict.fromkeys(refused, "PermissionError")
    assert seen["mount"] == "refused"
    assert not (tmp_path / "written").exists()
    assert not (seen["mounted"] and list((tmp_path / "scratch").iterdir()))


@needs_libreoffice
def test_an_old_file_is_read_like_a_new_one(old_letter: bytes) -> None:
    """Whoever reads documents need not know that a step was between; the type is the original's."""
    found = read_document(lambda: iter([old_letter]), "letter.doc", ParseLimits())
    new = parse_in_child(iter([leave_docx()]), "letter.docx", ParseLimits())
    assert found.media_type == DOC
    shown = [[block.text for block in document.blocks if not block.hidden] for document in (found, new)]
    assert {text for text in shown[1] if len(text.split()) > 5} <= set(shown[0])
