"""The access lists of a file share, applied over the API and by the command; every doubt fails its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_world import World, error_of
from test_api_collections import recorded

from infra.clock import new_id
from services.cli.access_import import import_manifest
from services.cli.connection import Connection
from tests.made_documents import markdown_of
from tests.serving import Person, upload

EVERYONE = "group:local:everyone"


@pytest.fixture
def file(world: World) -> dict[str, Any]:
    """A file of Ada's that is hers alone."""
    return upload(world.ada.client, f"{new_id()}.md", markdown_of("Share", [f"From a share: {new_id()}."]))


def test_a_row_gives_its_file_readers_and_denials(world: World, file: dict[str, Any]) -> None:
    """Hidden from the auditor, who is denied, and from Ben after the second row. Visible to Ben before."""
    row = {
        "path": f"share\\folder\\{file['filename']}",
        "allow": ["everyone"],
        "deny": [world.auditor.principal],
    }
    done = imported(world.ada, [row])
    assert (done["totals"], done["rows"][0]["file_id"]) == (totals(applied=1), file["id"])
    assert [reads(who, file) for who in (world.ben, world.auditor, world.ada)] == [True, False, True]
    assert imported(world.ada, [row])["totals"] == totals(unchanged=1)
    nobody = {"path": file["filename"]}
    assert imported(world.ada, [nobody])["totals"] == totals(applied=1)
    assert [reads(who, file) for who in (world.ben, world.auditor, world.ada)] == [False, False, True]


def test_a_row_puts_its_file_into_a_collection(world: World, file: dict[str, Any]) -> None:
    """Hidden from the auditor, whom the row leaves out of the collection's readers. Visible to Ben."""
    name = new_id()
    store = world.ada.client.post("/v1/vector_stores", json={"name": name}).json()
    for who in (world.ben, world.auditor):
        world.ada.client.put(f"/v1/vector_stores/{store['id']}/shares/{who.principal}")
    row = {"path": file["filename"], "collection": name, "allow": [world.ben.principal]}
    assert imported(world.ada, [row])["totals"] == totals(applied=1)
    assert [reads(who, file) for who in (world.ben, world.auditor, world.ada)] == [True, False, True]
    assert world.ada.client.get(f"/v1/files/{file['id']}").json()["x_collection"]["name"] == name
    outside = {"path": file["filename"], "allow": ["everyone"]}
    assert failures(imported(world.ada, [outside])) == ["collection"]
    assert [reads(who, file) for who in (world.ben, world.auditor)] == [True, False]


def test_somebody_elses_collection_is_not_meant_by_its_name(world: World, file: dict[str, Any]) -> None:
    """Hidden from Ben: the curator's file, although he called his collection like one that she means."""
    bait = world.ben.client.post("/v1/vector_stores", json={"name": "Contracts"}).json()["id"]
    world.ben.client.put(f"/v1/vector_stores/{bait}/shares/{world.admin.principal}")
    name = f"{new_id()}.md"
    hers = upload(world.admin.client, name, markdown_of("Hers", [f"A contract: {new_id()}."]))
    row = {"path": name, "collection": "Contracts"}
    assert failures(imported(world.admin, [row])) == [None]
    assert not reads(world.ben, hers)
    assert imported(world.admin, [{**row, "collection": bait}])["totals"] == totals(applied=1)
    assert reads(world.ben, hers)


BAD_ROWS: list[tuple[dict[str, Any], str | None]] = [
    ({"allow": ["nobody@example.org"]}, "allow"),
    ({"deny": ["user:nobody"]}, "deny"),
    ({"allow": ["everyone"], "deny": ["DOMAIN\\Interns"]}, "deny"),
    ({"allow": ["group:No such group"]}, "allow"),
    ({"allow": ["a\x07"]}, "allow"),
    ({"allow": ["Everyone"]}, "allow"),
    ({"allow": ["NT AUTHORITY\\Authenticated Users"]}, "allow"),
    ({"allow": ["everyone"], "deny": ["S-1-1-0"]}, "deny"),
    ({"allow": ["everyone"], "clearance": 101}, "clearance"),
    ({"allow": ["everyone"], "clearance": 1}, None),
    ({"allow": ["everyone"], "compartments": [" "]}, "compartments"),
    ({"allow": ["everyone"], "deny": ["everyone"]}, None),
    ({"allow": ["everyone"], "collection": "None of mine"}, None),
    ({"allow": ["everyone"], "collection": "\x07"}, "collection"),
    ({"allow": ["everyone"] * 10_000}, "allow"),
]


