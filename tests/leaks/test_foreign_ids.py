"""An id of somebody else's looks exactly like one that does not exist, at every endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from leak_house import MERGER, MERGER_QUESTION, House, indexed

from infra.clock import new_id
from tests.made_documents import pdf_of
from tests.serving import Person, ask


@pytest.fixture(scope="module")
def ids(house: House) -> dict[str, str]:
    """Return the ids of things that only Ada may use."""
    file = indexed(house.ada, "board.pdf", pdf_of([[MERGER]]))
    answer = ask(house.ada.client, MERGER_QUESTION)
    key = house.ada.new_key("spare")
    return {
        "file": file["id"],
        "job": file["x_job"]["id"],
        "source": answer["x_citations"][0]["id"],
        "answer": answer["x_answer"]["id"],
        "key": key["id"],
    }


ENDPOINTS = [
    ("GET", "/v1/files/{file}", 200),
    ("GET", "/v1/files/{file}/content", 200),
    ("GET", "/v1/jobs/{job}", 200),
    ("GET", "/v1/jobs/{job}/events", 200),
    ("GET", "/v1/sources/{source}", 200),
    ("GET", "/v1/sources/{source}/page.png", 200),
    ("GET", "/v1/answers/{answer}/receipt", 200),
    ("PUT", "/v1/files/{file}/shares/group:local:everyone", None),
    ("DELETE", "/v1/files/{file}/shares/group:local:everyone", None),
    ("POST", "/v1/jobs/{job}/cancel", 409),
    ("POST", "/v1/jobs/{job}/retry", 409),
    ("DELETE", "/v1/files/{file}", None),
    ("DELETE", "/v1/keys/{key}", None),
]


# An auditor may read every receipt: test_receipts_are_for_the_asker_and_auditors.
CASES = [
    (role, *endpoint)
    for role in ("ben", "admin", "auditor")
    for endpoint in ENDPOINTS
    if role != "auditor" or "/answers/" not in endpoint[1]
]


@pytest.mark.parametrize(("role", "method", "path", "own"), CASES, ids=[" ".join(c[:3]) for c in CASES])
def test_a_foreign_id_is_like_one_that_does_not_exist(
    house: House, ids: dict[str, str], role: str, method: str, path: str, own: int | None
) -> None:
    """Hidden: that the thing exists, byte for byte. Visible: the same thing to Ada."""
    person: Person = getattr(house, role)
    foreign = call(person, method, path.format(**ids))
    unknown = call(person, method, path.format(**dict.fromkeys(ids, new_id())))
    assert foreign == unknown
    assert foreign[0] == 404
    if own is not None:
        assert house.ada.client.request(method, path.format(**ids)).status_code == own


def test_what_others_tried_to_change_is_as_it_was(house: House, ids: dict[str, str]) -> None:
    """Hidden: the file, from the others' deletes and shares. Visible: it, to Ada, unshared and whole."""
    for method, path, _ in ENDPOINTS:
        call(house.ben, method, path.format(**ids))
    mine = house.ada.client.get(f"/v1/files/{ids['file']}").json()
    assert (mine["status"], mine["x_shared_with"]) == ("processed", [])
    assert ids["key"] in [key["id"] for key in house.ada.client.get("/v1/keys").json()["data"]]


def test_a_reader_who_is_not_the_owner_cannot_change_a_shared_file(house: House) -> None:
    """Hidden: nothing, Ben may read it. Refused like an unknown file: delete, share, cancel, retry."""
    file = house.canteen
    assert house.ben.client.get(f"/v1/files/{file['id']}").status_code == 200
    path, job = f"/v1/files/{file['id']}", f"/v1/jobs/{file['x_job']['id']}"
    tries = [
        ("DELETE", path),
        ("PUT", f"{path}/shares/{house.ben.principal}"),
        ("DELETE", f"{path}/shares/group:local:everyone"),
        ("POST", f"{job}/cancel"),
        ("POST", f"{job}/retry"),
    ]
    assert [call(house.ben, method, where)[0] for method, where in tries] == [404] * len(tries)
    assert house.ben.client.get(path).json()["x_shared_with"] == []


def test_receipts_are_for_the_asker_and_auditors(house: House, ids: dict[str, str]) -> None:
    """Hidden from Ben and the admin: Ada's receipt. Visible to Ada and to an auditor: the same leaf."""
    path = f"/v1/answers/{ids['answer']}/receipt"
    assert call(house.ben, "GET", path)[0] == call(house.admin, "GET", path)[0] == 404
    mine, theirs = (who.client.get(path).json() for who in (house.ada, house.auditor))
    assert mine["leaf_hash"] == theirs["leaf_hash"]


def test_nobody_without_a_key_sees_anything(house: House, ids: dict[str, str]) -> None:
    """Hidden from strangers: whether an id exists; every endpoint says 401 for both. Visible: health."""
    for method, path, _ in ENDPOINTS:
        for chosen in (ids, dict.fromkeys(ids, new_id())):
            bare = {"authorization": ""}
            assert house.ada.client.request(method, path.format(**chosen), headers=bare).status_code == 401
    assert house.ada.client.get("/healthz", headers={"authorization": ""}).status_code == 200


def call(person: Person, method: str, path: str) -> tuple[int, Any, str | None]:
    """Return status, body and type of an answer."""
    answer = person.client.request(method, path)
    return answer.status_code, answer.text, answer.headers.get("content-type")
