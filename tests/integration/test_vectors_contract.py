"""One contract for both vector indexes, and what only the in-process engine promises.

The server adapter runs against the server that STRONGROOM_TEST_QDRANT_URL names, or else against
`tests.qdrant_server` in a process of its own: a real HTTP client over Qdrant's in-process engine. That has
no snapshots and no HNSW, so neither is claimed for the server adapter here.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.access import EVERYONE, AccessScope, DocumentAccess, Principal, may_read, scope_of
from infra.clock import new_id
from infra.errors import AddressRefused, ConfigurationError, Conflict
from infra.vectors import (
    RRF_K,
    SCROLL_PAGE,
    EdgeIndex,
    Hit,
    IndexUnavailable,
    Point,
    ServerIndex,
    VectorIndex,
    connect_server,
    point_id,
)
from infra.vectors.index import payload_of
from infra.vectors.readable import ReadableDocuments
from tests.qdrant_server import qdrant_server

ROOT = Path(__file__).parents[2]
SERVER_URL = os.environ.get("STRONGROOM_TEST_QDRANT_URL")
DIMENSIONS = 4
EAST, NORTH, UP = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
FOR_ALL = DocumentAccess(allow=frozenset({EVERYONE}))
NOBODY = DocumentAccess()

Opener = Callable[..., VectorIndex]


def scope(
    user: str = "ann",
    *,
    groups: set[str] | None = None,
    clearance: int = 0,
    compartments: set[str] | None = None,
) -> AccessScope:
    return scope_of(
        Principal(
            user_id=user,
            kind="user",
            roles=frozenset(),
            group_ids=frozenset(groups or ()),
            clearance=clearance,
            compartments=frozenset(compartments or ()),
        )
    )


def point(
    document: str,
    text: str = "",
    *,
    dense: tuple[float, ...] = EAST,
    version: str | None = None,
    ordinal: int = 0,
    access: DocumentAccess = FOR_ALL,
) -> Point:
    version = version or f"{document}-v1"
    identifier = point_id(str(uuid.uuid5(uuid.NAMESPACE_OID, version)), ordinal, "pipeline")
    return Point(identifier, dense, text, document, version, access)


def documents(hits: list[Hit]) -> list[str]:
    return [hit.document_id for hit in hits]


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server: the one that is named, or our own."""
    if SERVER_URL:
        yield SERVER_URL
        return
    with qdrant_server(tmp_path_factory.mktemp("qdrant")) as server:
        yield server.url


@pytest.fixture(params=["engine", "server"])
def opener(request: pytest.FixtureRequest, tmp_path: Path, server_url: str) -> Iterator[Opener]:
    """Open indexes of one kind; the same tag gives the same data."""
    opened: list[VectorIndex] = []
    unique = uuid.uuid4().hex[:8]

    def open_index(dimensions: int = DIMENSIONS, tag: str = "model") -> VectorIndex:
        index: VectorIndex
        if request.param == "engine":
            index = EdgeIndex(tmp_path / "index", dimensions, tag)
        else:
            client = connect_server(server_url, None, ["qdrant"])
            index = ServerIndex(client, dimensions, f"{tag}-{unique}")
        opened.append(index)
        return index

    yield open_index
    for index in opened:
        if index.healthy():
            index.close()
    if request.param == "server":
        cleaner = connect_server(server_url, None, ["qdrant"])
        for collection in cleaner.get_collections().collections:
            if unique in collection.name:
                cleaner.delete_collection(collection.name)
        cleaner.close()


@pytest.fixture
def index(opener: Opener) -> VectorIndex:
    """Open an empty index."""
    return opener()


# --- writing --------------------------------------------------------------------------------------


def test_upsert_replaces_a_point_with_the_same_id(index: VectorIndex) -> None:
    """A retried ingestion overwrites its points and duplicates none."""
    index.upsert([point("a", "old words")])
    index.upsert([point("a", "new words", dense=NORTH)])
    assert index.count() == 1
    assert index.search(scope(), NORTH, "", 5)[0].id == point("a").id


def test_upsert_of_nothing_is_fine(index: VectorIndex) -> None:
    """An empty batch changes nothing."""
    index.upsert([])
    assert index.count() == 0


