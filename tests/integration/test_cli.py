"""The command `strongroom` against a real server, as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANDBOOK = """# Staff handbook

## Leave

Full-time employees have 28 days of paid leave in a calendar year.

## Travel

The daily allowance for meals is 42 euros.
"""


def strongroom(
    *arguments: str, data_dir: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one command without settings of the machine that runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    if data_dir is not None:
        environment["STRONGROOM_DATA_DIR"] = str(data_dir)
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env={**inherited, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def document_of(done: subprocess.CompletedProcess[str]):
    """Return the one JSON document on standard output."""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Return the data folder of a server that `up --detach` started, with one document in it."""
    folder = tmp_path_factory.mktemp("cli") / "data"
    started = strongroom("up", "--detach", "--quote-only", "--port", "0", data_dir=folder)
    assert started.returncode == 0, started.stderr
    assert "Strongroom is ready at http://127.0.0.1:" in started.stdout
    assert "/join#" in started.stdout
    handbook = folder.parent / "handbook.md"
    handbook.write_text(HANDBOOK)
    ingested = strongroom("ingest", str(handbook), "--share", "everyone", data_dir=folder)
    assert ingested.returncode == 0, ingested.stderr + ingested.stdout
    yield folder
    strongroom("down", data_dir=folder)


def test_a_second_up_tells_where_the_server_is(data_dir):
    """Starting twice is no error: the address is printed, with a fresh first-administrator link."""
    done = strongroom("up", "--json", data_dir=data_dir)
    noted = json.loads((data_dir / "run" / "server.json").read_text())
    assert done.returncode == 0
    assert document_of(done)["url"] == noted["url"]
    assert document_of(done)["pid"] == noted["pid"]
    assert document_of(done)["link"].startswith(f"{noted['url']}/join#")


def test_a_folder_is_ingested_once(data_dir, tmp_path):
    """The second run of the same files reads nothing again, and both runs succeed."""
    for number in range(4):
        (tmp_path / f"note-{number}.txt").write_text(f"Locker {number} belongs to team {number}.")
    first = strongroom("ingest", str(tmp_path), "--json", data_dir=data_dir)
    second = strongroom("ingest", str(tmp_path), "--json", data_dir=data_dir)
    assert (first.returncode, second.returncode) == (0, 0)
    assert document_of(first)["totals"] | {"passages": 0} == {
        "ingested": 4,
        "unchanged": 0,
        "duplicate": 0,
        "failed": 0,
        "skipped": 0,
        "passages": 0,
    }
    assert document_of(second)["totals"]["unchanged"] == 4
    assert all(file["passages"] == 1 for file in document_of(second)["files"])


def test_a_changed_file_is_read_again(data_dir, tmp_path):
    """Other bytes under a known name are a new version of the same document."""
    file = tmp_path / "changing.txt"
    results = []
    for text in ("The gate code is 1111.", "The gate code is 2222."):
        file.write_text(text)
        results.append(document_of(strongroom("ingest", str(file), "--json", data_dir=data_dir))["files"][0])
    assert [result["result"] for result in results] == ["ingested", "ingested"]
    assert results[0]["file_id"] == results[1]["file_id"]
    assert results[0]["job_id"] != results[1]["job_id"]


def test_a_file_that_cannot_be_read_fails_alone(data_dir, tmp_path):
    """The summary gives the reason, the good file is ingested all the same, and the exit code is 1."""
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "good.txt").write_text("The window faces north.")
    done = strongroom("ingest", str(tmp_path), "--json", data_dir=data_dir)
    results = {Path(file["path"]).name: file for file in document_of(done)["files"]}
    assert done.returncode == 1
    assert results["good.txt"]["result"] == "ingested"
    assert results["empty.pdf"]["result"] == "failed"
    assert results["empty.pdf"]["reason"]


