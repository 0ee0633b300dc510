"""Access lists: what a collection hands down, what narrows it, and that leaving it shows nobody more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from access_people import ADA, BEN, CLEO, DAN, EVERYBODY, TEAM, cleared, opened, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from infra import collections, documents, sharing
from infra.access import EVERYONE, Principal, scope_of
from infra.database.tables import Collection, CollectionGrant, Document, DocumentGrant
from infra.epoch import current_epoch
from infra.errors import Conflict, InvalidInput, NotFound
from infra.sharing import MAX_LINES, Restriction


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One open transaction; Ada, Ben, Cleo and Dan have accounts, and Ben is in the team."""
    with opened(tmp_path) as session:
        yield session


@pytest.fixture
def shelf(session: Session) -> Collection:
    """A collection of Ada's that the team may read."""
    shelf = collections.create_collection(session, owner=ADA.principal_id, name="Shelf")
    sharing.share_collection(session, shelf, TEAM)
    return shelf


@pytest.fixture
def report(session: Session, shelf: Collection) -> Document:
    """A document of Ada's on the shelf."""
    report = documents.create_document(session, owner=ADA.principal_id, name="report.md")
    sharing.put_into(session, report, shelf)
    return report


# --- what a collection hands down -----------------------------------------------------------------


def test_a_document_inherits_its_collections_readers(
    session: Session, shelf: Collection, report: Document
) -> None:
    """Hidden from Cleo and Dan. Visible to Ada and, by the team, to Ben; and to Cleo once she is let in."""
    assert readers(session, report) == {"ada", "ben"}
    sharing.share_collection(session, shelf, CLEO.principal_id)
    assert readers(session, report) == {"ada", "ben", "cleo"}
    sharing.unshare_collection(session, shelf, TEAM)
    assert readers(session, report) == {"ada", "cleo"}


def test_what_a_document_was_shared_with_before_does_not_let_anybody_in(
    session: Session, shelf: Collection
) -> None:
    """Hidden from Cleo, who could read it outside. Visible to the shelf's readers."""
    memo = documents.create_document(session, owner=ADA.principal_id, name="memo.md")
    sharing.share(session, memo, CLEO.principal_id)
    assert readers(session, memo) == {"ada", "cleo"}
    sharing.put_into(session, memo, shelf)
    assert readers(session, memo) == {"ada", "ben"}


def test_a_document_only_narrows_its_collection(session: Session, report: Document) -> None:
    """Hidden from Ben, who is not named, and from Cleo, who is named but not let in. Visible to Ada."""
    sharing.restrict(session, report, Restriction(only=frozenset({ADA.principal_id, CLEO.principal_id})), ADA)
    assert readers(session, report) == {"ada"}
    sharing.restrict(session, report, Restriction(), ADA)
    assert readers(session, report) == {"ada", "ben"}


@pytest.mark.parametrize("where", ["document", "collection"])
def test_a_denial_wins_over_every_grant(
    session: Session, shelf: Collection, report: Document, where: str
) -> None:
    """Hidden from Ben, for whom team and everyone are let in. Visible to everybody else."""
    sharing.share_collection(session, shelf, EVERYONE)
    assert readers(session, report) == {"ada", "ben", "cleo", "dan"}
    if where == "document":
        sharing.share(session, report, TEAM, effect="deny")
    else:
        sharing.share_collection(session, shelf, BEN.principal_id, effect="deny")
    assert readers(session, report) == {"ada", "cleo", "dan"}


def test_the_stricter_label_counts(session: Session, shelf: Collection, report: Document) -> None:
    """Hidden from whoever lacks the collection's or the document's label. Visible to Dan, who has both."""
    sharing.share_collection(session, shelf, EVERYONE)
    sharing.label_collection(session, shelf, clearance=1, compartments=frozenset())
    assert readers(session, report) == {"dan"}
    director = cleared(ADA, 2, "board")
    sharing.restrict(session, report, Restriction(compartments=frozenset({"board"})), director)
    assert readers(session, report) == {"dan"}
    sharing.label_collection(session, shelf, clearance=3, compartments=frozenset())
    assert readers(session, report) == set()