def test_deleting_a_document_leaves_the_others(index: VectorIndex) -> None:
    """Every version's points go; another document's stay and are still found."""
    index.upsert([point("a"), point("a", version="a-v2"), point("b")])
    index.delete_document("a")
    assert index.count(document_id="a") == 0
    assert documents(index.search(scope(), EAST, "", 5)) == ["b"]


def test_deleting_a_version_leaves_its_sibling(index: VectorIndex) -> None:
    """The old passages of a changed document leave, the new ones stay."""
    index.upsert([point("a"), point("a", version="a-v2")])
    index.delete_version("a-v1")
    assert [hit.version_id for hit in index.search(scope(), EAST, "", 5)] == ["a-v2"]


def test_deleting_what_is_not_there_is_fine(index: VectorIndex) -> None:
    """Deletion can be repeated."""
    index.upsert([point("a")])
    index.delete_document("b")
    index.delete_version("b-v1")
    assert index.count() == 1


def test_counts_and_ids_can_be_reconciled(index: VectorIndex) -> None:
    """Counts by document and version, and a version's sorted ids, are exact beyond one page of ids."""
    many = [point("a", ordinal=number) for number in range(SCROLL_PAGE + 50)]
    index.upsert([*many, point("a", version="a-v2"), point("b")])
    assert index.count() == SCROLL_PAGE + 52
    assert index.count(document_id="a") == SCROLL_PAGE + 51
    assert index.count(document_id="a", version_id="a-v2") == 1
    assert index.count(version_id="absent") == 0
    assert index.point_ids("a-v1") == sorted(p.id for p in many)
    assert index.point_ids("absent") == []


# --- searching ------------------------------------------------------------------------------------


def test_search_finds_by_meaning(index: VectorIndex) -> None:
    """The nearest dense vector comes first when no word matches."""
    index.upsert([point("a", "one", dense=EAST), point("b", "two", dense=NORTH)])
    assert documents(index.search(scope(), (0.1, 0.9, 0.0, 0.0), "unheard", 5)) == ["b", "a"]


def test_search_finds_by_word(index: VectorIndex) -> None:
    """A word lifts a passage that the dense vector alone would put second."""
    index.upsert([point("a", "budget"), point("b", "the torque specification", dense=(0.99, 0.1, 0.0, 0.0))])
    by_meaning = index.search(scope(), EAST, "", 5)
    by_word_too = index.search(scope(), EAST, "torque", 5)
    assert documents(by_meaning) == ["a", "b"]
    assert documents(by_word_too) == ["b", "a"]


def test_scores_are_reciprocal_rank_fusion(index: VectorIndex) -> None:
    """Ranks count from 1 in 1 / (60 + rank - 1), summed over both searches, the same in both engines."""
    index.upsert([point("a", "torque"), point("b", "budget", dense=NORTH)])
    first, second = index.search(scope(), EAST, "torque", 5)
    assert (first.document_id, second.document_id) == ("a", "b")
    assert first.score == pytest.approx(2 / RRF_K, rel=1e-4)
    assert second.score == pytest.approx(1 / (RRF_K + 1), rel=1e-4)


def test_a_rare_word_weighs_more_than_a_common_one(index: VectorIndex) -> None:
    """With the IDF modifier one rare word beats a repeated common one in the word search."""
    common = [point(f"c{n}", "invoice", dense=UP) for n in range(8)]
    index.upsert(
        [*common, point("rare", "spindle"), point("often", "invoice invoice", dense=(0.9, 0.1, 0, 0))]
    )
    hits = index.search(scope(), EAST, "invoice spindle", 5)
    assert documents(hits)[:2] == ["rare", "often"]
    # First in both searches; without IDF the repeated word would be first in one of them.
    assert hits[0].score == pytest.approx(2 / RRF_K, rel=1e-4)


def test_only_stop_words_still_search_by_meaning(index: VectorIndex) -> None:
    """A question without a single content word gets the nearest passage, not an error."""
    index.upsert([point("a", "budget"), point("b", "torque", dense=NORTH)])
    assert documents(index.search(scope(), NORTH, "what is the", 1)) == ["b"]


def test_a_passage_without_words_is_found_by_meaning(index: VectorIndex) -> None:
    """A passage of symbols has an empty sparse vector and is stored all the same."""
    index.upsert([point("a", "— …", dense=NORTH)])
    assert documents(index.search(scope(), NORTH, "torque", 1)) == ["a"]


