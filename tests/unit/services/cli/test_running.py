"""One server for each data folder, and no belief in what a dead one left."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.cli.running import claim, find_server, is_claimed

ROOT = Path(__file__).resolve().parents[4]
HOLDER = """
import sys, time
from pathlib import Path
from services.cli.running import claim
held = claim(Path(sys.argv[1]))
held.publish("http://127.0.0.1:1")
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_claim_is_refused(tmp_path):
    """While one server holds the folder another gets nothing; afterwards it does."""
    first = claim(tmp_path)
    assert first is not None
    assert claim(tmp_path) is None
    first.release()
    second = claim(tmp_path)
    assert second is not None
    second.release()


def test_a_published_server_is_found(tmp_path):
    """The other commands learn process and address, from a file that only this account can read."""
    held = claim(tmp_path)
    assert find_server(tmp_path) is None
    held.publish("http://127.0.0.1:8710")
    found = find_server(tmp_path)
    assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:8710")
    assert stat.S_IMODE((tmp_path / "run" / "server.json").stat().st_mode) == 0o600
    held.release()
    assert find_server(tmp_path) is None
    assert not (tmp_path / "run" / "server.json").exists()


def test_a_folder_that_does_not_exist_has_no_server(tmp_path):
    """Looking for a server makes nothing."""
    assert not is_claimed(tmp_path / "none")
    assert find_server(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_a_killed_server_is_gone_at_once(tmp_path):
    """After SIGKILL its note is not believed, and the folder can be claimed again."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        assert find_server(tmp_path).pid == holder.pid
        holder.kill()
    assert (tmp_path / "run" / "server.json").exists()
    assert find_server(tmp_path) is None
    heir = claim(tmp_path)
    assert heir is not None
    heir.release()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "url": "", "started": 0}'])
def test_a_damaged_note_is_no_server(tmp_path, note):
    """Whatever stands in the note, looking at it never fails."""
    held = claim(tmp_path)
    (tmp_path / "run" / "server.json").write_text(note)
    assert find_server(tmp_path) is None
    held.release()


def test_a_recycled_process_id_is_not_the_server(tmp_path):
    """The process must have begun when the server did, so `down` never stops a stranger."""
    held = claim(tmp_path)
    began = psutil.Process().create_time()
    note = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "started": began - 100}
    (tmp_path / "run" / "server.json").write_text(json.dumps(note))
    assert find_server(tmp_path) is None
    held.release()


def test_folders_are_private(tmp_path):
    """What a first claim makes is closed to other accounts."""
    held = claim(tmp_path / "data")
    for folder in (tmp_path / "data", tmp_path / "data" / "run"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    held.release()


def test_a_look_does_not_keep_a_server_from_starting(tmp_path):
    """`claim` outlasts the moment in which another command looks at the lock."""
    import fcntl
    import threading

    claim(tmp_path).release()
    look = os.open(tmp_path / "run" / "server.lock", os.O_RDWR)
    fcntl.flock(look, fcntl.LOCK_SH)
    ender = threading.Timer(0.2, os.close, [look])
    ender.start()
    started = time.monotonic()
    held = claim(tmp_path)
    ender.join()
    assert held is not None
    assert time.monotonic() - started > 0.1
    held.release()
