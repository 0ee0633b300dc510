"""A watched folder: what changes there changes here, and nothing is removed by mistake."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select

from infra import accounts, documents, places
from infra.access import DocumentAccess, Principal, Role, scope_of
from infra.accounts.people import principal_of
from infra.audit.event_types import EventType
from infra.audit.leaf import parse
from infra.collections import create_collection
from infra.database.tables import (
    AuditInbox,
    Chunk,
    Document,
    DocumentVersion,
    Job,
    SyncedItem,
    User,
)
from infra.settings import Settings
from infra.sources import WatchedFolder
from infra.stores import Stores, open_stores
from infra.vectors import Point
from ingest.index import mend
from ingest.sync import standing
from ingest.sync.folder import Folder
from ingest.sync.source import Listing, NotReadable, Stopping, Unsettled
from ingest.sync.standing import LostLease
from ingest.sync.syncing import Looked, look_once

NOTE = "# {name}\n\nHigh water at {name} stands at noon."
LONG_AGO = time.time() - 3600


class PowerCut(BaseException):
    """Ends a look as a kill does: nothing after it is done, but what is not committed is gone."""


class Share:
    """A folder with its owner's account, looked at on demand."""

    def __init__(self, stores: Stores, root: Path, **described: Any) -> None:
        self.stores = stores
        self.root = root
        with stores.database.write() as session:
            self.owner_id = accounts.create_service_account(session, "librarian", [Role.EMPLOYEE]).id
        self.watched = WatchedFolder(
            kind="folder", name="share", path=root, owner=f"service:{self.owner_id}", **described
        )
        self.folder = Folder(self.watched)

    def put(self, name: str, content: str | bytes | None = None, *, at: float = LONG_AGO) -> Path:
        """Write a file that nobody has touched since `at`."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = NOTE.format(name=name) if content is None else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(path, (at, at))
        return path

    def look(self, **how: Any) -> Looked:
        """Look once."""
        looked = look_once(self.stores, self.watched, self.folder, **{"max_bytes": 100_000} | how)
        assert looked is not None
        return looked

    def ask(self, *, accept_deletions: bool = False) -> None:
        """Ask for a look, as an administrator does."""
        with self.stores.database.write() as session:
            standing.ask(session, self.watched.name, accept_deletions=accept_deletions)

    def lose_lease(self) -> None:
        """Let the time run out of a worker that went silent."""
        with self.stores.database.write() as session:
            row = session.get_one(SyncedItem, ("share", ""))
            asked_at, missing, accepted, _, lease_id = json.loads(row.state)
            row.state = json.dumps([asked_at, missing, accepted, 0, lease_id])

    @property
    def owner(self) -> Principal:
        """The owner as they are now."""
        with self.stores.database.read() as session:
            found = principal_of(
                session, session.get(User, self.owner_id), auth_method="test", secret_hash=""
            )
        assert found is not None
        return found

    def names(self) -> dict[str, str]:
        """Return the owner's documents by name, with their ids."""
        with self.stores.database.read() as session:
            found = documents.list_documents(session, scope_of(self.owner))
        return {document.name: document.id for document in found}

    def aside(self) -> dict[str, int]:
        """Return how many files were left aside, by reason."""
        with self.stores.database.read() as session:
            return dict(standing.problems_of(session, self.watched.name))

    def events(self) -> list[tuple[str, str | None]]:
        """Return what the record says of files and looks, oldest first, by type and outcome."""
        with self.stores.database.read() as session:
            raw = session.scalars(select(AuditInbox.leaf).order_by(AuditInbox.id)).all()
        leaves = [leaf for leaf in map(parse, raw) if leaf is not None]
        assert all(leaf.actor.sub == "system" for leaf in leaves if leaf.type != EventType.SYNC_REQUESTED)
        return [(str(leaf.type), leaf.outcome) for leaf in leaves if leaf.type != EventType.FILE_PARSED]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data folder once; migrating a new database takes a while."""
    folder = tmp_path_factory.mktemp("fresh") / "data"
    open_stores(Settings(data_dir=folder)).close()
    return folder


@pytest.fixture
def stores(fresh: Path, tmp_path: Path) -> Iterator[Stores]:
    """Open real stores; nothing here makes passages, so the embedding model is not loaded."""
    shutil.copytree(fresh, tmp_path / "data")
    opened = open_stores(Settings(data_dir=tmp_path / "data"))
    yield opened
    opened.close()


@pytest.fixture
def share(stores: Stores, tmp_path: Path) -> Share:
    """Make an empty folder with an owner."""
    root = tmp_path / "share"
    root.mkdir()
    return Share(stores, root)


def test_what_is_in_the_folder_becomes_documents_of_the_owner(share: Share) -> None:
    """Files of any depth are taken in under their relative names, once, by the queue for imports."""
    share.put("tides.md")
    share.put("sea/charts/north.md")
    assert share.look() == Looked(taken=2)
    assert set(share.names()) == {"tides.md", "sea/charts/north.md"}
    with share.stores.database.read() as session:
        assert set(session.scalars(select(Job.queue))) == {"bulk"}
        found_at = places.places_of(session, [share.names()["tides.md"]])
        assert [(place.source, place.name) for place in found_at[share.names()["tides.md"]]] == [
            ("share", "tides.md")
        ]
    assert share.look() == Looked()
    assert share.events() == [("file.uploaded", "ok")] * 2


def test_a_changed_file_is_a_new_version(share: Share) -> None:
    """Its document stays; a touch that changes no byte is no version."""
    path = share.put("tides.md")
    share.look()
    share.put("tides.md", "# Tides\n\nHigh water stands at one.", at=LONG_AGO + 5)
    assert share.look().taken == 1
    document_id = share.names()["tides.md"]
    os.utime(path, (LONG_AGO + 9, LONG_AGO + 9))
    assert share.look().taken == 1
    with share.stores.database.read() as session:
        assert documents.latest_version(session, document_id).number == 2
    assert share.look() == Looked()


def test_an_unchanged_file_is_not_read(share: Share) -> None:
    """Size and time decide; nobody opens a file that has both as before."""
    share.put("tides.md")
    share.look()
    opened: list[str] = []
    share.folder.read = lambda seen: opened.append(seen.name) or iter(())  # type: ignore[method-assign,assignment,func-returns-value]
    share.look()
    assert opened == []


def test_a_renamed_file_keeps_its_document(share: Share) -> None:
    """The new name is a place of the same bytes: no new version, no new job; it goes by the new name."""
    path = share.put("old.md")
    share.put("other.md")
    share.look()
    document_id = share.names()["old.md"]
    path.rename(share.root / "new.md")
    assert share.look() == Looked(taken=1)
    assert share.names()["new.md"] == document_id
    assert set(share.names()) == {"new.md", "other.md"}
    with share.stores.database.read() as session:
        assert len(session.scalars(select(DocumentVersion)).all()) == 2
        assert len(session.scalars(select(Job)).all()) == 2
    assert share.events()[-2:] == [("file.uploaded", "ok"), ("file.unplaced", "ok")]


def test_a_deleted_file_leaves_every_store(share: Share) -> None:
    """Rows, passages, points and the encrypted original go, and the record says so."""
    path = share.put("tides.md")
    share.put("other.md")
    share.look()
    document_id = share.names()["tides.md"]
    with share.stores.database.write() as session:
        version_id = documents.latest_version(session, document_id).id
        session.add(
            Chunk(
                id=version_id,
                version_id=version_id,
                document_id=document_id,
                ordinal=0,
                sha256="0" * 64,
                sealed=b"sealed",
            )
        )
    dense = np.ones(share.stores.embedder.dimensions, dtype=np.float32)
    share.stores.index.upsert([Point(version_id, dense, "tides", document_id, version_id, DocumentAccess())])
    assert share.stores.index.count(document_id=document_id) == 1
    path.unlink()
    assert share.look() == Looked(removed=1)
    assert set(share.names()) == {"other.md"}
    assert share.stores.index.count(document_id=document_id) == 0
    assert not share.stores.files.exists(version_id)
    with share.stores.database.read() as session:
        assert session.get(Document, document_id) is None
        assert session.get(Chunk, version_id) is None
    assert share.events()[-1] == ("file.deleted", "ok")


def test_what_is_found_elsewhere_too_stays(share: Share) -> None:
    """A deleted copy takes its name away, and no document."""
    share.put("a.md", "# Same\n\nThe same bytes twice.")
    copy = share.put("b.md", "# Same\n\nThe same bytes twice.")
    share.put("c.md")
    share.look()
    assert set(share.names()) == {"a.md", "c.md"}
    copy.unlink()
    assert share.look() == Looked()
    assert set(share.names()) == {"a.md", "c.md"}
    (share.root / "a.md").unlink()
    assert share.look().removed == 1


def test_a_file_that_is_being_written_waits(share: Share) -> None:
    """Fresh files are left until nobody has touched them, or until two looks find them the same."""
    share.put("done.md")
    share.put("growing.md", "# Half", at=time.time())
    assert share.look() == Looked(taken=1, waiting=1)
    share.put("growing.md", "# Whole\n\nAnd the rest of it.", at=time.time() + 60)
    assert share.look() == Looked(waiting=1)
    # A clock ahead of ours: the time never gets old, but the file has stopped changing.
    assert share.look() == Looked(taken=1)


def test_a_file_that_changes_while_it_is_read_waits(share: Share) -> None:
    """Neither half of it is stored; the next look takes in what became of it."""
    share.put("big.txt", b"one line of text\n" * 100_000)
    seen = next(iter(share.folder.look().found.values()))

    def rewrite() -> None:
        share.put("big.txt", b"another line of text\n" * 100_000, at=LONG_AGO + 5)

    assert share.look(check=_on_call(3, rewrite), max_bytes=10_000_000) == Looked(waiting=1)
    assert share.names() == {}
    assert not [path for path in (share.stores.files._root).rglob("*") if path.is_file()]
    assert share.look(max_bytes=10_000_000).taken == 1
    assert seen.name in share.names()


def test_an_empty_folder_removes_nothing(share: Share) -> None:
    """It looks like a share that is not mounted: loud on the record, once; what comes back is known."""
    share.put("tides.md")
    share.look()
    share.root.joinpath("tides.md").rename(share.root.parent / "tides.md")
    assert share.look() == Looked(missing=1, reason="empty")
    assert share.look().reason == "empty"
    assert share.events()[1:] == [("sync.halted", "empty")]
    (share.root.parent / "tides.md").rename(share.root / "tides.md")
    assert share.look() == Looked()
    assert set(share.names()) == {"tides.md"}


def test_a_folder_that_is_not_there_removes_nothing(share: Share) -> None:
    """Nothing is known about its files, and no confirmation helps."""
    share.put("tides.md")
    share.look()
    share.root.rename(share.root.parent / "elsewhere")
    assert share.look() == Looked(reason="unreachable")
    with pytest.raises(Exception, match="wait for a confirmation"):
        share.ask(accept_deletions=True)
    assert set(share.names()) == {"tides.md"}


def test_losing_most_files_waits_for_a_confirmation(share: Share) -> None:
    """It is for as many as were counted then; when more are missing by now, it waits again."""
    for number in range(24):
        share.put(f"{number}.md")
    share.look()
    for number in range(13):
        (share.root / f"{number}.md").unlink()
    assert share.look() == Looked(missing=13, reason="many_missing")
    assert len(share.names()) == 24
    share.ask(accept_deletions=True)
    (share.root / "13.md").unlink()
    assert share.look() == Looked(missing=14, reason="many_missing")
    assert share.look().reason == "many_missing"
    share.ask(accept_deletions=True)
    assert share.look() == Looked(removed=14)
    assert len(share.names()) == 10
    with pytest.raises(Exception, match="wait for a confirmation"):
        share.ask(accept_deletions=True)


def test_a_folder_that_is_renamed_is_no_loss(share: Share) -> None:
    """All names change and all documents stay, so nobody is asked."""
    for number in range(22):
        share.put(f"2025/{number}.md")
    share.put("index.md")
    share.look()
    before = set(share.names().values())
    (share.root / "2025").rename(share.root / "2026")
    assert share.look() == Looked(taken=22)
    assert set(share.names().values()) == before
    assert "2026/7.md" in share.names()


def test_links_and_scratch_files_are_not_watched(share: Share, tmp_path: Path) -> None:
    """Nothing outside the folder is read, and nothing that programs leave lying about."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("# Secret")
    os.utime(outside / "secret.md", (LONG_AGO, LONG_AGO))
    (share.root / "link.md").symlink_to(outside / "secret.md")
    (share.root / "linked").symlink_to(outside)
    os.mkfifo(share.root / "pipe.md")
    for name in (".hidden.md", ".git/notes.md", "~$report.docx", "report.docx.part", "note.md~"):
        share.put(name)
    assert share.look() == Looked()