def test_limit_bounds_the_result(index: VectorIndex) -> None:
    """At most `limit` hits come back; none for zero."""
    index.upsert([point(f"d{n}") for n in range(9)])
    assert len(index.search(scope(), EAST, "", 4)) == 4
    assert index.search(scope(), EAST, "", 0) == []


def test_narrowing_to_documents(index: VectorIndex) -> None:
    """Named documents only; an empty selection finds nothing rather than everything."""
    index.upsert([point("a"), point("b"), point("c")])
    assert sorted(documents(index.search(scope(), EAST, "", 5, document_ids=["a", "c"]))) == ["a", "c"]
    assert index.search(scope(), EAST, "", 5, document_ids=[]) == []


def test_vectors_of_another_size_are_refused(index: VectorIndex) -> None:
    """A vector of the wrong embedder is a configuration error, for points and questions."""
    with pytest.raises(ConfigurationError):
        index.upsert([point("a", dense=(1.0, 0.0))])
    with pytest.raises(ConfigurationError):
        index.search(scope(), (1.0, 0.0), "", 5)


# --- access ---------------------------------------------------------------------------------------


def test_a_collection_and_the_document_must_both_allow(index: VectorIndex) -> None:
    """Both lists are needed: `shut`, `left` and `other` lack one and stay hidden, `open` is visible."""
    everyone, nobody = frozenset({EVERYONE}), frozenset[str]()
    index.upsert(
        [
            point("open", "torque", access=DocumentAccess(allow=everyone, within=everyone)),
            point("shut", "torque", access=DocumentAccess(allow=nobody, within=everyone)),
            point("left", "torque", access=DocumentAccess(allow=everyone, within=nobody)),
            point("other", "torque", access=DocumentAccess(allow=everyone, within=frozenset({"group:x"}))),
        ]
    )
    assert documents(index.search(scope(), EAST, "torque", 5)) == ["open"]
    assert set(documents(index.search(scope(groups={"group:x"}), EAST, "torque", 5))) == {"open", "other"}


def test_a_collection_may_let_in_by_another_group(index: VectorIndex) -> None:
    """Document and collection may allow different groups: whoever is in both is let in, nobody else."""
    access = DocumentAccess(allow=frozenset({"group:a"}), within=frozenset({"group:b"}))
    index.upsert([point("d", access=access)])
    assert documents(index.search(scope(groups={"group:a", "group:b"}), EAST, "", 5)) == ["d"]
    assert index.search(scope(groups={"group:a"}), EAST, "", 5) == []
    assert index.search(scope(groups={"group:b"}), EAST, "", 5) == []