@pytest.mark.parametrize(("row", "param"), BAD_ROWS, ids=[str(number) for number in range(len(BAD_ROWS))])
def test_a_doubtful_row_leaves_its_file_as_it_was(
    world: World, file: dict[str, Any], row: dict[str, Any], param: str | None
) -> None:
    """Hidden from Ben, before and after: nothing of the row is applied. The row beside it is."""
    other = upload(world.ada.client, f"{new_id()}.md", markdown_of("Other", [f"Another: {new_id()}."]))
    before = world.ada.client.get(f"/v1/files/{file['id']}").json()
    rows = [{"path": file["filename"], **row}, {"path": other["filename"], "allow": ["everyone"]}]
    done = imported(world.ada, rows)
    assert (done["totals"], failures(done)) == (totals(applied=1, failed=1), [param])
    now = world.ada.client.get(f"/v1/files/{file['id']}").json()
    assert {**now, "x_job": None} == {**before, "x_job": None, **stable(now)}
    assert (reads(world.ben, file), reads(world.ben, other)) == (False, True)


@pytest.mark.parametrize("path", ["/", "..", "", "\x07", "no such file.md"])
def test_a_row_without_a_file_fails(world: World, path: str) -> None:
    """Path tricks lead to no file, and neither does a name that nobody has."""
    assert failures(imported(world.ada, [{"path": path, "allow": ["everyone"]}])) == ["path"]


def test_nobody_reaches_somebody_elses_file(world: World, file: dict[str, Any]) -> None:
    """For Ben there is no file of that name; it stays Ada's alone."""
    row = {"path": file["filename"], "allow": [world.ben.principal]}
    assert failures(imported(world.ben, [row])) == ["path"]
    assert not reads(world.ben, file)


def test_two_rows_for_one_file_both_fail(world: World, file: dict[str, Any]) -> None:
    """Nobody knows which of them is right; the file stays hidden from Ben."""
    rows = [{"path": f"{folder}/{file['filename']}", "allow": ["everyone"]} for folder in ("a", "b")]
    assert failures(imported(world.ada, rows)) == ["path", "path"]
    assert not reads(world.ben, file)


def test_windows_everyone_counts_when_somebody_says_so(world: World, file: dict[str, Any]) -> None:
    """With `everyone`, and only then."""
    row = {"path": file["filename"], "allow": ["NT AUTHORITY\\Authenticated Users", "Everyone"]}
    assert imported(world.ada, [row])["totals"] == totals(failed=1)
    assert imported(world.ada, [row], everyone=True)["totals"] == totals(applied=1)
    assert reads(world.ben, file)


def test_a_dry_run_tells_and_changes_nothing(world: World, file: dict[str, Any]) -> None:
    """It says what would be applied; the file stays hidden from Ben, and no change is on its record."""
    done = imported(world.ada, [{"path": file["filename"], "allow": ["everyone"]}], dry_run=True)
    assert (done["totals"], done["dry_run"]) == (totals(applied=1), True)
    assert not reads(world.ben, file)
    leaves = recorded(world)
    assert "file.restricted" not in [
        leaf["type"] for leaf in leaves if leaf.get("res", {}).get("id") == file["id"]
    ]
    told = [leaf["outcome"] for leaf in leaves if leaf["type"] == "access.imported"]
    assert told[-1] == "dry_run,applied=1,unchanged=0,failed=0"


def test_an_import_is_on_the_record(world: World, file: dict[str, Any]) -> None:
    """One event with the counts, and one for each file that changed; names and principals in neither."""
    imported(world.ada, [{"path": file["filename"], "allow": ["everyone"]}, {"path": "missing.md"}])
    leaves = [leaf for leaf in recorded(world) if leaf["type"] in {"access.imported", "file.restricted"}]
    assert leaves[-1]["outcome"] == "applied=1,unchanged=0,failed=1"
    assert leaves[-2]["res"]["id"] == file["id"]
    assert leaves[-2]["corr"] == leaves[-1]["corr"]
    assert file["filename"] not in json.dumps(leaves)