def test_a_share_inside_a_collection_is_refused(session: Session, report: Document) -> None:
    """It could only narrow, which nobody who shares means; a denial is possible."""
    with pytest.raises(Conflict):
        sharing.share(session, report, CLEO.principal_id)
    with pytest.raises(Conflict):
        sharing.share_only_with(session, report, {CLEO.principal_id})
    assert sharing.share(session, report, BEN.principal_id, effect="deny")
    assert readers(session, report) == {"ada"}


# --- coming out -----------------------------------------------------------------------------------


def test_a_document_that_is_taken_out_is_its_owners_alone(
    session: Session, shelf: Collection, report: Document
) -> None:
    """Hidden from Ben, who read it inside. Visible to Ada; and it keeps labels and denials."""
    sharing.share_collection(session, shelf, BEN.principal_id, effect="deny")
    sharing.share(session, report, CLEO.principal_id, effect="deny")
    sharing.take_out(session, report)
    assert readers(session, report) == {"ada"}
    assert sharing.restriction_of(session, report).deny == {BEN.principal_id, CLEO.principal_id}
    sharing.share(session, report, EVERYONE)
    assert readers(session, report) == {"ada", "dan"}


def test_a_document_moves_through_its_owners_hands_alone(
    session: Session, shelf: Collection, report: Document
) -> None:
    """Hidden from Cleo until it is on her shelf. Refused: straight from one collection to another."""
    other = collections.create_collection(session, owner=ADA.principal_id, name="Other")
    sharing.share_collection(session, other, CLEO.principal_id)
    with pytest.raises(Conflict):
        sharing.put_into(session, report, other)
    sharing.take_out(session, report)
    assert readers(session, report) == {"ada"}
    sharing.put_into(session, report, other)
    assert readers(session, report) == {"ada", "cleo"}


PRINCIPAL = st.sampled_from([*(who.principal_id for who in EVERYBODY), TEAM, EVERYONE])
LABELS = st.tuples(
    st.sampled_from([0, 0, 1]), st.sampled_from([frozenset(), frozenset(), frozenset({"board"})])
)
# Few denials and low labels, so that most worlds have somebody to lose something.
LINES = st.tuples(st.frozensets(PRINCIPAL, min_size=1), st.frozensets(PRINCIPAL, max_size=1))


@pytest.mark.parametrize("way", ["taken out", "collection deleted"])
def test_nobody_gains_a_document_that_leaves_its_collection(tmp_path: Path, way: str) -> None:
    """For any lists and labels: whoever reads it afterwards read it before, or is its owner."""
    lost = 0
    with opened(tmp_path) as session:

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            collection_lines=LINES,
            collection_label=LABELS,
            own_lines=LINES,
            own_label=LABELS,
            inherits=st.booleans(),
            owner=st.sampled_from(EVERYBODY),
        )
        def leave(
            collection_lines: tuple[frozenset[str], frozenset[str]],
            collection_label: tuple[int, frozenset[str]],
            own_lines: tuple[frozenset[str], frozenset[str]],
            own_label: tuple[int, frozenset[str]],
            inherits: bool,
            owner: Principal,
        ) -> None:
            nonlocal lost
            collection = collections.create_collection(session, owner=ADA.principal_id, name="Any")
            document = documents.create_document(session, owner=owner.principal_id, name="any.md")
            sharing.put_into(session, document, collection)
            document.inherits = inherits
            for holder, lines, label in (
                (collection, collection_lines, collection_label),
                (document, own_lines, own_label),
            ):
                set_lines(session, holder, *lines)
                holder.clearance, holder.compartments = label[0], sorted(label[1])
            before = readers(session, document)
            if way == "taken out":
                sharing.take_out(session, document)
            else:
                collections.delete_collection(session, collection)
            after = readers(session, document)
            assert after <= before | {owner.user_id}
            lost += bool(before - after)
            session.delete(document)

        leave()
        # Otherwise the examples would have been too tame to show anything.
        assert lost