def test_namesakes_do_not_replace_each_other(data_dir, tmp_path):
    """Of two files with one name the second is skipped with advice, not taken for a new version."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "minutes.txt").write_text(f"Minutes of meeting {folder}.")
    done = strongroom("ingest", str(tmp_path), "--json", data_dir=data_dir)
    assert done.returncode == 1
    assert [file["result"] for file in document_of(done)["files"]] == ["ingested", "skipped"]


def test_a_missing_path_is_a_usage_error(data_dir):
    """Nothing is uploaded, and the path is named."""
    done = strongroom("ingest", "no-such-file.pdf", data_dir=data_dir)
    assert done.returncode == 2
    assert "There is no file at no-such-file.pdf." in done.stderr


def test_an_unknown_person_to_share_with_is_a_usage_error(data_dir, tmp_path):
    """A mistyped name shares with nobody."""
    (tmp_path / "x.txt").write_text("x")
    done = strongroom("ingest", str(tmp_path), "--share", "Nobody Here", data_dir=data_dir)
    assert done.returncode == 2
    assert "No person or group is called “Nobody Here”" in done.stderr


def test_an_answer_shows_quotes_and_their_sources(data_dir):
    """The verbatim sentence, its place, and the table stand on standard output."""
    done = strongroom("ask", "How many days of paid leave do employees have?", "--quotes", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    assert "[1] handbook.md" in done.stdout
    assert "28 days of paid leave" in done.stdout
    assert "Sources" in done.stdout


def test_an_answer_for_scripts_is_one_document(data_dir):
    """--json prints the chat completion with citations and receipt, and nothing else."""
    done = strongroom("ask", "What is the daily allowance for meals?", "--json", data_dir=data_dir)
    answer = document_of(done)
    assert "42 euros" in answer["x_citations"][0]["quote"]
    assert answer["x_answer"]["receipt"]["id"]


def test_status_counts_what_is_there(data_dir):
    """Documents, passages, jobs, memory, disk and record have figures."""
    done = strongroom("status", "--json", data_dir=data_dir)
    facts = document_of(done)
    assert done.returncode == 0
    assert facts["ready"]
    assert facts["model"] == "none"
    assert facts["documents"] >= 1
    assert facts["passages"] >= facts["documents"] - 1
    assert facts["local"]["memory_bytes"] > 10**8
    assert facts["local"]["disk_bytes"]["index"] > 0
    assert facts["local"]["record"]["size"] > 3
    assert facts["local"]["record"]["signed_at"]


def test_status_for_people_names_the_address(data_dir):
    """The table says where the server is and that it is ready."""
    url = json.loads((data_dir / "run" / "server.json").read_text())["url"]
    assert f"{url} (ready)" in strongroom("status", data_dir=data_dir).stdout


def test_the_record_is_verified_while_the_server_runs(data_dir):
    """`audit verify` finds it sound and ends with 0."""
    done = strongroom("audit", "verify", "--json", data_dir=data_dir)
    assert done.returncode == 0
    report = document_of(done)
    assert report["result"] == "sound"
    assert report["checked"] == report["size"] > 3


def copy_with(data_dir: Path, copy: Path, change: str) -> Path:
    """Return a copy of a running server's record, after the SQL statement `change`."""
    copy.mkdir()
    shutil.copytree(data_dir / "keys", copy / "keys")
    with (
        closing(sqlite3.connect(data_dir / "strongroom.sqlite3")) as source,
        closing(sqlite3.connect(copy / "strongroom.sqlite3")) as target,
    ):
        source.backup(target)
        assert target.execute(change).rowcount == 1
        target.commit()
    return copy


def test_a_changed_record_is_found(data_dir, tmp_path):
    """In a copy with one word changed, verify ends with 1 and names the record."""
    elsewhere = 'replace(CAST(leaf AS TEXT), \'"src":"local"\', \'"src":"other"\')'
    change = f'UPDATE audit_leaves SET leaf = CAST({elsewhere} AS BLOB) WHERE "index" = 2'
    done = strongroom("audit", "verify", "--json", data_dir=copy_with(data_dir, tmp_path / "data", change))
    assert done.returncode == 1, done.stdout + done.stderr
    assert document_of(done)["first_bad"] == 2


