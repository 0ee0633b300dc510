"""Uploads in parts, as any tus 1.0.0 client makes them: broken off, resumed, refused, given up."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from api_world import UPLOAD_LIMIT, World, error_of

from infra.access import EVERYONE
from infra.clock import new_id
from infra.database.tables import PartialUpload
from infra.files import FileStore
from infra.stores import open_database, open_ledger
from ingest.resumable import sweep_expired
from services.cli import large_upload
from services.cli.connection import Connection, NotRunning
from tests.preloaded import PreloadedServer
from tests.serving import Person, finished_job

TUS: Final = {"Tus-Resumable": "1.0.0"}
PART: Final = {**TUS, "Content-Type": "application/offset+octet-stream"}
SECRET: Final = "The ferry to Saltholm leaves at 06:20."
TEXT: Final = f"# Ferries\n\n{SECRET}\n".encode()


def metadata(**fields: str) -> str:
    """Return fields as `Upload-Metadata`."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in fields.items())


def begin(person: Person, length: int, **fields: str) -> str:
    """Begin an upload; returns its path."""
    described = metadata(**({"filename": "ferries.md"} | fields))
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": described}
    begun = person.client.post("/v1/uploads", headers=headers)
    assert begun.status_code == 201, begun.text
    assert begun.headers["upload-offset"] == "0"
    return str(begun.headers["location"])


def send(person: Person, path: str, offset: int, data: bytes, **headers: str) -> httpx2.Response:
    """Send bytes."""
    return person.client.patch(path, content=data, headers={**PART, "Upload-Offset": str(offset), **headers})


def offset_of(person: Person, path: str) -> int:
    """Ask how far an upload is."""
    answer = person.client.head(path, headers=TUS)
    assert answer.status_code == 200, answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def recorded(world: World, answer: httpx2.Response) -> list[tuple[str, str, str]]:
    """Return type, outcome and kind of thing of what one request left on the record, once it is sealed."""
    asked = {"correlation": answer.headers["x-request-id"]}
    deadline = time.monotonic() + 20
    while not (listed := world.auditor.client.get("/v1/audit/events", params=asked).json()["data"]):
        assert time.monotonic() < deadline, "nothing is on the record"
        time.sleep(0.1)
    return [(event["type"], event["outcome"], event["res"]["type"]) for event in listed]


def test_an_upload_outlives_the_server(make_server: Callable[..., PreloadedServer]) -> None:
    """After `kill -9` it goes on where the last part ended; nothing of it lies on the disk in clear."""
    server = make_server()
    server.start()
    ada = server.person("Ada")
    path = begin(ada, len(TEXT), share=EVERYONE)
    assert send(ada, path, 0, TEXT[:30]).headers["upload-offset"] == "30"
    server.kill()
    kept = [file.read_bytes() for file in server.data_dir.rglob("*") if file.is_file()]
    assert not any(b"Ferries" in content or b"ferries.md" in content for content in kept)
    server.start()
    ada.client.base_url = server.url
    assert offset_of(ada, path) == 30
    whole = send(ada, path, 30, TEXT[30:])
    assert (whole.status_code, whole.headers["x-upload"]) == (204, "new")
    file_id = whole.headers["x-file-id"]
    file = ada.client.get(f"/v1/files/{file_id}").json()
    assert (file["filename"], file["bytes"], file["x_shared_with"][0]["id"]) == (
        "ferries.md",
        len(TEXT),
        EVERYONE,
    )
    assert ada.client.get(f"/v1/files/{file_id}/content").content == TEXT
    assert finished_job(ada.client, file["x_job"]["id"])["state"] == "succeeded"
    # One file is left, the version's own: the parts are gone.
    stored = [entry for entry in (server.data_dir / "files").rglob("*") if entry.is_file()]
    assert len(stored) == 1
    finished = ada.client.head(path, headers=TUS)
    assert (finished.headers["upload-offset"], finished.headers["x-file-id"]) == (str(len(TEXT)), file_id)
    assert send(ada, path, len(TEXT), b"more").status_code in {409, 413}
    server.kill()


def test_what_the_server_understands_is_no_secret(world: World) -> None:
    """The first request of a client needs no key; the largest upload and the extensions are in the answer."""
    with world.stranger() as stranger:
        answer = stranger.options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,expiration,termination,checksum"
    assert answer.headers["tus-max-size"] == str(UPLOAD_LIMIT)