def set_lines(
    session: Session, holder: Document | Collection, allow: frozenset[str], deny: frozenset[str]
) -> None:
    """Put any lines on an access list, also such as no function would make."""
    session.flush()
    table, key = (
        (DocumentGrant, "document_id") if isinstance(holder, Document) else (CollectionGrant, "collection_id")
    )
    for line in session.scalars(select(table).where(getattr(table, key) == holder.id)):
        session.delete(line)
    session.flush()
    for effect, principals in (("allow", allow), ("deny", deny)):
        for principal in principals:
            session.add(table(**{key: holder.id}, principal=principal, effect=effect))
    session.flush()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        Restriction(deny=frozenset({EVERYONE})),
        Restriction(deny=frozenset({ADA.principal_id})),
        Restriction(only=frozenset({BEN.principal_id})),
        Restriction(clearance=1),
        Restriction(compartments=frozenset({"board"})),
    ],
    ids=["everyone", "self", "only others", "clearance", "compartment"],
)
def test_nobody_shuts_themselves_out(session: Session, report: Document, wanted: Restriction) -> None:
    """A restriction set by mistake must be the owner's to take back."""
    with pytest.raises(Conflict):
        sharing.restrict(session, report, wanted, ADA)


@pytest.mark.parametrize(
    "wanted",
    [
        Restriction(clearance=-1),
        Restriction(clearance=101),
        Restriction(compartments=frozenset({""})),
        Restriction(compartments=frozenset({" board"})),
        Restriction(compartments=frozenset({"bo\x00ard"})),
        Restriction(compartments=frozenset({"x" * 61})),
        Restriction(compartments=frozenset(str(n) for n in range(51))),
        Restriction(deny=frozenset({"user:nobody"})),
        Restriction(deny=frozenset({"group:local:\x00"})),
        Restriction(only=frozenset({ADA.principal_id, "ada"})),
    ],
)
def test_a_malformed_restriction_is_refused(session: Session, report: Document, wanted: Restriction) -> None:
    """Values out of range and unknown principals are a typed error, and change nothing."""
    with pytest.raises(InvalidInput):
        sharing.restrict(session, report, wanted, ADA)
    assert sharing.restriction_of(session, report) == Restriction()


def test_ten_thousand_lines_are_refused_before_anything_is_looked_up(
    session: Session, report: Document
) -> None:
    """The refusal costs no statement at all."""
    many = frozenset(f"user:{number}" for number in range(10_000))
    statements: list[str] = []
    session.flush()
    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    for wanted in (Restriction(only=many), Restriction(deny=many)):
        with pytest.raises(InvalidInput, match=f"{MAX_LINES:,}"):
            sharing.restrict(session, report, wanted, ADA)
    with pytest.raises(InvalidInput, match=f"{MAX_LINES:,}"):
        sharing.share_only_with(session, report, many)
    assert statements == []
    sharing.unknown_principals(session, many)
    assert statements


def test_the_last_line_that_fits_is_the_thousandth(session: Session) -> None:
    """Share by share, one comes as far as with a whole list, and no further."""
    memo = documents.create_document(session, owner=ADA.principal_id, name="memo.md")
    for number in range(MAX_LINES - 1):
        session.add(DocumentGrant(document_id=memo.id, principal=f"user:{number}", effect="allow"))
    session.flush()
    with pytest.raises(InvalidInput, match=f"{MAX_LINES:,}"):
        sharing.share(session, memo, BEN.principal_id)
    assert readers(session, memo) == {"ada"}


# --- small things ---------------------------------------------------------------------------------