def test_a_link_that_is_put_in_a_folders_way_is_not_followed(share: Share, tmp_path: Path) -> None:
    """Between the listing and the reading somebody may swap a folder for a link."""
    share.put("sea/tides.md")
    seen = next(iter(share.folder.look().found.values()))
    (share.root / "sea").rename(tmp_path / "sea")
    (share.root / "sea").symlink_to(tmp_path / "sea")
    with pytest.raises(Unsettled):
        list(share.folder.read(seen))


def test_patterns_choose_what_is_watched(stores: Stores, tmp_path: Path) -> None:
    """`*` crosses folders; what is excluded is not there."""
    root = tmp_path / "some"
    root.mkdir()
    some = Share(stores, root, include=["*.md"], exclude=["drafts/*"])
    for name in ("a.md", "deep/b.md", "c.txt", "drafts/d.md"):
        some.put(name)
    some.look()
    assert set(some.names()) == {"a.md", "deep/b.md"}


def test_what_cannot_be_taken_in_is_left_aside_with_its_reason(share: Share) -> None:
    """The others go on; what is refused for its content is not read again until it changes."""
    share.put("fine.md")
    share.put("empty.md", b"")
    share.put("program.bin", b"\x7fELF" + bytes(64))
    share.put("long.txt", b"too long a text\n" * 10_000)
    share.put("line\nbreak.md")
    assert share.look() == Looked(taken=1, aside=4)
    assert share.aside() == {"empty": 1, "unsupported_type": 1, "too_large": 1, "bad_name": 1}
    assert share.look() == Looked()
    share.put("empty.md", "# Filled\n\nNow there is text.", at=LONG_AGO + 5)
    assert share.look() == Looked(taken=1)
    share.ask()
    assert share.look(max_bytes=1_000_000) == Looked(taken=1, aside=1)
    assert share.aside() == {"unsupported_type": 1, "bad_name": 1}