def test_a_record_of_another_kind_is_no_success(data_dir, tmp_path):
    """A text where bytes belong cannot be read as a record at all, and that is said without a traceback."""
    change = "UPDATE audit_leaves SET leaf = 'text' WHERE \"index\" = 2"
    done = strongroom("audit", "verify", data_dir=copy_with(data_dir, tmp_path / "data", change))
    assert done.returncode in {1, 4}
    assert "Traceback" not in done.stderr
    assert "should not have" not in done.stderr


def test_verify_without_a_record_is_unreadable(tmp_path):
    """An empty folder is neither sound nor tampered with, and stays empty."""
    done = strongroom("audit", "verify", data_dir=tmp_path)
    assert done.returncode == 4
    assert "There is no record" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_refused_kindly(data_dir):
    """One sentence and a hint, no traceback; the operator's own key is not tried instead."""
    done = strongroom("ask", "x", "--api-key", "sr-wrong", data_dir=data_dir)
    assert done.returncode == 1
    assert "Sign in, or send an API key." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_operator_key_goes_to_the_local_server_only(data_dir):
    """Another address gets no key: the command asks for one instead of sending it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        done = strongroom("status", "--url", url, data_dir=data_dir)
    assert done.returncode == 1
    assert "no API key" in done.stderr


def test_a_public_server_is_refused(data_dir):
    """The command line talks to private addresses only, like everything else."""
    done = strongroom("status", "--url", "https://8.8.8.8", "--api-key", "sr-x", data_dir=data_dir)
    assert done.returncode == 1
    assert "outside the private network" in done.stderr


def test_nothing_running_is_said_with_what_to_do(tmp_path):
    """Commands that need a server say how to start it."""
    done = strongroom("ask", "x", data_dir=tmp_path)
    assert done.returncode == 1
    assert "Strongroom is not running here." in done.stderr
    assert "strongroom up" in done.stderr


def test_a_public_model_address_stops_the_start(tmp_path):
    """`up` names the setting and makes nothing."""
    done = strongroom("up", data_dir=tmp_path / "data", STRONGROOM_MODEL_BASE_URL="https://8.8.8.8/v1")
    assert done.returncode == 1
    assert "STRONGROOM_MODEL_BASE_URL is refused" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_taken_port_is_said_at_once(tmp_path, flags):
    """Before anything slow the port is tried; the folder is free again afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = strongroom("up", "--quote-only", "--port", port, *flags, data_dir=tmp_path / "data")
    assert done.returncode == 1
    assert f"Port {port} is in use by another program." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "run" / "server.json").exists()


def test_the_log_of_a_detached_server_is_private(data_dir):
    """Identifiers of requests are nobody else's business."""
    assert stat.S_IMODE((data_dir / "logs" / "server.log").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_openapi_needs_no_data_folder(tmp_path):
    """The document is printed, and nothing is opened or made."""
    done = strongroom("openapi", data_dir=tmp_path / "data")
    assert "/v1/chat/completions" in document_of(done)["paths"]
    assert not (tmp_path / "data").exists()


def test_a_server_stops_in_good_order(tmp_path):
    """`down` ends the process, removes its note, and leaves a sound record whose last entry says so."""
    folder = tmp_path / "data"
    assert strongroom("up", "--detach", "--quote-only", "--port", "0", data_dir=folder).returncode == 0
    down = strongroom("down", data_dir=folder)
    assert (down.returncode, down.stdout) == (0, "Stopped.\n")
    assert not (folder / "run" / "server.json").exists()
    assert strongroom("audit", "verify", data_dir=folder).returncode == 0
    with closing(sqlite3.connect(folder / "strongroom.sqlite3")) as database:
        (last,) = database.execute('SELECT leaf FROM audit_leaves ORDER BY "index" DESC LIMIT 1').fetchone()
    assert json.loads(last)["type"] == "server.stop"
    again = strongroom("down", data_dir=folder)
    assert (again.returncode, again.stdout) == (0, "Strongroom was not running here.\n")