def test_groups_are_named_by_those_who_know_them(world: World, file: dict[str, Any]) -> None:
    """Hidden from Ada: that there is such a group, until she is in it. Visible to the curator."""
    name = f"Board {new_id()}"
    group = new_group(world, name)
    row = {"path": file["filename"], "allow": [f"group:{name}"]}
    refused = imported(world.ada, [row])["rows"][0]["error"]
    unknown = imported(world.ada, [{**row, "allow": ["group:Nobody's"]}])["rows"][0]["error"]
    assert {**refused, "message": ""} == {**unknown, "message": ""}
    hers = upload(world.admin.client, f"{new_id()}.md", markdown_of("Hers", [f"Curated: {new_id()}."]))
    curated = {**row, "path": hers["filename"]}
    assert imported(world.admin, [curated])["totals"] == totals(applied=1)
    set_member(world, "PUT", group, world.ada)
    assert imported(world.ada, [row])["totals"] == totals(applied=1)


def test_a_guessed_group_id_says_nothing(world: World, file: dict[str, Any]) -> None:
    """Hidden from Ada: that there is a group of this id, and what it is called, wherever she tries it."""
    group = new_group(world, f"Merger {new_id()}")
    shelf = world.ada.client.post("/v1/vector_stores", json={"name": new_id()}).json()["id"]
    talk = world.ada.client.post("/v1/conversations", json={}).json()["id"]
    things = (f"/v1/files/{file['id']}", f"/v1/vector_stores/{shelf}", f"/v1/conversations/{talk}")
    for effect in ("allow", "deny"):
        refused = [
            [
                error_of(world.ada.client.put(f"{thing}/shares/{id_}", params={"effect": effect}), 400)
                for thing in things
            ]
            for id_ in (group, "group:local:nobody")
        ]
        assert refused[0] == refused[1]
    for column in ("allow", "deny"):
        row = {"path": file["filename"], column: [group]}
        assert failures(imported(world.ada, [row])) == [column]
        narrowed = {"only": None, "deny": [], "clearance": 0, "compartments": []}
        wanted = {**narrowed, "deny": [group]}
        error_of(world.ada.client.put(f"{things[0]}/access", json=wanted), 400)
    body = {"files": {"file": ("guess.md", b"# A guess", "text/markdown")}, "data": {"share": group}}
    error_of(world.ada.client.post("/v1/files", **body), 400)


def test_who_has_left_a_group_keeps_its_line_and_not_its_name(world: World, file: dict[str, Any]) -> None:
    """Hidden from Ada outside the group: what it is called now. She may keep its line."""
    name = f"Merger {new_id()}"
    group = new_group(world, name)
    set_member(world, "PUT", group, world.ada)
    path = f"/v1/files/{file['id']}"
    body = {"only": None, "deny": [world.ben.principal], "clearance": 0, "compartments": []}
    world.ada.client.put(f"{path}/shares/{group}").raise_for_status()
    assert shared_with(world.ada, path) == [{"id": group, "label": name}]
    set_member(world, "DELETE", group, world.ada)
    assert shared_with(world.ada, path) == [{"id": group, "label": "a group"}]
    world.ada.client.put(f"{path}/access", json=body).raise_for_status()
    told = world.ada.client.put(f"{path}/access", json={**body, "deny": [group]})
    assert told.json()["deny"] == [{"id": group, "label": "a group"}]


def test_a_stranger_imports_nothing(world: World, file: dict[str, Any]) -> None:
    """Without anybody's key it is refused, and the file stays hidden from Ben."""
    with world.stranger() as stranger:
        body = {"rows": [{"path": file["filename"], "allow": ["everyone"]}]}
        error_of(stranger.post("/v1/access/import", json=body), 401)
    assert not reads(world.ben, file)