def test_every_step_is_on_the_record(world: World) -> None:
    """Begun, continued, stored; and who looked."""
    path = begin(world.ada, len(TEXT), filename="recorded.md")
    half = send(world.ada, path, 0, TEXT[:10])
    assert recorded(world, half) == [("upload.continued", "ok", "upload")]
    whole = send(world.ada, path, 10, TEXT[10:])
    assert ("file.uploaded", "ok", "file") in recorded(world, whole)
    finished = world.ada.client.head(path, headers=TUS)
    assert recorded(world, finished) == [("files.read", "ok", "upload")]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Offset": "3"}, 409, "conflict"),
        ({"Upload-Offset": "-1"}, 400, "invalid_input"),
        ({"Content-Type": "application/octet-stream"}, 415, "wrong_content_type"),
        ({"Tus-Resumable": "0.2.2"}, 412, "unsupported_version"),
        ({"Upload-Checksum": "crc32 AAAA"}, 400, "invalid_input"),
        ({"Upload-Checksum": f"sha256 {base64.b64encode(bytes(32)).decode()}"}, 460, "checksum_mismatch"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    world: World, headers: dict[str, str], status: int, code: str
) -> None:
    """With a reason, and nothing of it counts; the upload goes on."""
    path = begin(world.ada, len(TEXT), filename="refused.md")
    answer = send(world.ada, path, 0, TEXT[:10], **headers)
    assert error_of(answer, status)["code"] == code
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert offset_of(world.ada, path) == 0
    sha1 = base64.b64encode(hashlib.sha1(TEXT, usedforsecurity=False).digest()).decode()
    assert send(world.ada, path, 0, TEXT, **{"Upload-Checksum": f"sha1 {sha1}"}).status_code == 204


def test_too_much_is_refused(world: World) -> None:
    """At the beginning by the announced length, later by the bytes themselves."""
    too_long = {**TUS, "Upload-Length": str(UPLOAD_LIMIT + 1), "Upload-Metadata": metadata(filename="a.md")}
    assert error_of(world.ada.client.post("/v1/uploads", headers=too_long), 413)["code"] == "too_large"
    path = begin(world.ada, 5, filename="five.md")
    assert error_of(send(world.ada, path, 0, b"sixsix"), 413)["code"] == "too_large"

    def unannounced() -> Any:
        yield from (b"four", b"five")

    chunked = world.ada.client.patch(path, content=unannounced(), headers={**PART, "Upload-Offset": "0"})
    assert error_of(chunked, 413)["code"] == "too_large"
    assert offset_of(world.ada, path) == 0


@pytest.mark.parametrize(
    "described", ["", "filename", "filename ***", "share ZXZlcnlib2R5", "filename AA==", "filename /w=="]
)
def test_metadata_that_make_no_sense_are_refused(world: World, described: str) -> None:
    """A name is needed, in base64 of UTF-8 text."""
    headers = {**TUS, "Upload-Length": "5", "Upload-Metadata": described}
    assert error_of(world.ada.client.post("/v1/uploads", headers=headers), 400)["code"] == "invalid_input"


def test_what_cannot_be_filled_is_said_before_anything_is_sent(world: World) -> None:
    """A collection or batch of somebody else's is like one that is not there."""
    for name in ("collection", "batch"):
        headers = {
            **TUS,
            "Upload-Length": "5",
            "Upload-Metadata": metadata(filename="a.md", **{name: new_id()}),
        }
        error_of(world.ada.client.post("/v1/uploads", headers=headers), 404)


def test_uploads_of_others_are_like_none(world: World) -> None:
    """Hidden from Ben: that it exists, at every operation. Visible to Ada: it, as it was."""
    path = begin(world.ada, len(TEXT), filename="hers.md")
    for where in (path, f"/v1/uploads/{new_id()}"):
        assert world.ben.client.head(where, headers=TUS).status_code == 404
        error = error_of(send(world.ben, where, 0, TEXT), 404)
        assert error["message"] == "There is no such upload."
        error_of(world.ben.client.delete(where, headers=TUS), 404)
    assert offset_of(world.ada, path) == 0


def test_an_upload_can_be_given_up(world: World) -> None:
    """Its parts leave the disk, and it is not there any more."""
    before = len(stored_files(world))
    path = begin(world.ada, len(TEXT), filename="given-up.md")
    send(world.ada, path, 0, TEXT[:10])
    assert len(stored_files(world)) == before + 1
    dropped = world.ada.client.delete(path, headers=TUS)
    assert dropped.status_code == 204
    assert recorded(world, dropped) == [("upload.dropped", "ok", "upload")]
    assert len(stored_files(world)) == before
    assert world.ada.client.head(path, headers=TUS).status_code == 404


def test_a_file_that_cannot_be_read_is_refused_when_it_is_whole(world: World) -> None:
    """As at the door of other uploads; nothing of it stays."""
    before = len(stored_files(world))
    path = begin(world.ada, 4096, filename="program.exe")
    answer = send(world.ada, path, 0, b"\x7fELF" + bytes(4092))
    assert answer.status_code == 422
    assert world.ada.client.head(path, headers=TUS).status_code == 404
    assert len(stored_files(world)) == before