def test_a_point_without_a_collection_field_matches_nothing(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload that lacks `within` hides its document from everybody; a complete one is found."""
    index.upsert([point("complete")])
    for adapter in ("edge", "server"):
        monkeypatch.setattr(f"infra.vectors.{adapter}.payload_of", without_within)
    index.upsert([point("lacking")])
    assert index.count(document_id="lacking") == 1
    assert documents(index.search(scope(), EAST, "", 5)) == ["complete"]


def without_within(written: Point) -> dict[str, object]:
    """Return a point's payload as something that knows no collections would write it."""
    return {field: value for field, value in payload_of(written).items() if field != "within"}


def test_a_document_without_allow_is_invisible(index: VectorIndex) -> None:
    """No access list means nobody: `secret` stays hidden, `open` stays visible."""
    index.upsert([point("secret", "torque", access=NOBODY), point("open", "torque")])
    assert documents(index.search(scope(), EAST, "torque", 5)) == ["open"]


def test_compartments_hide_from_those_who_have_none(index: VectorIndex) -> None:
    """Without compartments only documents without any are found; with one, its documents too."""
    merger = DocumentAccess(allow=frozenset({EVERYONE}), compartments=frozenset({"merger"}))
    both = DocumentAccess(allow=frozenset({EVERYONE}), compartments=frozenset({"merger", "legal"}))
    index.upsert([point("merger", access=merger), point("both", access=both), point("open")])
    assert documents(index.search(scope(), EAST, "", 5)) == ["open"]
    assert set(documents(index.search(scope(compartments={"merger"}), EAST, "", 5))) == {"merger", "open"}


def test_naming_a_hidden_document_does_not_reveal_it(index: VectorIndex) -> None:
    """Narrowing works inside the scope: `secret` stays hidden though asked for, `open` is visible."""
    index.upsert([point("secret", access=NOBODY), point("open")])
    assert documents(index.search(scope(), EAST, "", 5, document_ids=["secret", "open"])) == ["open"]


def test_hidden_documents_do_not_change_the_order(index: VectorIndex) -> None:
    """Word statistics cover what the scope may read: hidden passages alter neither order nor score."""
    index.upsert([point("alpha", "alpha"), point("beta", "beta", dense=(0.9, 0.1, 0.0, 0.0))])
    # Of different lengths, so that no two of them have one rank.
    index.upsert([point(f"more{n}", "beta" + " besides" * (n + 1), dense=UP) for n in range(3)])
    before = index.search(scope(), EAST, "alpha beta", 2)
    index.upsert([point(f"secret{n}", "alpha", dense=UP, access=NOBODY) for n in range(40)])
    assert index.search(scope(), EAST, "alpha beta", 2) == before
    assert before[0].document_id == "alpha"


def test_a_changed_access_list_bites_at_once(index: VectorIndex) -> None:
    """After `set_access` the share is gone for Ann and there for Bob; another document is untouched."""
    index.upsert([point("a", access=DocumentAccess(allow=frozenset({"user:ann"}))), point("b")])
    index.set_access({"a": DocumentAccess(allow=frozenset({"user:bob"}), epoch=1)})
    assert documents(index.search(scope("ann"), EAST, "", 5)) == ["b"]
    assert set(documents(index.search(scope("bob"), EAST, "", 5))) == {"a", "b"}


def test_an_overtaken_access_change_is_ignored(index: VectorIndex) -> None:
    """An older epoch that arrives late does not bring a revoked share back."""
    index.upsert([point("a")])
    index.set_access({"a": DocumentAccess(epoch=2)})
    index.set_access({"a": DocumentAccess(allow=frozenset({EVERYONE}), epoch=1)})
    assert index.search(scope(), EAST, "", 5) == []
    index.set_access({"a": DocumentAccess(allow=frozenset({EVERYONE}), epoch=3)})
    assert documents(index.search(scope(), EAST, "", 5)) == ["a"]


def test_many_documents_change_at_once(index: VectorIndex) -> None:
    """One call closes 150 documents, opens 150 others and leaves what it does not name as it was."""
    closing, opening = [f"c{n}" for n in range(150)], [f"o{n}" for n in range(150)]
    index.upsert([point(document) for document in closing])
    index.upsert([point(document, access=NOBODY) for document in [*opening, "unnamed"]])
    index.upsert([point("overtaken", access=DocumentAccess(epoch=7))])
    assert set(documents(index.search(scope(), EAST, "", 500))) == set(closing)
    index.set_access(
        {document: DocumentAccess(epoch=1) for document in closing}
        | {document: replace(FOR_ALL, epoch=1) for document in [*opening, "overtaken"]}
    )
    assert set(documents(index.search(scope(), EAST, "", 500))) == set(opening)


def test_changing_nothing_is_fine(index: VectorIndex) -> None:
    """An empty set of changes leaves everything as it was."""
    index.upsert([point("a")])
    index.set_access({})
    assert documents(index.search(scope(), EAST, "", 5)) == ["a"]


def test_every_kind_of_write_shows_in_the_next_search(index: VectorIndex) -> None:
    """What a scope may read is not remembered past a write: added, closed, replaced, deleted."""
    index.upsert([point("a")])
    assert documents(index.search(scope(), EAST, "", 5)) == ["a"]
    index.upsert([point("b")])
    assert set(documents(index.search(scope(), EAST, "", 5))) == {"a", "b"}
    index.set_access({"a": DocumentAccess(epoch=1)})
    assert documents(index.search(scope(), EAST, "", 5)) == ["b"]
    index.upsert([point("b", access=NOBODY)])
    assert index.search(scope(), EAST, "", 5) == []
    index.upsert([point("c")])
    assert documents(index.search(scope(), EAST, "", 5)) == ["c"]
    index.delete_document("c")
    assert index.search(scope(), EAST, "", 5) == []


USERS = st.sampled_from(["ann", "bob"]) | st.text(max_size=5)
PRINCIPALS = st.sampled_from(["user:ann", "user:bob", "group:a", "group:b", EVERYONE]) | st.text(max_size=5)
COMPARTMENTS = st.frozensets(st.sampled_from(["x", "y", "z", ""]), max_size=3)
CLEARANCES = st.integers(-2, 3) | st.integers(-(2**31), 2**31 - 1)
ACCESSES = st.builds(
    DocumentAccess,
    allow=st.frozensets(PRINCIPALS, max_size=3),
    within=st.none() | st.frozensets(PRINCIPALS, max_size=3),
    deny=st.frozensets(PRINCIPALS, max_size=2) | st.just(frozenset[str]()),
    clearance=CLEARANCES,
    compartments=COMPARTMENTS,
    epoch=st.integers(0, 3),
)
SCOPES = st.builds(
    scope,
    USERS,
    groups=st.sets(st.sampled_from(["group:a", "group:b"])),
    clearance=CLEARANCES,
    compartments=st.sets(st.sampled_from(["x", "y", "z", ""])),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(accesses=st.lists(ACCESSES, min_size=1, max_size=6), asker=SCOPES)
def test_the_filter_is_the_rule(
    index: VectorIndex, accesses: list[DocumentAccess], asker: AccessScope
) -> None:
    """For any access lists and any scope, search returns exactly what `may_read` allows."""
    held = {f"d{number}": access for number, access in enumerate(accesses)}
    for stale in range(len(held), 6):
        index.delete_document(f"d{stale}")
    index.upsert([point(document, "torque", access=access) for document, access in held.items()])
    readable = {document for document, access in held.items() if may_read(asker, access)}
    assert set(documents(index.search(asker, EAST, "torque", 10))) == readable


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ACCESSES, after=ACCESSES, asker=SCOPES)
def test_the_filter_is_the_rule_after_a_change(
    index: VectorIndex, before: DocumentAccess, after: DocumentAccess, asker: AccessScope
) -> None:
    """`set_access` leaves the access of the later epoch, and search follows it."""
    index.upsert([point("d", access=before)])
    index.set_access({"d": after})
    valid = after if after.epoch >= before.epoch else before
    assert bool(index.search(asker, EAST, "", 5)) == may_read(asker, valid)


# --- one index a model ----------------------------------------------------------------------------


def test_a_tag_has_an_index_of_its_own(opener: Opener) -> None:
    """Vectors of two embedding models never meet."""
    opener(tag="first").upsert([point("a")])
    assert opener(tag="second", dimensions=2).count() == 0


def test_another_size_under_the_same_tag_is_refused(opener: Opener) -> None:
    """Opening an index with other dimensions than it was made with names the cause."""
    index = opener()
    if isinstance(index, EdgeIndex):
        index.close()
    with pytest.raises(ConfigurationError, match="another embedding model"):
        opener(dimensions=5)


def test_a_tag_cannot_leave_its_place(opener: Opener) -> None:
    """A tag is a plain word, never a path."""
    with pytest.raises(ConfigurationError):
        opener(tag="../elsewhere")


def test_both_engines_give_the_same_results(tmp_path: Path, server_url: str) -> None:
    """The same points and questions give the same documents and scores in-process and by the client."""
    chance = random.Random(7)
    vocabulary = [f"word{number}" for number in range(60)]
    points = [
        point(
            f"d{number}",
            # Each length occurs once, so that no two passages tie in the word search.
            " ".join(chance.choices(vocabulary, k=20 + number)),
            dense=tuple(chance.gauss(0, 1) for _ in range(DIMENSIONS)),
        )
        for number in range(200)
    ]
    engine = EdgeIndex(tmp_path, DIMENSIONS, "model")
    server = ServerIndex(connect_server(server_url, None, ["qdrant"]), DIMENSIONS, f"same-{new_id()[-8:]}")
    engine.upsert(points)
    server.upsert(points)
    for _ in range(20):
        dense = [chance.gauss(0, 1) for _ in range(DIMENSIONS)]
        text = " ".join(chance.sample(vocabulary, 4))
        ours, theirs = (i.search(scope(), dense, text, 10) for i in (engine, server))
        # Equal fused scores may come in any order, and either side of the cut.
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], rel=1e-4)
        last = ours[-1].score
        assert {h.id for h in ours if h.score > last * 1.001} == {
            h.id for h in theirs if h.score > last * 1.001
        }
    engine.close()
    server.close()


