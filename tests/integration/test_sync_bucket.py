"""A watched bucket on a real S3-speaking server: the same rules as for a folder, by ETag, over our client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3.session
import pytest
from botocore.awsrequest import AWSResponse
from sqlalchemy import select

from infra import accounts, documents
from infra.access import Role
from infra.database.tables import Document, DocumentVersion
from infra.errors import AddressRefused
from infra.settings import Settings
from infra.sources import WatchedBucket
from infra.stores import Stores, open_stores
from ingest.sync.bucket import Bucket
from ingest.sync.source import Seen, Unsettled
from ingest.sync.syncing import Looked, look_once

TIDES = b"# Tides\n\nHigh water stands at noon."


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Run a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Open real stores; nothing here makes passages, so the embedding model is not loaded."""
    opened = open_stores(Settings(data_dir=tmp_path_factory.mktemp("bucket") / "data"))
    yield opened
    opened.close()


class Shelf:
    """A bucket with its owner's account."""

    numbers = iter(range(1, 100))

    def __init__(self, stores: Stores, endpoint: str) -> None:
        self.stores = stores
        name = f"shelf-{next(self.numbers)}"
        self.s3: Any = boto3.session.Session("writer", "secret", region_name="us-east-1").client(
            "s3", endpoint_url=endpoint
        )
        self.s3.create_bucket(Bucket=name)
        with stores.database.write() as session:
            owner = accounts.create_service_account(session, name, [Role.EMPLOYEE]).id
        self.owner = f"service:{owner}"
        self.watched = WatchedBucket(
            kind="bucket",
            name=name,
            owner=self.owner,
            endpoint=endpoint,
            bucket=name,
            prefix="notes",
            access_key="reader",
            secret_key="secret",
        )
        self.bucket = Bucket(self.watched, [])

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        self.s3.put_object(Bucket=self.watched.bucket, Key=key, Body=content)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.s3.delete_object(Bucket=self.watched.bucket, Key=key)

    def look(self) -> Looked:
        """Look once."""
        looked = look_once(self.stores, self.watched, self.bucket, max_bytes=5_000_000)
        assert looked is not None
        return looked

    def names(self) -> dict[str, str]:
        """Return the owner's documents by name, with their ids."""
        with self.stores.database.read() as session:
            found = session.scalars(select(Document).where(Document.owner == self.owner)).all()
        return {document.name: document.id for document in found}


@pytest.fixture
def shelf(stores: Stores, endpoint: str) -> Iterator[Shelf]:
    """Make an empty bucket with an owner."""
    made = Shelf(stores, endpoint)
    yield made
    made.bucket.close()
    made.s3.close()


def test_a_bucket_is_kept_in_step_with(shelf: Shelf) -> None:
    """What is below the prefix comes in, changes, is renamed and goes; the rest of the bucket is not seen."""
    shelf.put("notes/tides.md", TIDES)
    shelf.put("notes/sea/Nord & Süd + 1.md", b"# North\n\nCharts of the north.")
    shelf.put("notes/folder/", b"")
    shelf.put("notes/.hidden.md", b"# Hidden")
    shelf.put("notes-of-others/secret.md", b"# Secret")
    assert shelf.look() == Looked(taken=2)
    assert set(shelf.names()) == {"tides.md", "sea/Nord & Süd + 1.md"}
    tides = shelf.names()["tides.md"]
    assert shelf.look() == Looked()

    shelf.put("notes/tides.md", b"# Tides\n\nHigh water stands at one.")
    assert shelf.look() == Looked(taken=1)
    with shelf.stores.database.read() as session:
        version = documents.latest_version(session, tides)
        key = documents.version_key(shelf.stores.master_key, version)
        assert version.number == 2
    assert b"".join(shelf.stores.files.read(version.id, key)).endswith(b"one.")

    shelf.put("notes/high-water.md", b"# Tides\n\nHigh water stands at one.")
    shelf.delete("notes/tides.md")
    assert shelf.look() == Looked(taken=1)
    assert shelf.names()["high-water.md"] == tides

    shelf.delete("notes/sea/Nord & Süd + 1.md")
    assert shelf.look() == Looked(removed=1)
    assert set(shelf.names()) == {"high-water.md"}