def test_a_file_that_may_not_be_read_says_so(share: Share, tmp_path: Path) -> None:
    """It is listed like the others, so nobody takes it for gone."""
    path = share.put("closed.md")
    share.put("open.md")
    path.chmod(0o000)
    with _as_nobody(share.root, tmp_path):
        listing = share.folder.look()
        refused = next(seen for seen in listing.found.values() if seen.name == "closed.md")
        with pytest.raises(NotReadable):
            list(share.folder.read(refused))


def test_a_part_that_cannot_be_listed_removes_nothing(share: Share, tmp_path: Path) -> None:
    """What is in a closed folder may still be there, so nobody concludes that it is gone."""
    share.put("closed/a.md")
    share.put("open.md")
    (share.root / "closed").chmod(0o000)
    with _as_nobody(share.root, tmp_path):
        listing = share.folder.look()
    assert not listing.complete
    assert [seen.name for seen in listing.found.values()] == ["open.md"]
    share.put("closed/a.md")
    share.look()
    (share.root / "open.md").unlink()
    share.folder.look = lambda: Listing(listing.found | {}, complete=False)  # type: ignore[method-assign]
    assert share.look() == Looked(missing=1, reason="incomplete")


def test_anothers_document_of_the_same_name_is_left_alone(share: Share) -> None:
    """What the owner uploaded does not become a version of a folder's file."""
    with share.stores.database.write() as session:
        document = documents.create_document(session, owner=f"service:{share.owner_id}", name="tides.md")
        documents.add_version(
            session, document, version_id="v" * 36, sha256="0" * 64, size=1, wrapped_key=b"k"
        )
    share.put("tides.md")
    assert share.look() == Looked(aside=1)
    assert share.aside() == {"name_taken": 1}
    with share.stores.database.read() as session:
        assert documents.latest_version(session, document.id).number == 1