# --- the in-process engine ------------------------------------------------------------------------


def test_points_survive_closing(tmp_path: Path) -> None:
    """What was written is there after the next start."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    index.upsert([point("a", "torque")])
    index.close()
    again = EdgeIndex(tmp_path, DIMENSIONS, "model")
    assert documents(again.search(scope(), EAST, "torque", 5)) == ["a"]
    again.close()


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    """After closing, the index is not healthy and every call is a typed error."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    assert index.healthy()
    index.close()
    assert not index.healthy()
    with pytest.raises(IndexUnavailable):
        index.search(scope(), EAST, "torque", 5)
    with pytest.raises(IndexUnavailable):
        index.upsert([point("a")])


def test_a_second_process_is_told(tmp_path: Path) -> None:
    """Another process gets a configuration error that names the reason, and the first one goes on."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    opening = (
        "import sys\nfrom pathlib import Path\nfrom infra.errors import ConfigurationError\n"
        "from infra.vectors import EdgeIndex\n"
        "try:\n    EdgeIndex(Path(sys.argv[1]), 4, 'model')\n"
        "except ConfigurationError as error:\n    print(error.message)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", opening, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "open in another process" in result.stdout
    index.upsert([point("a")])
    assert index.count() == 1
    index.close()


def test_a_damaged_folder_is_told(tmp_path: Path) -> None:
    """A folder that is no index is a configuration error, not a fresh empty index."""
    EdgeIndex(tmp_path, DIMENSIONS, "model").close()
    (folder,) = tmp_path.iterdir()
    for file in sorted(folder.rglob("segment.json")):
        file.write_text("{")
    with pytest.raises(ConfigurationError):
        EdgeIndex(tmp_path, DIMENSIONS, "model")


def test_an_unfinished_creation_is_replaced(tmp_path: Path) -> None:
    """What a kill during the first start left behind does not stop the next start."""
    EdgeIndex(tmp_path, DIMENSIONS, "model").close()
    (folder,) = tmp_path.iterdir()
    folder.rename(folder.with_name(f"{folder.name}.unfinished"))
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    index.upsert([point("a")])
    assert index.count() == 1
    index.close()


WRITER = """
import sys, uuid
from pathlib import Path
from infra.access import DocumentAccess
from infra.vectors import EdgeIndex, Point

