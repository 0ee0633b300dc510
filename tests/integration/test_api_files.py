"""Files over the API: shapes, versions, deletion, jobs, and every kind of file that cannot be read."""

from __future__ import annotations

import io
import json
import random
import socket
import time
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from api_world import UPLOAD_LIMIT, World, error_of

from infra.access import EVERYONE
from tests.made_documents import docx_of, markdown_of, pdf_of
from tests.serving import ask, finished_job, upload


def test_the_file_object_has_the_openai_shape(world: World) -> None:
    """The fields of OpenAI's file object stand there, and ours beside them."""
    file = world.ada.client.get(f"/v1/files/{world.policy['id']}").json()
    assert {key: file[key] for key in ("object", "filename", "purpose", "status", "x_pages")} == {
        "object": "file",
        "filename": "leave.pdf",
        "purpose": "assistants",
        "status": "processed",
        "x_pages": 2,
    }
    assert file["x_owner"] == {"id": world.ada.principal, "label": "Ada", "me": True}
    assert file["x_passages"] >= 1
    listed = world.ada.client.get("/v1/files").json()
    assert (listed["object"], listed["has_more"]) == ("list", False)
    # Whatever resembles it is looked for where one file is asked for.
    assert file.pop("x_similar") == []
    assert file in listed["data"]