def test_an_upload_that_nobody_goes_on_with_expires(world: World) -> None:
    """First it is gone for its owner, then its parts leave the disk, with an event."""
    path = begin(world.ada, len(TEXT), filename="left.md")
    send(world.ada, path, 0, TEXT[:10])
    before = len(stored_files(world))
    upload_id = path.rsplit("/", 1)[1]
    settings = world.server.settings()
    database, master_key = open_database(settings)
    with database.write() as session:
        session.get_one(PartialUpload, upload_id).expires_at = 1
    assert world.ada.client.head(path, headers=TUS).status_code == 410
    assert error_of(send(world.ada, path, 10, TEXT[10:]), 410)["code"] == "expired"
    ledger = open_ledger(settings, database, master_key)
    assert sweep_expired(database, FileStore(settings.data_dir / "files"), ledger) == 1
    ledger.close()
    database.close()
    assert len(stored_files(world)) == before - 1
    assert world.ada.client.head(path, headers=TUS).status_code == 404


def test_what_came_before_the_connection_broke_counts(world: World) -> None:
    """A client that asks goes on from there, and the file is whole."""
    text = TEXT + b"x" * 200_000
    path = begin(world.ada, len(text), filename="broken-off.md")
    key = world.ada.client.headers["authorization"]
    address = httpx2.URL(world.server.url)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: strongroom\r\nAuthorization: {key}\r\nTus-Resumable: 1.0.0\r\n"
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(head.encode() + text[:150_000])
        time.sleep(0.5)
    deadline = time.monotonic() + 20
    while (offset := offset_of(world.ada, path)) == 0:
        assert time.monotonic() < deadline, "nothing of it counts"
        time.sleep(0.1)
    assert 0 < offset <= 150_000
    whole = send(world.ada, path, offset, text[offset:])
    assert whole.status_code == 204, whole.text
    file_id = whole.headers["x-file-id"]
    assert world.ada.client.get(f"/v1/files/{file_id}/content").content == text


def test_a_second_request_at_the_same_place_loses(world: World) -> None:
    """Two parts that begin at one byte: one counts, the other is told where to go on."""
    path = begin(world.ada, len(TEXT), filename="one-byte-twice.md")
    assert send(world.ada, path, 0, TEXT[:10]).status_code == 204
    assert error_of(send(world.ada, path, 0, TEXT[:10]), 409)["param"] == "Upload-Offset"
    assert send(world.ada, path, 10, b"").headers["upload-offset"] == "10"
    # Others here upload the same bytes, before this or after it.
    assert send(world.ada, path, 10, TEXT[10:]).headers["x-upload"] in {"new", "duplicate"}


def stored_files(world: World) -> list[str]:
    """Return the names of what the file store holds."""
    folder = world.server.data_dir / "files"
    return [file.name for file in folder.rglob("*") if file.is_file() and file.parent.name != "partial"]


# --- the command line's own client ----------------------------------------------------------------


class Unsteady(Connection):
    """A connection that breaks after some requests have arrived and before they are answered."""

    def __init__(self, client: httpx2.Client, url: str, *, breaks: set[int]) -> None:
        super().__init__(client, url)
        self._breaks = breaks
        self._sent = 0

    def send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes = b""
    ) -> Mapping[str, str]:
        """Send, and lose the answer now and then."""
        answer = super().send(method, path, headers, content)
        self._sent += 1
        if self._sent in self._breaks:
            raise NotRunning
        return answer


# Request 1 begins the upload; the others are parts, and questions how far it is.
@pytest.mark.parametrize("breaks", [set(), {2}, {3, 4}, {6}])
def test_the_command_line_goes_on_after_a_broken_connection(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: set[int]
) -> None:
    """Also when the answer to the last part is lost: the file is there once, and whole."""
    monkeypatch.setattr(large_upload, "PART_BYTES", 15)
    file = tmp_path / f"{'-'.join(map(str, breaks)) or 'steady'}.md"
    text = f"# Timetable\n\nThe ferry number {sorted(breaks)} leaves at six.\n"[:60].ljust(60).encode()
    file.write_bytes(text)
    seen: list[int] = []
    connection = Unsteady(world.ada.client, world.server.url, breaks=breaks)
    stored = large_upload.upload_in_parts(connection, file, {"share": []}, seen.append, pauses_s=[0.0] * 4)
    assert (stored["filename"], stored["x_upload"]) == (file.name, "new")
    assert world.ada.client.get(f"/v1/files/{stored['id']}/content").content == text
    assert seen[-1] == 60
    assert seen == sorted(seen)