def test_files_go_into_the_collection(stores: Stores, tmp_path: Path) -> None:
    """Its readers become theirs; without the collection nothing is taken in."""
    (tmp_path / "shelf").mkdir()
    shelf = Share(stores, tmp_path / "shelf")
    with stores.database.write() as session:
        made = create_collection(session, owner=f"service:{shelf.owner_id}", name="Shelf").id
    shelf.watched = shelf.watched.model_copy(update={"collection": made})
    shelf.put("tides.md")
    assert shelf.look().taken == 1
    assert [kind for kind, _ in shelf.events()] == ["file.moved", "file.uploaded"]
    with stores.database.read() as session:
        assert session.get_one(Document, shelf.names()["tides.md"]).collection_id == made
    shelf.watched = shelf.watched.model_copy(update={"collection": "gone"})
    shelf.put("more.md")
    assert shelf.look() == Looked(reason="no_collection")


def test_a_closed_account_takes_nothing_in(share: Share) -> None:
    """Nobody could say any more who may read it, and nothing is removed either."""
    share.put("tides.md")
    share.look()
    with share.stores.database.write() as session:
        session.get_one(User, share.owner_id).disabled_at = 1
    share.put("more.md")
    (share.root / "tides.md").unlink()
    assert share.look() == Looked(reason="no_owner")
    with share.stores.database.read() as session:
        assert len(session.scalars(select(Document)).all()) == 1