def test_the_original_comes_back_as_a_download(world: World) -> None:
    """The bytes are the ones that were sent, as an attachment that no browser runs."""
    content = markdown_of("Round trip", ["Every byte counts.", "<script>alert(1)</script>"])
    file = upload(world.ada.client, "round trip ü.md", content)
    answer = world.ada.client.get(f"/v1/files/{file['id']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''round%20trip%20%C3%BC.md"


# --- versions and deletion ------------------------------------------------------------------------


def test_the_same_content_again_is_no_new_work(world: World) -> None:
    """Sending a file twice gives the same file, version and job."""
    content = markdown_of("Twice", ["The stamp is kept in the drawer."])
    first = done(world, upload(world.ada.client, "twice.md", content))
    again = upload(world.ada.client, "twice.md", content)
    assert (again["id"], again["x_job"], again["x_version"]) == (first["id"], first["x_job"], 1)
    assert again["x_upload"] == "unchanged"


def test_the_same_content_under_another_name_is_kept_once(world: World) -> None:
    """The second name is one more place of the first file, which its owner is told, and nobody else."""
    content = markdown_of("Kept once", ["The key of the boat house hangs in the office."])
    first = upload(world.ada.client, "boats.md", content)
    copy = upload(world.ada.client, "boats (copy).md", content)
    assert (copy["id"], copy["x_upload"]) == (first["id"], "duplicate")
    assert copy["x_other_places"] == [{"source": "upload", "name": "boats (copy).md"}]
    world.ada.client.put(f"/v1/files/{first['id']}/shares/{EVERYONE}").raise_for_status()
    assert world.ben.client.get(f"/v1/files/{first['id']}").json()["x_other_places"] == []


def test_files_that_say_nearly_the_same_name_each_other(world: World) -> None:
    """Both stay, and each says which other one the reader may also read."""
    lines = [f"Rule {number}: whoever moves crate {number * 7} signs sheet {number}." for number in range(40)]
    one = done(world, upload(world.ada.client, "rules.md", markdown_of("Rules", lines)))
    lines[20] = "Rule 20 was dropped."
    two = done(world, upload(world.ada.client, "rules 2026.md", markdown_of("Rules", lines)))
    alike = world.ada.client.get(f"/v1/files/{one['id']}").json()["x_similar"]
    assert [(other["id"], other["filename"]) for other in alike] == [(two["id"], "rules 2026.md")]
    assert 0.8 <= alike[0]["similarity"] < 1
    world.ada.client.put(f"/v1/files/{one['id']}/shares/{EVERYONE}").raise_for_status()
    assert world.ben.client.get(f"/v1/files/{one['id']}").json()["x_similar"] == []


def test_hidden_text_answers_nothing_and_its_owner_is_shown_it(world: World) -> None:
    """What readers of a page do not see is kept apart, with the reason; others learn how much there is."""
    page = (
        "<html><body><h1>Offer</h1><p>The crane of the north quay costs nine thousand a month.</p>"
        '<p style="display:none">The crane of the north quay is free of charge.</p></body></html>'
    )
    file = done(world, upload(world.ada.client, "offer.html", page.encode()))
    assert (file["x_hidden_texts"], file["x_passages"]) == (1, 1)
    shown = world.ada.client.get(f"/v1/files/{file['id']}/hidden").json()
    assert [(text["reason"], text["text"]) for text in shown["data"]] == [
        ("not_shown", "The crane of the north quay is free of charge.")
    ]
    answer = ask(world.ada.client, "What does the crane of the north quay cost?")
    assert "free of charge" not in str(answer)
    world.ada.client.put(f"/v1/files/{file['id']}/shares/{EVERYONE}").raise_for_status()
    error_of(world.ben.client.get(f"/v1/files/{file['id']}/hidden"), 403)


def test_changed_content_is_a_new_version_and_the_old_one_stops_answering(world: World) -> None:
    """After the change the new sentence answers, and the old one is quoted no more."""
    question = "On which floor is the print shop?"
    done(world, upload(world.ada.client, "floor.md", markdown_of("Shop", ["The print shop is on floor 3."])))
    assert "floor 3" in ask(world.ada.client, question)["choices"][0]["message"]["content"]
    changed = markdown_of("Shop", ["The print shop is on floor 7."])
    second = done(world, upload(world.ada.client, "floor.md", changed))
    found = ask(world.ada.client, question)
    assert second["x_version"] == 2
    assert "floor 7" in found["choices"][0]["message"]["content"]
    assert all("floor 3" not in citation["quote"] for citation in found["x_citations"])


def test_a_deleted_file_is_gone_from_every_store(world: World) -> None:
    """The counts say what went; a search finds nothing, and no file of it is on disk."""
    content = pdf_of([["The vault opens at nine minutes past seven."]])
    file = done(world, upload(world.ada.client, "vault.pdf", content))
    question = "When does the vault open?"
    citation = ask(world.ada.client, question)["x_citations"][0]
    stored = world.server.data_dir / "files"
    version = citation["version"]["id"]
    assert [path for path in stored.rglob("*") if version in path.name]

    gone = world.ada.client.delete(f"/v1/files/{file['id']}").json()
    assert gone == {
        "id": file["id"],
        "object": "file",
        "deleted": True,
        "x_removed": {
            "points": 1, "passages": 1, "versions": 1, "files": 1, "found_before": 1, "found_after": 0,
        },
    }  # fmt: skip
    found = ask(world.ada.client, question)
    assert all(cited["file"]["id"] != file["id"] for cited in found["x_citations"])
    assert [path for path in stored.rglob("*") if version in path.name] == []
    job = file["x_job"]["id"]
    for path in (f"/v1/files/{file['id']}", f"/v1/sources/{citation['id']}", f"/v1/jobs/{job}"):
        error_of(world.ada.client.get(path), 404)
    error_of(world.ada.client.delete(f"/v1/files/{file['id']}"), 404)


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_can_be_followed_to_its_end(world: World) -> None:
    """The event stream repeats the job at each change and ends with a final state."""
    file = upload(world.ada.client, "followed.docx", docx_of("Followed", ["The gate closes at ten."]))
    with world.ada.client.stream("GET", f"/v1/jobs/{file['x_job']['id']}/events") as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    assert events[-1]["state"] == "succeeded"
    assert (events[-1]["file_id"], events[-1]["object"]) == (file["id"], "job")
    assert events[-1] == world.ada.client.get(f"/v1/jobs/{file['x_job']['id']}").json()


def recorded_of(world: World, answer: httpx2.Response) -> list[tuple[str, str, str]]:
    """Return type, kind and id of what one request put on the record, once it has its place there."""
    mine = {"correlation": answer.headers["x-request-id"]}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := world.auditor.client.get("/v1/audit/events", params=mine).json()["data"]:
            return [(event["type"], event["res"]["type"], event["res"]["id"]) for event in found]
        time.sleep(0.1)
    return []


def test_a_job_can_be_cancelled_and_retried(world: World) -> None:
    """A cancelled job ends soon and answers nothing; retried, it succeeds."""
    rng = random.Random(7)
    lines = [[f"Entry {rng.random()} of the long register of the harbour."] * 35 for _ in range(25)]
    file = upload(world.ada.client, "register.pdf", pdf_of(lines))
    job = f"/v1/jobs/{file['x_job']['id']}"
    cancelled = world.ada.client.post(f"{job}/cancel")
    assert cancelled.status_code == 200
    assert recorded_of(world, cancelled) == [("job.cancelled", "job", file["x_job"]["id"])]
    assert finished_job(world.ada.client, file["x_job"]["id"])["state"] == "cancelled"
    error_of(world.ada.client.post(f"{job}/cancel"), 409)
    found = ask(world.ada.client, "Which register has the harbour?")
    assert all(citation["file"]["id"] != file["id"] for citation in found["x_citations"])
    retried = world.ada.client.post(f"{job}/retry")
    assert retried.json()["state"] in {"queued", "running"}
    assert recorded_of(world, retried) == [("job.retried", "job", file["x_job"]["id"])]
    ended = finished_job(world.ada.client, file["x_job"]["id"])
    assert (ended["state"], ended["reason"]) == ("succeeded", None)
    error_of(world.ada.client.post(f"{job}/retry"), 409)
    world.ada.client.delete(f"/v1/files/{file['id']}")


# --- files that cannot be read --------------------------------------------------------------------


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


PDF = pdf_of([["A page that is whole."], ["And another one."]])
# The code of the refusal, at the door (422) or as the job's reason.
UNREADABLE = [
    ("empty.pdf", b"", "empty"),
    ("locked.pdf", pdf_of([["secret"]], password="swordfish"), "encrypted"),
    ("cut.pdf", PDF[: len(PDF) // 2], "damaged"),
    ("cut.docx", docx_of("Cut", ["off"])[:900], "damaged"),
    ("program.pdf", b"\x7fELF\x02\x01\x01" + bytes(200), "mislabelled"),
    ("picture.md", b"GIF89a" + bytes(200), "unsupported_type"),
    ("archive.docx", zip_of(**{"notes.txt": b"no document"}), "mislabelled"),
    ("blank.pdf", pdf_of([[]]), "no_text"),
]


@pytest.mark.parametrize(("name", "content", "code"), UNREADABLE, ids=[name for name, _, _ in UNREADABLE])
def test_an_unreadable_file_gets_one_typed_reason(world: World, name: str, content: bytes, code: str) -> None:
    """It is refused at the door, or its job fails with a reason; it answers nothing and harms nobody."""
    answer = world.ada.client.post("/v1/files", files={"file": (name, content)})
    if answer.status_code == 201:
        job = finished_job(world.ada.client, answer.json()["x_job"]["id"])
        assert job["state"] == "failed"
        reason = job["reason"]
        assert reason["code"] == code, reason
        assert reason["message"]
        file = world.ada.client.get(f"/v1/files/{answer.json()['id']}").json()
        assert (file["status"], file["status_details"]) == ("error", reason["message"])
    else:
        assert error_of(answer, 422)["code"] == code


def test_a_mislabelled_file_is_read_as_what_it_is(world: World) -> None:
    """Content decides about the type: a PDF called .docx is read as a PDF, with its page."""
    content = pdf_of([["The lighthouse keeper is called Ingrid."]])
    file = done(world, upload(world.ada.client, "lighthouse.docx", content))
    assert file["x_media_type"] == "application/pdf"
    cited = ask(world.ada.client, "What is the lighthouse keeper called?")["x_citations"]
    assert [c["page"] for c in cited if c["file"]["id"] == file["id"]] == [1]


# --- uploads that are refused ---------------------------------------------------------------------


def test_two_gigabytes_are_refused_by_their_announcement(world: World) -> None:
    """A Content-Length past the limit is 413 before anything of the body was sent."""
    answer = raw_request(world, b"POST /v1/files HTTP/1.1", {"Content-Length": str(2 * 1024**3)}, b"")
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"


def test_an_endless_upload_is_refused_at_the_limit(world: World) -> None:
    """A stream that announces no length is refused past the limit, and leaves nothing on disk."""
    before = stored_files(world)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="endless.txt"\r\n\r\n'
        while sent < 4 * UPLOAD_LIMIT:
            sent += 65536
            yield b"all work and no play " * 3121

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = world.ada.client.post("/v1/files", content=endless(), headers=headers)
    assert error_of(answer, 413)["code"] == "too_large"
    assert sent > 2 * UPLOAD_LIMIT
    assert stored_files(world) == before
    names = [file["filename"] for file in world.ada.client.get("/v1/files").json()["data"]]
    assert "endless.txt" not in names


def test_a_file_of_exactly_the_limit_is_taken(world: World) -> None:
    """The limit is the file's own size; one byte more is too large."""
    text = b"The harbour master writes every day. "
    full = (text * (UPLOAD_LIMIT // len(text) + 1))[:UPLOAD_LIMIT]
    over = world.ada.client.post("/v1/files", files={"file": ("over.txt", full + b"x")})
    assert error_of(over, 413)["code"] == "too_large"
    taken = upload(world.ada.client, "full.txt", full)
    assert taken["bytes"] == UPLOAD_LIMIT
    world.ada.client.delete(f"/v1/files/{taken['id']}")


BROKEN = {
    "no multipart": (b"hello", "text/plain"),
    "no boundary": (b"hello", "multipart/form-data"),
    "no end": (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello',
        "multipart/form-data; boundary=b",
    ),
    "garbage": (b"\x00\x01\x02 not a part", "multipart/form-data; boundary=b"),
    "other part name": (
        b'--b\r\nContent-Disposition: form-data; name="upload"; filename="a.txt"\r\n\r\nhello\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
    "no file": (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
    "two files": (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="b.txt"\r\n\r\nhello\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_upload_gets_one_typed_error(world: World, kind: str) -> None:
    """Nothing of it is kept: no file is listed, and none lies on disk."""
    before = stored_files(world)
    body, content_type = BROKEN[kind]
    headers = {"content-type": content_type}
    assert error_of(world.ada.client.post("/v1/files", content=body, headers=headers), 400)["code"] == (
        "invalid_input"
    )
    assert stored_files(world) == before


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/abs/olute.md", "olute.md"),
        ("..", "unnamed"),
        ("new\nline\x1b[31m.md", "newline[31m.md"),
        ("a" * 400 + ".md", "a" * 252 + ".md"),
        ("C:\\x", "x"),
        ("gepj.\u202efdp.md", "gepj.fdp.md"),
        ("Cafe\u0301.md", "Caf\u00e9.md"),
        ("\u2066\u200b.\u200b.\u2069", "unnamed"),
    ],
)
def test_a_tricky_file_name_stays_a_name(world: World, sent: str, kept: str) -> None:
    """Only the last part of a path is kept, without control characters; nothing is written outside."""
    name = sent.replace("\\", "\\\\")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode().replace(b"\n", b"\x01")
        + b'"\r\n\r\n# Plain\n\nA plain text about nothing.\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = world.ben.client.post("/v1/files", content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["filename"] == kept
    world.ben.client.delete(f"/v1/files/{answer.json()['id']}")


def test_a_share_with_nobody_refuses_the_upload(world: World) -> None:
    """An unknown principal is one typed error, and nothing is stored."""
    before = stored_files(world)
    files = {"file": ("shared.md", markdown_of("Shared", ["With whom?"]))}
    answer = world.ada.client.post("/v1/files", files=files, data={"share": "user:nobody"})
    assert error_of(answer, 400)["param"] == "principal"
    assert stored_files(world) == before


# --- who may read one file ------------------------------------------------------------------------

OPEN: dict[str, Any] = {"only": None, "deny": [], "clearance": 0, "compartments": []}


def test_an_owner_sets_who_may_not_read_a_file(world: World) -> None:
    """Hidden from Ben, by the denial, although everybody may read it. Visible to Ada and the auditor."""
    text = markdown_of("Bees", ["The bees live on the roof."])
    file = upload(world.ada.client, "bees.md", text, share="group:local:everyone")
    path = f"/v1/files/{file['id']}"
    assert world.ben.client.get(path).status_code == 200
    answer = world.ada.client.put(f"{path}/access", json={**OPEN, "deny": [world.ben.principal]})
    assert answer.status_code == 200
    assert answer.json() == world.ada.client.get(f"{path}/access").json()
    assert answer.json()["deny"] == [{"id": world.ben.principal, "label": "Ben"}]
    statuses = [who.client.get(path).status_code for who in (world.ben, world.ada, world.auditor)]
    assert statuses == [404, 200, 200]
    assert world.ada.client.delete(f"{path}/shares/{world.ben.principal}?effect=deny").status_code == 204
    assert world.ben.client.get(path).status_code == 200
    assert world.ada.client.put(f"{path}/shares/{world.ben.principal}?effect=deny").status_code == 204
    error_of(world.ben.client.get(path), 404)
    mine = world.ada.client.get(path).json()
    assert (mine["x_clearance"], mine["x_compartments"], mine["x_collection"]) == (0, [], None)
    world.ada.client.delete(path)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**OPEN, "deny": ["group:local:everyone"]}, 409),
        ({**OPEN, "clearance": 1}, 409),
        ({**OPEN, "compartments": ["board"]}, 409),
        ({**OPEN, "only": []}, 409),
        ({**OPEN, "clearance": 101}, 400),
        ({**OPEN, "deny": ["user:nobody"]}, 400),
        ({**OPEN, "deny": ["user:\x00"]}, 400),
        ({**OPEN, "compartments": [" "]}, 400),
        ({**OPEN, "denied": []}, 400),
        ({"only": None, "deny": [], "clearance": 0}, 400),
    ],
)
def test_a_restriction_that_is_wrong_changes_nothing(world: World, body: dict[str, Any], status: int) -> None:
    """One typed error, whether it would shut the owner out, names nobody, or leaves a field out."""
    path = f"/v1/files/{world.policy['id']}/access"
    before = world.ada.client.get(path).json()
    error_of(world.ada.client.put(path, json=body), status)
    assert world.ada.client.get(path).json() == before


def test_ten_thousand_lines_are_refused_at_once(world: World) -> None:
    """One typed error within a second, although each line would be a look-up."""
    path = f"/v1/files/{world.policy['id']}/access"
    body = {**OPEN, "deny": [f"user:{number}" for number in range(10_000)]}
    answer = world.ada.client.put(path, json=body)
    assert error_of(answer, 400)["param"] == "deny"
    assert answer.elapsed.total_seconds() < 1


def test_a_file_in_a_collection_is_shared_by_the_collection_alone(world: World) -> None:
    """`share` with `collection` is a conflict, and so is a later share; nothing is stored by the first."""
    store = world.ada.client.post("/v1/vector_stores", json={"name": "Alone"}).json()["id"]
    before, files = stored_files(world), {"file": ("alone.md", markdown_of("Alone", ["Alone."]))}
    both = {"collection": store, "share": world.ben.principal}
    assert error_of(world.ada.client.post("/v1/files", files=files, data=both), 409)["param"] == "share"
    error_of(world.ada.client.post("/v1/files", files=files, data={"collection": "nowhere"}), 404)
    assert stored_files(world) == before
    file = upload(world.ada.client, "alone.md", files["file"][1], collection=store)
    error_of(world.ada.client.put(f"/v1/files/{file['id']}/shares/{world.ben.principal}"), 409)
    error_of(world.ben.client.get(f"/v1/files/{file['id']}"), 404)
    world.ada.client.delete(f"/v1/files/{file['id']}")


def test_a_page_of_files_begins_behind_a_file_that_one_may_read(world: World) -> None:
    """Pages join without gap; behind somebody else's file, or none, there is no page."""
    first = upload(world.ben.client, "first.md", markdown_of("First", ["First."]))
    second = upload(world.ben.client, "second.md", markdown_of("Second", ["Second."]))
    page = world.ben.client.get("/v1/files", params={"limit": 1}).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([second["id"]], True)
    page = world.ben.client.get("/v1/files", params={"limit": 1, "after": second["id"]}).json()
    assert [file["id"] for file in page["data"]] == [first["id"]]
    for after in (world.policy["id"], "nowhere"):
        error_of(world.ben.client.get("/v1/files", params={"after": after}), 404)


# --- small ways -----------------------------------------------------------------------------------


def done(world: World, file: dict[str, Any]) -> dict[str, Any]:
    """Wait for a file's job, and return the file as it is then."""
    assert finished_job(world.ada.client, file["x_job"]["id"])["state"] == "succeeded"
    found: dict[str, Any] = world.ada.client.get(f"/v1/files/{file['id']}").json()
    return found


def stored_files(world: World) -> set[str]:
    """Return what lies in the folder of originals."""
    return {path.name for path in (world.server.data_dir / "files").rglob("*") if path.is_file()}


def raw_request(world: World, line: bytes, headers: dict[str, str], body: bytes) -> bytes:
    """Send bytes that no client library would, and return the whole answer."""
    address = urlsplit(world.server.url)
    wanted = {
        "Host": address.netloc,
        "Authorization": world.ada.client.headers["authorization"],
        "Content-Type": "multipart/form-data; boundary=b",
        "Connection": "close",
        **headers,
    }
    head = b"\r\n".join([line, *(f"{name}: {value}".encode() for name, value in wanted.items()), b"", b""])
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(head + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
            if answer.endswith(b"}}"):
                break
    return answer