def test_a_large_object_is_streamed_whole(shelf: Shelf) -> None:
    """Every byte arrives, over several pieces; one above the limit is left aside unread."""
    content = os.urandom(1500).hex().encode() * 1000 + b"\nthe end\n"
    shelf.put("notes/large.txt", content)
    shelf.put("notes/larger.txt", content * 2)
    assert shelf.look() == Looked(taken=1, aside=1)
    with shelf.stores.database.read() as session:
        version = documents.latest_version(session, shelf.names()["large.txt"])
        key = documents.version_key(shelf.stores.master_key, version)
    assert b"".join(shelf.stores.files.read(version.id, key)) == content


def test_more_objects_than_one_page_are_all_listed(shelf: Shelf) -> None:
    """A listing ends after its last page, not after its first."""
    for number in range(5):
        shelf.put(f"notes/{number}.md", TIDES)
    pager = shelf.bucket._s3.get_paginator
    shelf.bucket._s3.get_paginator = lambda name: _SmallPages(pager(name))
    assert len(shelf.bucket.look().found) == 5


def test_an_object_that_was_replaced_waits_for_the_next_look(shelf: Shelf) -> None:
    """What is read is what was listed: the server is asked for that ETag and no other."""
    shelf.put("notes/tides.md", TIDES)
    seen = next(iter(shelf.bucket.look().found.values()))
    shelf.put("notes/tides.md", b"# Tides\n\nSomething else.")
    with pytest.raises(Unsettled):
        list(shelf.bucket.read(seen))
    shelf.delete("notes/tides.md")
    with pytest.raises(Unsettled):
        list(shelf.bucket.read(Seen(seen.name, "::", 1)))


def test_an_emptied_or_lost_bucket_removes_nothing(shelf: Shelf) -> None:
    """Neither all objects gone at once, nor a bucket or a server that is not there, loses a document."""
    shelf.put("notes/tides.md", TIDES)
    shelf.look()
    shelf.delete("notes/tides.md")
    assert shelf.look() == Looked(missing=1, reason="empty")
    shelf.s3.delete_bucket(Bucket=shelf.watched.bucket)
    assert shelf.look() == Looked(reason="no_bucket")
    gone = shelf.watched.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    shelf.bucket.close()
    shelf.bucket = Bucket(gone, [])
    assert shelf.look() == Looked(reason="unreachable")
    assert set(shelf.names()) == {"tides.md"}
    with shelf.stores.database.read() as session:
        assert session.scalar(
            select(DocumentVersion).where(DocumentVersion.document_id == shelf.names()["tides.md"])
        )


def test_a_key_that_is_refused_removes_nothing(shelf: Shelf) -> None:
    """403 says nothing about what is there."""
    shelf.put("notes/tides.md", TIDES)
    shelf.look()

    def deny(request: Any, **_: Any) -> AWSResponse:
        said = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        return AWSResponse(request.url, 403, {}, SimpleNamespace(stream=lambda: iter([said])))

    shelf.bucket._s3.meta.events.register_first("before-send.s3", deny)
    assert shelf.look() == Looked(reason="refused")
    assert set(shelf.names()) == {"tides.md"}


def test_a_public_address_is_never_contacted(shelf: Shelf) -> None:
    """Neither by the settings nor by a client that was given one all the same."""
    public = {"endpoint": "http://192.0.2.1:9000"}
    with pytest.raises(AddressRefused):
        Bucket(shelf.watched.model_copy(update=public), []).look()
    shelf.bucket = Bucket(shelf.watched.model_copy(update=public), [])
    assert shelf.look() == Looked(reason="address_refused")


def test_nothing_comes_from_the_environment(
    endpoint: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Profiles, proxies, addresses and keys of the machine's own are of no account."""
    (tmp_path / "config").write_text("[default]\nregion = nowhere\nendpoint_url = http://192.0.2.1\n")
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_PROFILE": "missing",
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_ENDPOINT_URL_S3": "http://192.0.2.1",
        "AWS_CA_BUNDLE": "/missing",
        "HTTP_PROXY": "http://192.0.2.1:3128",
    }.items():
        monkeypatch.setenv(name, value)
    shelf.put("notes/tides.md", TIDES)
    bucket = Bucket(shelf.watched, [])
    assert len(bucket.look().found) == 1
    credentials = bucket._s3._request_signer._credentials
    assert (credentials.access_key, credentials.method) == ("reader", "explicit")
    bucket.close()


class _SmallPages:
    """Asks for two objects at a time."""

    def __init__(self, pager: Any) -> None:
        self._pager = pager

    def paginate(self, **how: Any) -> Any:
        return self._pager.paginate(**how, PaginationConfig={"PageSize": 2})