def test_a_key_that_may_only_read_imports_nothing(world: World, file: dict[str, Any]) -> None:
    """An import is a write: Ada's own key with the scope `read` is refused it."""
    key = world.ada.new_key("reader", scopes=["read"])["key"]
    with world.stranger() as reader:
        reader.headers["authorization"] = f"Bearer {key}"
        assert reader.get(f"/v1/files/{file['id']}").status_code == 200
        body = {"rows": [{"path": file["filename"], "allow": ["everyone"]}]}
        error_of(reader.post("/v1/access/import", json=body), 403)
    assert not reads(world.ben, file)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rows": [{"allow": []}]},
        {"rows": [{"path": "a", "denny": ["x"]}]},
        {"rows": [], "everybody": True},
        {"rows": [{"path": "a"}] * 10_001},
        {"rows": [{"path": str(number), "allow": ["x"] * 1000} for number in range(21)]},
    ],
)
def test_a_request_that_is_not_understood_is_refused_as_a_whole(world: World, body: dict[str, Any]) -> None:
    """An unknown field may be a denial; it is never left out silently."""
    error_of(world.ada.client.post("/v1/access/import", json=body), 400)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_imports_a_manifest_in_pieces(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visible to Ben afterwards: what its row allows; hidden: what another row names twice. One failed."""
    monkeypatch.setattr("services.cli.access_import.ROWS_AT_ONCE", 1)
    names = [f"{new_id()}.md" for _ in range(3)]
    files = [upload(world.ada.client, name, markdown_of("Piece", [f"A piece: {name}."])) for name in names]
    manifest = tmp_path / "share.csv"
    lines = ["path,allow,deny,clearance", f"{names[0]},{world.ben.principal};{world.auditor.principal},,"]
    lines += [f"x/{names[1]},everyone,,", f"y/{names[1]},everyone,,", f"{names[2]},everyone,,0"]
    manifest.write_text("\n".join(lines), encoding="utf-8-sig")
    connection = Connection(world.ada.client, world.server.url)
    assert not import_manifest(connection, manifest, everyone=False, dry_run=False, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["totals"] == totals(applied=2, failed=2)
    assert [(row["row"], row["outcome"]) for row in told["rows"]] == [
        (1, "applied"),
        (2, "failed"),
        (3, "failed"),
        (4, "applied"),
    ]
    assert [reads(world.ben, file) for file in files] == [True, False, True]
    assert import_manifest(connection, trimmed(manifest), everyone=False, dry_run=True, as_json=False)
    printed = capsys.readouterr().out
    assert "2 unchanged; nothing was changed" in printed


def trimmed(manifest: Path) -> Path:
    """Leave the rows out that failed."""
    lines = manifest.read_text(encoding="utf-8-sig").splitlines()
    manifest.write_text("\n".join([lines[0], lines[1], lines[4]]))
    return manifest


# --- small ways -----------------------------------------------------------------------------------


def imported(person: Person, rows: list[dict[str, Any]], **options: bool) -> dict[str, Any]:
    """Import rows, and return what is said about them."""
    answer = person.client.post("/v1/access/import", json={"rows": rows, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def totals(**counts: int) -> dict[str, int]:
    """Return the counts of an import, zero where nothing is said."""
    return {name: counts.get(name, 0) for name in ("applied", "unchanged", "failed")}


def failures(done: dict[str, Any]) -> list[str | None]:
    """Return which field each failed row failed by."""
    return [row["error"]["param"] for row in done["rows"] if row["outcome"] == "failed"]


def reads(person: Person, file: dict[str, Any]) -> bool:
    """Say whether somebody may read a file."""
    return person.client.get(f"/v1/files/{file['id']}").status_code == 200


def new_group(world: World, name: str) -> str:
    """Make a group as the People page does, and return its id."""
    with world.admin.signed_in() as admin:
        made: str = admin.post("/v1/groups", json={"name": name}).json()["id"]
        return made


def set_member(world: World, method: str, group: str, person: Person) -> None:
    """Put somebody into a group, or take them out of it, as the People page does."""
    with world.admin.signed_in() as admin:
        admin.request(method, f"/v1/groups/{group}/members/{person.id}").raise_for_status()


def shared_with(person: Person, path: str) -> list[dict[str, str]]:
    """Return whom their file is shared with, as its owner sees it."""
    found: list[dict[str, str]] = person.client.get(path).json()["x_shared_with"]
    return found


def stable(now: dict[str, Any]) -> dict[str, Any]:
    """Return what a file's own job may change meanwhile."""
    return {key: now[key] for key in ("status", "x_media_type", "x_pages", "x_passages")}
