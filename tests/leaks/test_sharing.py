"""Sharing lets people in at the next request, and unsharing, leaving and deleting lock them out at once."""

from __future__ import annotations

from typing import Any

import pytest
from leak_house import CANTEEN_QUESTION, House, cited_files, indexed

from tests.made_documents import markdown_of

FACT = "The spare key of the archive hangs behind the blue cabinet."
QUESTION = "Where does the spare key of the archive hang?"


@pytest.fixture
def archive(house: House) -> Any:
    """A file of Ada's, removed again afterwards."""
    file = indexed(house.ada, "archive.md", markdown_of("Archive", [FACT]))
    yield file
    house.ada.client.delete(f"/v1/files/{file['id']}")


@pytest.fixture
def legal(house: House) -> str:
    """A group with Ben in it."""
    name = f"Legal {len(house.admin.client.get('/v1/groups').json()['data'])}"
    group: str = house.admin.client.post("/v1/groups", json={"name": name}).json()["id"]
    for person in (house.ada, house.ben):
        put = house.admin.client.put(f"/v1/groups/{group}/members/{person.id}")
        assert put.status_code == 204
    return group


def test_a_share_with_a_person_opens_and_closes(house: House, archive: dict[str, Any]) -> None:
    """Hidden from the admin and auditor throughout, from Ben before and after. Visible to Ben between."""
    path = f"/v1/files/{archive['id']}/shares/{house.ben.principal}"
    assert not reads(house.ben, archive)
    assert house.ada.client.put(path).status_code == 204
    assert reads(house.ben, archive)
    assert not reads(house.admin, archive)
    assert not reads(house.auditor, archive)
    assert house.ada.client.delete(path).status_code == 204
    assert not reads(house.ben, archive)
    assert reads(house.ada, archive)


def test_a_share_with_a_group_follows_its_members(house: House, archive: dict[str, Any], legal: str) -> None:
    """Hidden from whoever is not in the group at that moment. Visible to who is."""
    assert house.ada.client.put(f"/v1/files/{archive['id']}/shares/{legal}").status_code == 204
    assert reads(house.ben, archive)
    assert not reads(house.auditor, archive)
    member = f"/v1/groups/{legal}/members/{house.ben.id}"
    assert house.admin.client.delete(member).status_code == 204
    assert not reads(house.ben, archive)
    assert house.admin.client.put(member).status_code == 204
    assert reads(house.ben, archive)
    assert house.ada.client.delete(f"/v1/files/{archive['id']}/shares/{legal}").status_code == 204
    assert not reads(house.ben, archive)


def test_a_source_that_was_opened_before_closes_with_the_share(house: House, archive: dict[str, Any]) -> None:
    """Hidden after the share ended: the passage behind a link that worked. Visible: it, to Ada."""
    path = f"/v1/files/{archive['id']}/shares/{house.ben.principal}"
    house.ada.client.put(path)
    found = house.ben.client.post(
        "/v1/chat/completions",
        json={"model": "strongroom-quote", "messages": [{"role": "user", "content": QUESTION}]},
    ).json()
    source = f"/v1/sources/{found['x_citations'][0]['id']}"
    assert house.ben.client.get(source).json()["file"]["name"] == "archive.md"
    house.ada.client.delete(path)
    assert house.ben.client.get(source).status_code == 404
    assert house.ada.client.get(source).status_code == 200


def test_whom_a_file_is_shared_with_is_its_owners_business(house: House, archive: dict[str, Any]) -> None:
    """Hidden from Ben: that the auditor may read it as well. Visible to Ada: both names."""
    for person in (house.ben, house.auditor):
        house.ada.client.put(f"/v1/files/{archive['id']}/shares/{person.principal}")
    path = f"/v1/files/{archive['id']}"
    assert house.ben.client.get(path).json()["x_shared_with"] == []
    mine = house.ada.client.get(path).json()["x_shared_with"]
    assert {entry["id"] for entry in mine} == {house.ben.principal, house.auditor.principal}


def test_a_deleted_file_is_gone_for_everybody(house: House, archive: dict[str, Any]) -> None:
    """Hidden after the delete: the file, from its owner and from readers. Visible: the canteen."""
    house.ada.client.put(f"/v1/files/{archive['id']}/shares/{house.ben.principal}")
    assert house.ada.client.delete(f"/v1/files/{archive['id']}").status_code == 200
    assert not reads(house.ben, archive)
    assert not reads(house.ada, archive)
    assert cited_files(house.ben, CANTEEN_QUESTION)[0] == "canteen.md"


def reads(person: Any, file: dict[str, Any]) -> bool:
    """Tell whether a person sees a file, asking in every way; all ways must agree."""
    path = f"/v1/files/{file['id']}"
    listed = [entry["id"] for entry in person.client.get("/v1/files").json()["data"]]
    jobs = [entry["file_id"] for entry in person.client.get("/v1/jobs").json()["data"]]
    ways = {
        "described": person.client.get(path).status_code == 200,
        "downloaded": person.client.get(f"{path}/content").status_code == 200,
        "listed": file["id"] in listed,
        "job listed": file["id"] in jobs,
        "job described": person.client.get(f"/v1/jobs/{file['x_job']['id']}").status_code == 200,
        "cited": file["filename"] in cited_files(person, QUESTION),
    }
    assert len(set(ways.values())) == 1, ways
    return ways["described"]
