"""Suggestions: what matches, in which order, and what must not show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from infra import sharing, titles
from infra.access import AccessScope, Principal, Role, scope_of
from infra.clock import now_ms
from infra.collections import create_collection
from infra.database import Database
from infra.database.tables import Document, DocumentGrant, User
from infra.documents import add_version, create_document
from infra.settings import Settings
from infra.stores import open_database
from infra.titles import MAX_SUGGESTIONS, suggest

ADA = Principal(user_id="ada", kind="user", roles=frozenset({Role.EMPLOYEE}))
BEN = Principal(user_id="ben", kind="user", roles=frozenset(Role))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a fresh database with two accounts."""
    opened, _ = open_database(Settings(data_dir=tmp_path))
    with opened.write() as session:
        for who in (ADA, BEN):
            session.add(
                User(id=who.user_id, kind="user", name=who.user_id, roles=["employee"], created_at=now_ms())
            )
    yield opened
    opened.close()


def made(session: Session, name: str, *, title: str | None = None, owner: Principal = ADA) -> Document:
    """Add a document, with a version when it has a title."""
    document = create_document(session, owner=owner.principal_id, name=name)
    if title is not None:
        version_id = document.id[::-1]
        version = add_version(
            session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=b"k"
        )
        version.title, document.version_id = title, version.id
    return document


def suggested(database: Database, typed: str, who: Principal | AccessScope = ADA) -> list[str]:
    """Return the texts that are suggested."""
    scope = who if isinstance(who, AccessScope) else scope_of(who)
    with database.read() as session:
        return [suggestion.text for suggestion in suggest(session, scope, typed)]


@pytest.mark.parametrize(
    "typed", ["ann", "ANN", "leave", "annual le", "  annual   leave ", "2026", "leave-2026", "leave_20"]
)
def test_a_word_is_found_by_its_beginning(database: Database, typed: str) -> None:
    """Any word counts, and several that follow each other; case, blanks and signs do not matter."""
    with database.write() as session:
        made(session, "Annual leave_2026.pdf")
        made(session, "canteen.md")
    assert suggested(database, typed) == ["Annual leave_2026.pdf"]


@pytest.mark.parametrize("typed", ["nnual", "leave annual", "%", "_", "a%e", "an_ual", "-", "\\"])
def test_nothing_else_is_found(database: Database, typed: str) -> None:
    """Not the middle of a word, not another order; signs that SQL knows as wildcards are only signs."""
    with database.write() as session:
        made(session, "Annual leave.pdf")
    assert suggested(database, typed) == []


@pytest.mark.parametrize("typed", ["resume", "RÉSUMÉ", "re\u0301su", "strasse", "straße"])
def test_accents_do_not_matter(database: Database, typed: str) -> None:
    """Neither in the name, composed or decomposed, nor in what is typed."""
    with database.write() as session:
        made(session, "Résumé Straße.pdf")
        made(session, "Re\u0301sume\u0301 Strasse.pdf")
    assert len(suggested(database, typed)) == 2


def test_the_title_is_suggested_before_the_file_name(database: Database) -> None:
    """People know a document by its title; its file name is found as well."""
    with database.write() as session:
        made(session, "doc17.pdf", title="Annual leave")
    assert suggested(database, "leave") == ["Annual leave"]
    assert suggested(database, "doc") == ["doc17.pdf"]


def test_the_newest_come_first_and_not_too_many(database: Database) -> None:
    """Nothing typed gives the newest documents."""
    with database.write() as session:
        for number in range(MAX_SUGGESTIONS + 3):
            made(session, f"note {number}.md")
    newest = [f"note {number}.md" for number in range(MAX_SUGGESTIONS + 2, 2, -1)]
    assert suggested(database, "") == newest
    assert suggested(database, "note") == newest


def test_another_persons_titles_are_hidden(database: Database) -> None:
    """Hidden from Ben, whatever his roles: Ada's titles. Visible: his own, and Ada's to her."""
    with database.write() as session:
        made(session, "merger.pdf", title="Merger with Halden")
        made(session, "menu.md", owner=BEN)
    assert suggested(database, "me", BEN) == ["menu.md"]
    assert suggested(database, "halden", BEN) == []
    assert suggested(database, "halden", ADA) == ["Merger with Halden"]


@pytest.mark.parametrize("by", ["deny", "clearance", "compartment", "deleted", "collection compartment"])
def test_each_rule_hides_a_title(database: Database, by: str) -> None:
    """Hidden from Ben by each rule alone, although it is shared with him. Visible: before the rule."""
    with database.write() as session:
        document = made(session, "merger.pdf")
        session.add(DocumentGrant(document_id=document.id, principal=BEN.principal_id, effect="allow"))
    assert suggested(database, "merger", BEN) == ["merger.pdf"]
    with database.write() as session:
        document = session.get_one(Document, document.id)
        if by == "deny":
            session.add(DocumentGrant(document_id=document.id, principal=BEN.principal_id, effect="deny"))
        elif by == "clearance":
            document.clearance = 1
        elif by == "compartment":
            document.compartments = ["board"]
        elif by == "deleted":
            document.deleted_at = 1
        else:
            collection = create_collection(session, owner=ADA.principal_id, name="Board")
            sharing.share_collection(session, collection, BEN.principal_id)
            sharing.put_into(session, document, collection)
            sharing.label_collection(session, collection, clearance=0, compartments=frozenset({"board"}))
    assert suggested(database, "merger", BEN) == []


def test_the_limit_does_not_count_what_is_hidden(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer documents that a compartment hides push nothing out of what is looked through."""
    monkeypatch.setattr(titles, "LOOKED_THROUGH", 2)
    with database.write() as session:
        made(session, "old note.md")
        made(session, "note.md")
        for number in range(3):
            made(session, f"note {number}.md").compartments = ["board"]
    assert suggested(database, "note") == ["note.md", "old note.md"]


def test_the_re_check_works_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL would show everything. Hidden from Ben: ten newer titles of Ada's. Visible: his own, older one."""
    monkeypatch.setattr(titles, "readable", lambda _scope: Document.deleted_at.is_(None))
    with database.write() as session:
        made(session, "note old.md", owner=BEN)
        for number in range(MAX_SUGGESTIONS + 2):
            made(session, f"note {number}.md")
    assert suggested(database, "note", BEN) == ["note old.md"]
