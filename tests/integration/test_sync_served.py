"""Watched sources on a running server: files come and go by themselves, and the right people can see how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.access import Role
from tests.preloaded import PreloadedServer
from tests.serving import ROOT, Person, finished_job

WITHIN_S = 60.0
SECRET = "a secret of the bucket"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that is watched."""
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="module")
def server(make_server: Callable[..., PreloadedServer], folder: Path) -> Iterator[PreloadedServer]:
    """Start a server that watches a folder, and a bucket that nobody serves."""
    ours = {"owner": "ada@example.org", "every_s": 1}
    bucket = {"endpoint": "http://127.0.0.1:9", "bucket": "shelf", "access_key": "k", "secret_key": SECRET}
    sources = [
        {"kind": "folder", "name": "share", "path": str(folder), **ours},
        {"kind": "bucket", "name": "shelf", **bucket, **ours},
    ]
    running = make_server(sources=json.dumps(sources))
    running.start()
    yield running
    running.kill()


def source(person: Person, name: str = "share") -> dict[str, Any]:
    """Return how a source stands."""
    listed = person.client.get("/v1/sources").json()["data"]
    return next(found for found in listed if found["name"] == name)


def until(found: Callable[[], Any]) -> Any:
    """Wait for something to be there; raises TimeoutError."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if what := found():
            return what
        time.sleep(0.2)
    raise TimeoutError


def command(server: PreloadedServer, person: Person, *words: str) -> tuple[int, Any]:
    """Run `strongroom sync` as a person; returns its exit code and JSON."""
    environment = {**os.environ, "STRONGROOM_API_KEY": str(person.client.headers["authorization"][7:])}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "sync", *words, "--url", server.url, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_a_folder_is_kept_in_step_with_by_itself(server: PreloadedServer, folder: Path) -> None:
    """A file that appears can be asked about; when everything goes, it goes after a confirmation."""
    admin = server.person("Root", [Role.ADMIN])
    until(lambda: (source(admin)["problem"] or {}).get("code") == "no_owner")
    ada = server.person("Ada")
    path = folder / "sea" / "tides.md"
    path.parent.mkdir()
    path.write_text("# Tides\n\nHigh water at the northern pier stands at noon.")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    (file,) = until(lambda: ada.client.get("/v1/files").json()["data"])
    assert file["filename"] == "sea/tides.md"
    assert finished_job(ada.client, file["x_job"]["id"])["state"] == "succeeded"
    found = ada.client.post("/v1/search", json={"query": "high water northern pier"}).json()["data"]
    assert "northern pier" in json.dumps(found)
    until(lambda: source(admin)["problem"] is None and source(admin)["files"] == 1)

    path.unlink()
    halted = until(lambda: source(admin)["problem"] and source(admin))
    assert (halted["problem"]["code"], halted["missing"], halted["state"]) == ("empty", 1, "halted")
    assert len(ada.client.get("/v1/files").json()["data"]) == 1
    code, stands = command(server, admin, "share", "--accept-deletions")
    assert (code, stands["problem"], stands["files"]) == (0, None, 0)
    assert ada.client.get("/v1/files").json()["data"] == []
    assert ada.client.post("/v1/search", json={"query": "high water northern pier"}).json()["data"] == []


def test_curators_see_how_sources_stand_and_nobody_sees_keys(server: PreloadedServer, folder: Path) -> None:
    """Employees and auditors see nothing; the operator's paths, addresses and keys are in no answer."""
    curator = server.person("Cora", [Role.CURATOR])
    until(lambda: (source(curator, "shelf")["problem"] or {}).get("code") in {"unreachable", "no_owner"})
    answer = curator.client.get("/v1/sources").text
    for private in (SECRET, str(folder), "127.0.0.1:9", "ada@example.org"):
        assert private not in answer
    for role in (Role.EMPLOYEE, Role.AUDITOR):
        other = server.person(f"Other{role}", [role])
        assert other.client.get("/v1/sources").status_code == 403
    assert curator.client.post("/v1/sources/share/sync").status_code == 403
    code, listed = command(server, curator)
    assert (code, [each["name"] for each in listed]) == (1, ["share", "shelf"])


def test_an_administrator_asks_for_a_look(server: PreloadedServer) -> None:
    """It begins at once; deletions that nobody announced cannot be confirmed, nor a source that is not."""
    admin = server.person("Rita", [Role.ADMIN])
    asked = admin.client.post("/v1/sources/share/sync")
    assert asked.status_code == 202
    until(lambda: source(admin)["state"] in {"idle", "halted"})
    early = admin.client.post("/v1/sources/shelf/sync", params={"accept_deletions": True})
    assert early.status_code == 409
    assert admin.client.post("/v1/sources/nothing/sync").status_code == 404