def test_sharing_with_a_list_replaces_the_one_before(session: Session) -> None:
    """Hidden from Ben, who is not on the new list. Visible to Cleo, and to Ada, who need not be on it."""
    memo = documents.create_document(session, owner=ADA.principal_id, name="memo.md")
    sharing.share(session, memo, BEN.principal_id)
    sharing.share_only_with(session, memo, {CLEO.principal_id})
    assert readers(session, memo) == {"ada", "cleo"}


def test_every_change_raises_both_epochs(session: Session, shelf: Collection, report: Document) -> None:
    """The document's, so that the index follows; the one of all access, so that no cache outlives it."""
    changes = [
        lambda: sharing.share_collection(session, shelf, DAN.principal_id),
        lambda: sharing.unshare_collection(session, shelf, DAN.principal_id),
        lambda: sharing.label_collection(session, shelf, clearance=0, compartments=frozenset()),
        lambda: sharing.share(session, report, BEN.principal_id, effect="deny"),
        lambda: sharing.unshare(session, report, BEN.principal_id, effect="deny"),
        lambda: sharing.restrict(session, report, Restriction(), ADA),
        lambda: sharing.take_out(session, report),
        lambda: sharing.share_only_with(session, report, set()),
        lambda: sharing.put_into(session, report, shelf),
    ]
    for change in changes:
        own, common = report.acl_epoch, current_epoch(session)
        change()
        session.flush()
        session.refresh(report)
        assert (report.acl_epoch, current_epoch(session)) == (own + 1, common + 1)


def test_labels_are_what_people_call_each_other(session: Session) -> None:
    """Names for people and groups; who is gone is somebody who left."""
    assert sharing.labels_of(session, [ADA.principal_id, TEAM, EVERYONE, "user:gone"]) == {
        ADA.principal_id: "ada",
        TEAM: "Team",
        EVERYONE: "Everyone",
        "user:gone": "somebody who left",
    }


def test_a_group_that_one_is_not_in_has_no_name(session: Session) -> None:
    """Hidden from Ada: the team, as if there were none. Visible to Ben, who is in it, and to an admin."""
    asked = [ADA.principal_id, TEAM, "group:local:none"]
    hidden = {ADA.principal_id: "ada", TEAM: "a group", "group:local:none": "a group"}
    assert sharing.labels_for(session, ADA, asked) == hidden
    assert sharing.labels_for(session, BEN, asked) == {**hidden, TEAM: "Team"}
    assert sharing.labels_for(session, CLEO, asked)[TEAM] == "Team"


@pytest.mark.parametrize("principal", [TEAM, "group:local:none", "team", ""])
def test_only_ones_own_groups_can_be_named(principal: str) -> None:
    """Refused to Ada and to an auditor: the team, just like one that there is not. Ben and Cleo name it."""
    for who in (ADA, DAN):
        with pytest.raises(InvalidInput) as refused:
            sharing.refuse_foreign_groups(who, [EVERYONE, BEN.principal_id, principal])
        assert str(refused.value) == str(sharing.no_such_principal())
    sharing.refuse_foreign_groups(BEN, [EVERYONE, TEAM, ADA.principal_id])
    sharing.refuse_foreign_groups(CLEO, [principal])


def test_a_name_of_another_kind_is_nobody(session: Session) -> None:
    """A service called like a person's id is not that person."""
    assert sharing.unknown_principals(session, ["user:ada", "service:ada", TEAM, "group:x", "a\x00"]) == {
        "service:ada",
        "group:x",
        "a\x00",
    }
    with pytest.raises(NotFound):
        sharing.unshare(
            session, documents.create_document(session, owner="user:ada", name="x"), "service:ada"
        )


def test_a_restricted_reader_is_checked_in_both_ways(session: Session, report: Document) -> None:
    """The list and the single read agree for a reader of the collection that the document leaves out."""
    sharing.restrict(session, report, Restriction(deny=frozenset({BEN.principal_id})), ADA)
    assert documents.list_documents(session, scope_of(BEN)) == []
    with pytest.raises(NotFound):
        documents.get_document(session, scope_of(BEN), report.id)