index = EdgeIndex(Path(sys.argv[1]), 4, "model")
number = 0
while True:
    batch = [Point(str(uuid.uuid4()), [1.0, float(number), 0.0, 0.0], f"word{number}", "doc", "version",
                   DocumentAccess()) for _ in range(20)]
    index.upsert(batch)
    print(" ".join(point.id for point in batch), flush=True)
    number += 1
"""


@pytest.mark.parametrize("seed", range(4))
def test_acknowledged_points_survive_a_kill(tmp_path: Path, seed: int) -> None:
    """`kill -9` of a process in the middle of writing loses no point that was acknowledged."""
    acknowledged: set[str] = set()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(random.Random(seed).randint(1, 25)):
            acknowledged.update(writer.stdout.readline().split())
        writer.kill()
        # Lines written between the last read and the kill were acknowledged too; a torn last line was not.
        rest = writer.stdout.read()
    acknowledged.update(
        word for line in rest.splitlines(True) if line.endswith("\n") for word in line.split()
    )
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    held = set(index.point_ids("version"))
    index.close()
    assert len(acknowledged) >= 20
    assert acknowledged <= held


def test_threads_write_and_search_together(tmp_path: Path) -> None:
    """Four writers and two searchers at once: every point arrives and no search fails."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def write(document: str) -> None:
        for number in range(10):
            index.upsert([point(document, "torque", ordinal=number)])

    def search() -> None:
        for _ in range(40):
            index.search(scope(), EAST, "torque", 5)

    work = [*(lambda d=f"d{n}": write(d) for n in range(4)), search, search]
    threads = [threading.Thread(target=run, args=(job,)) for job in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert index.count() == 40
    index.close()


def test_a_stale_list_of_readable_documents_reveals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hits are held against the filter itself: with a list older than a write, `a` is hidden still."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    index.upsert([point("a"), point("shared", dense=NORTH)])
    assert documents(index.search(scope(), EAST, "", 5)) == ["a", "shared"]
    monkeypatch.setattr(ReadableDocuments, "forget", lambda self: None)
    index.set_access({"a": DocumentAccess(epoch=1)})
    assert documents(index.search(scope(), EAST, "", 5)) == ["shared"]
    index.close()


def test_a_snapshot_is_a_complete_index(tmp_path: Path) -> None:
    """The copy opens beside the original and holds its points as they were."""
    index = EdgeIndex(tmp_path / "live", DIMENSIONS, "model")
    index.upsert([point("a", "torque")])
    kept = Path(index.snapshot(tmp_path / "kept"))
    index.upsert([point("b", "torque")])
    copy = EdgeIndex(kept.parent, DIMENSIONS, "model")
    assert documents(copy.search(scope(), EAST, "torque", 5)) == ["a"]
    assert index.count() == 2
    with pytest.raises(Conflict):
        index.snapshot(tmp_path / "kept")
    copy.close()
    index.close()


def test_text_is_not_stored(tmp_path: Path) -> None:
    """No file of the index contains a passage's words; its ids show that the search would see them."""
    index = EdgeIndex(tmp_path, DIMENSIONS, "model")
    index.upsert([point("visible-document-id", "zanzibar zanzibar")])
    index.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"visible-document-id" in stored
    assert b"zanzibar" not in stored.lower()


# --- names and addresses --------------------------------------------------------------------------


def test_point_ids_are_uuid5_of_the_version() -> None:
    """The id is SHA-1 over namespace and name as RFC 9562 §5.5 says, computed here step by step."""
    version = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    digest = bytearray(hashlib.sha1(version.bytes + b"3:abc").digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    assert point_id(str(version), 3, "abc") == str(uuid.UUID(bytes=bytes(digest)))


def test_point_ids_differ_by_version_place_and_pipeline() -> None:
    """Each of the three parts makes another id, also where they run together as text."""
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    ids = {
        point_id(v, ordinal, pipeline)
        for v, ordinal, pipeline in [(first, 1, "a"), (second, 1, "a"), (first, 2, "a"), (first, 1, "b")]
    } | {point_id(first, 11, "2"), point_id(first, 1, "12")}
    assert len(ids) == 6


def test_a_version_id_must_be_a_uuid() -> None:
    """A name that is no UUID is an error, not another namespace."""
    with pytest.raises(ValueError, match="badly formed"):
        point_id("version-1", 0, "a")


@pytest.mark.parametrize("url", ["https://qdrant.example.com:6333", "http://8.8.8.8:6333"])
def test_a_public_server_is_refused(url: str) -> None:
    """No client is made for an address outside the private network."""
    with pytest.raises(AddressRefused):
        connect_server(url, None, [])


def test_an_absent_server_is_a_typed_error() -> None:
    """A server that does not answer is IndexUnavailable at start-up."""
    client = connect_server("http://127.0.0.1:9", None, [])
    with pytest.raises(IndexUnavailable):
        ServerIndex(client, DIMENSIONS, "model")
    client.close()


def test_equal_scores_have_one_order(index: VectorIndex) -> None:
    """First by meaning and second by words scores like the reverse; which comes first must not be chance."""
    near, far = (0.9, 0.1, 0.0, 0.0), (0.8, 0.4, 0.0, 0.0)
    pairs = [(f"meaning-{n}", f"words-{n}", f"harbour{n}") for n in range(12)]
    for meaning, words, word in pairs:
        # Each pair in a language of its own, so that no other pair takes part in its search.
        index.upsert(
            [
                point(meaning, f"{word} and a good deal more about other matters", dense=near),
                point(words, f"{word} {word}", dense=far),
            ]
        )
    for meaning, words, word in pairs:
        hits = index.search(scope(), EAST, word, 5, document_ids=[meaning, words])
        assert hits[0].score == hits[1].score
        assert [hit.id for hit in hits] == sorted(hit.id for hit in hits)