def test_a_crash_between_two_files_leaves_nothing_half_done(share: Share) -> None:
    """The row, the document, the job and the record of a file stand together, or none of them."""
    for name in ("a.md", "b.md", "c.md"):
        share.put(name)
    with _commit_fails(share.stores, at=3), pytest.raises(PowerCut):
        share.look()
    with share.stores.database.read() as session:
        items = session.scalars(select(SyncedItem.document_id).where(SyncedItem.item != "")).all()
        assert set(items) == set(session.scalars(select(Document.id)))
        assert len(items) == len(session.scalars(select(Job)).all()) == len(share.events()) == 1
    share.lose_lease()
    assert share.look().taken == 2
    assert set(share.names()) == {"a.md", "b.md", "c.md"}
    assert len([path for path in share.stores.files._root.rglob("*") if path.is_file()]) == 3


def test_a_crash_in_the_middle_of_a_removal_is_mended(share: Share) -> None:
    """A document whose deletion is on the record answers nothing, and the next start removes the rest."""
    path = share.put("a.md")
    share.put("b.md")
    share.look()
    path.unlink()
    with _commit_fails(share.stores, at=3), pytest.raises(PowerCut):
        share.look()
    assert set(share.names()) == {"b.md"}
    mend(share.stores.database, share.stores.index, share.stores.files)
    with share.stores.database.read() as session:
        assert len(session.scalars(select(Document)).all()) == 1
    share.lose_lease()
    assert share.look() == Looked()


def test_one_worker_looks_at_a_time(share: Share) -> None:
    """While one has the lease, another does nothing; one whose lease ran out changes nothing any more."""
    share.put("tides.md")
    lease = standing.take(share.stores.database, "share")
    assert lease is not None
    assert look_once(share.stores, share.watched, share.folder, max_bytes=100_000) is None
    with share.stores.database.write() as session:
        standing.end(session, lease, reason=None, missing=0)

    def overtake() -> None:
        share.lose_lease()
        assert standing.take(share.stores.database, "share") is not None

    with pytest.raises(LostLease):
        share.look(check=_on_call(2, overtake))
    assert share.names() == {}


def test_a_look_that_is_stopped_is_asked_for_again(share: Share) -> None:
    """A server that stops gives the lease back, and the next one begins at once."""
    share.put("tides.md")
    share.ask()

    def stop() -> None:
        raise Stopping

    with pytest.raises(Stopping):
        share.look(check=stop)
    with share.stores.database.read() as session:
        stands = standing.standing_of(session, "share")
    assert stands.is_asked_for
    assert not stands.is_being_looked_at(0)
    assert share.look().taken == 1


def _on_call(number: int, action: Callable[[], None]) -> Callable[[], None]:
    """Return a check that does something when it is called for the `number`th time."""
    calls = iter(range(1, 1_000_000))

    def check() -> None:
        if next(calls) == number:
            action()

    return check


@contextmanager
def _commit_fails(stores: Stores, *, at: int) -> Iterator[None]:
    """Let the commit of the `at`th transaction that writes fail, as when the power goes."""
    written = iter(range(1, 1_000_000))

    def fail(connection: Any) -> None:
        if connection.in_transaction() and connection.info.pop("writes", False) and next(written) == at:
            raise PowerCut

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN IMMEDIATE"):
            connection.info["writes"] = True

    event.listen(stores.database.engine, "before_cursor_execute", note)
    event.listen(stores.database.engine, "commit", fail)
    try:
        yield
    finally:
        event.remove(stores.database.engine, "before_cursor_execute", note)
        event.remove(stores.database.engine, "commit", fail)


@contextmanager
def _as_nobody(root: Path, tmp_path: Path) -> Iterator[None]:
    """Look with the rights of an account that owns nothing, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (root, tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
