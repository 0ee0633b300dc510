"""The callers of the role matrix on a real server, and a request of each operation that fits them.

Accounts, sessions and keys are put into the server's database, beside it; files, collections and
conversations are made through the interface by whoever owns them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Final

import httpx2
from role_matrix import Caller
from sqlalchemy.orm import Session

from infra import accounts, documents
from infra.access import EVERY_SCOPE, EVERYONE, KeyScope, Role
from infra.clock import new_id
from infra.database import Database
from infra.database.tables import Document
from infra.keys import MasterKey
from ingest import jobs
from tests.made_documents import pdf_of
from tests.preloaded import PreloadedServer
from tests.serving import ask, finished_job, upload

PASSWORD: Final = "a long password for everybody"
LEAVE: Final = "Employees receive 25 days of annual leave in each calendar year."
QUESTION: Final = "How many days of annual leave do employees receive?"
SOURCES: Final = '[{"kind": "folder", "name": "shelf", "path": "/nowhere", "owner": "nobody@example.org"}]'
"""A watched folder that is not there, of somebody who is not either."""
SCIM: Final = "urn:ietf:params:scim:schemas:core:2.0"
_ROLES: Final = {
    Caller.EMPLOYEE: {Role.EMPLOYEE},
    Caller.CURATOR: {Role.CURATOR},
    Caller.AUDITOR: {Role.AUDITOR},
    Caller.ADMIN: {Role.ADMIN},
    Caller.FULL_KEY: {Role.ADMIN, Role.CURATOR, Role.EMPLOYEE},
    Caller.READ_KEY: {Role.ADMIN, Role.CURATOR, Role.EMPLOYEE},
}
_KEYS: Final = {Caller.FULL_KEY: EVERY_SCOPE, Caller.READ_KEY: {KeyScope.READ}}
_numbers = count(1)


def fresh(word: str) -> str:
    """Return a name that nothing has yet."""
    return f"{word}{next(_numbers)}"


@dataclass(frozen=True)
class Fitting:
    """What belongs into a request, so that it can be done: path, query, headers and body.

    `content` is a body that is no JSON.
    """

    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None


class House:
    """One server in quote mode, with a file that everybody may read."""

    def __init__(self, server: PreloadedServer, database: Database, master_key: MasterKey) -> None:
        self.server = server
        self.database = database
        self.master_key = master_key
        self.password_hash = accounts.hash_password(PASSWORD)
        self._at_home: dict[Caller, Actor] = {}
        librarian = self.caller(Caller.EMPLOYEE).client
        policy = upload(librarian, "leave.pdf", pdf_of([["Leave", LEAVE]]), share=EVERYONE)
        assert finished_job(librarian, policy["x_job"]["id"])["state"] == "succeeded"
        self.policy_id: str = policy["id"]

    def close(self) -> None:
        """Close every client, and the database."""
        for actor in self._at_home.values():
            actor.close()
        self.database.close()

    def caller(self, caller: Caller) -> Actor:
        """Return a caller who stays, with whatever was made for them."""
        if caller not in self._at_home:
            self._at_home[caller] = self.throw_away(caller)
        return self._at_home[caller]

    def throw_away(self, caller: Caller) -> Actor:
        """Return a caller with an account that nobody else uses; close it."""
        if caller is Caller.NOBODY:
            return Actor(self, caller, "", {"x-forwarded-for": f"2001:db8:{next(_numbers):x}::1"}, {})
        with self.database.write() as session:
            if caller is Caller.SCIM_KEY:
                user = accounts.create_service_account(session, fresh("directory"), [Role.EMPLOYEE])
                session.flush()
                _, key = accounts.create_key(session, user.id, "push", scopes=[KeyScope.SCIM])
                return Actor(self, caller, user.id, bearer(key), {})
            user_id = self.new_person(session, _ROLES[caller])
            token = accounts.open_session(session, user_id, hours=1)
            signed_in = {"cookie": f"__Host-strongroom={token}", "sec-fetch-site": "same-origin"}
            if caller not in _KEYS:
                return Actor(self, caller, user_id, signed_in, signed_in)
            _, key = accounts.create_key(session, user_id, "key", scopes=_KEYS[caller])
            return Actor(self, caller, user_id, bearer(key), signed_in)

    def new_person(self, session: Session, roles: set[Role]) -> str:
        """Add an account with a password, as an invitation does; returns its id."""
        token, _ = accounts.invite(session, roles, created_by=None)
        session.flush()
        name = fresh("person")
        user = accounts.accept_invitation(
            session, token, name=name, email=f"{name}@example.org", password_hash=self.password_hash
        )
        session.flush()
        return user.id


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {key}"}


class Actor:
    """One caller: `headers` say who knocks. What is theirs is made, once, when a request names it."""

    def __init__(
        self, house: House, caller: Caller, user_id: str, headers: dict[str, str], signed_in: dict[str, str]
    ) -> None:
        self.house = house
        self.caller = caller
        self.user_id = user_id
        self.headers = headers
        self._signed_in = signed_in
        self._client: httpx2.Client | None = None

    @property
    def client(self) -> httpx2.Client:
        """Return the browser of the account's owner."""
        if self._client is None:
            self._client = httpx2.Client(
                base_url=self.house.server.url, timeout=120, headers=self._signed_in or self.headers
            )
        return self._client

    def close(self) -> None:
        """Close the browser."""
        if self._client is not None:
            self._client.close()

    def fitting(self, operation: str) -> Fitting:
        """Return what makes a request of `operation` one that can be done.

        Whoever owns nothing names an employee's things.
        """
        own = self._signed_in or (self.caller is Caller.SCIM_KEY and "/scim/" in operation)
        owner = self if own else self.house.caller(Caller.EMPLOYEE)
        path = {name: _value_maker(name, operation)(owner) for name in names_in(operation)}
        if operation.startswith("DELETE ") and "principal" in path:
            # What is not shared cannot be unshared.
            owner.client.put(operation.split()[1].format(**path)).raise_for_status()
        query = {name: make(owner) for name, make in _QUERIES.get(operation, {}).items()}
        body = _BODIES[operation](owner) if operation in _BODIES else None
        return Fitting(path, query, body, _HEADERS.get(operation, {}), _CONTENTS.get(operation))

    # --- what is theirs ---------------------------------------------------------------------------

    @cached_property
    def file(self) -> dict[str, str]:
        """A file of theirs, as rows: reading it in would take a parser's child and a second."""
        return self.new_file()

    @cached_property
    def uploaded(self) -> dict[str, Any]:
        """A file of theirs with content and a job."""
        return upload(self.client, f"{fresh('note')}.txt", LEAVE.encode())

    @property
    def quarantined_id(self) -> str:
        """A job of theirs in quarantine, whose file never answered."""
        document_id = self.new_file()["id"]
        with self.house.database.write() as session:
            session.get_one(Document, document_id).version_id = None
            version_id = documents.latest_version(session, document_id).id
            job = jobs.submit(session, document_id=document_id, version_id=version_id, corr=new_id())
            job.state = job.stage = "quarantined"
            return job.id

    @property
    def batch_id(self) -> str:
        """A batch of theirs."""
        return str(self._made("/v1/batches", {"name": fresh("Import")})["id"])

    @property
    def upload_id(self) -> str:
        """A resumable upload of theirs, of which nothing has arrived."""
        begun = self.client.post("/v1/uploads", headers=_HEADERS["POST /v1/uploads"])
        assert begun.status_code == 201, begun.text
        return str(begun.json()["id"])

    @cached_property
    def collection_id(self) -> str:
        """A collection of theirs."""
        return str(self._made("/v1/vector_stores", {"name": fresh("Collection")})["id"])

    @cached_property
    def placed_id(self) -> str:
        """A file in their collection."""
        file_id = self.new_file()["id"]
        self._made(f"/v1/vector_stores/{self.collection_id}/files", {"file_id": file_id}, 200)
        return file_id

    @cached_property
    def conversation_id(self) -> str:
        """A conversation of theirs, with one question."""
        made = str(self._made("/v1/conversations", {"title": fresh("Talk")})["id"])
        ask(self.client, QUESTION, x_conversation=made)
        return made

    @cached_property
    def answer_id(self) -> str:
        """The answer to a question of theirs."""
        answered = self.client.post("/v1/chat/completions", json=_BODIES["POST /v1/chat/completions"](self))
        return str(answered.json()["id"]).removeprefix("chatcmpl-")

    @cached_property
    def key_id(self) -> str:
        """A key of theirs that nobody uses."""
        with self.house.database.write() as session:
            return accounts.create_key(session, self.user_id, "spare")[0].id

    @cached_property
    def service(self) -> tuple[str, str]:
        """A service account that nobody uses, and its key."""
        with self.house.database.write() as session:
            user = accounts.create_service_account(session, fresh("service"), [Role.EMPLOYEE])
            session.flush()
            return user.id, accounts.create_key(session, user.id, "spare", scopes=[KeyScope.READ])[0].id

    @cached_property
    def spare_person(self) -> str:
        """Somebody else's account, for changes."""
        with self.house.database.write() as session:
            return self.house.new_person(session, {Role.EMPLOYEE})

    @cached_property
    def group_id(self) -> str:
        """A group that the spare person is in."""
        member = self.spare_person
        with self.house.database.write() as session:
            group = accounts.create_group(session, fresh("Group"))
            session.flush()
            accounts.add_member(session, group.id, member)
            return group.id

    @cached_property
    def pushed_user(self) -> str:
        """Somebody whom a directory pushed."""
        return self._pushed("/scim/v2/Users", new_scim_user(self))

    @cached_property
    def pushed_group(self) -> str:
        """A group that a directory pushed."""
        return self._pushed("/scim/v2/Groups", new_scim_group(self))

    @property
    def citation_id(self) -> str:
        """A passage of the file that everybody may read."""
        return str(self._made("/v1/search", {"query": QUESTION}, 200)["data"][0]["id"])

    @cached_property
    def event_id(self) -> str:
        """A record of their question, with its content."""
        # Asking for the receipt gives everything that waits a place in the log.
        self.client.get(f"/v1/answers/{self.answer_id}/receipt").raise_for_status()
        auditor = self.house.caller(Caller.AUDITOR).client
        listed = auditor.get("/v1/audit/events", params={"correlation": self.answer_id}).json()["data"]
        return next(str(event["id"]) for event in listed if event["has_content"])

    @property
    def sealed_answer_id(self) -> str:
        """The answer to a question of theirs, with its place in the log."""
        self.client.get(f"/v1/answers/{self.answer_id}/receipt").raise_for_status()
        return self.answer_id

    @property
    def permission_id(self) -> str:
        """Another auditor's request to read contents, which nobody has approved."""
        with closing(self.house.throw_away(Caller.AUDITOR)) as other:
            return str(other._made("/v1/audit/content-permissions", {"reason": "An incident."})["id"])

    @cached_property
    def erasure_id(self) -> str:
        """The certificate of somebody's erasure."""
        return str(self._asked_of(Caller.ADMIN, "/v1/erasures", {"user": self.new_person_id})["id"])

    @property
    def hold_id(self) -> str:
        """A hold that stands, on somebody of whom nothing else is asked."""
        about = {"user": self.new_person_id, "reason": "litigation"}
        return str(self._asked_of(Caller.AUDITOR, "/v1/holds", about)["id"])

    @property
    def new_person_id(self) -> str:
        """Somebody else's account that nothing else uses."""
        with self.house.database.write() as session:
            return self.house.new_person(session, {Role.EMPLOYEE})

    @property
    def checkpoint_size(self) -> str:
        """The size of a signed checkpoint of the record."""
        auditor = self.house.caller(Caller.AUDITOR).client
        return str(auditor.get("/v1/audit/checkpoint").json()["size"])

    @property
    def invitation(self) -> str:
        """A new invitation's token."""
        with self.house.database.write() as session:
            return accounts.invite(session, [Role.EMPLOYEE], created_by=None)[0]

    @property
    def email(self) -> str:
        """Their own address."""
        return str(self.client.get("/v1/me").json()["email"])

    def new_file(self) -> dict[str, str]:
        """Keep a file of theirs and return its id and name."""
        house, name = self.house, f"{fresh('note')}.txt"
        with house.database.write() as session:
            document = documents.create_document(session, owner=f"user:{self.user_id}", name=name)
            version_id = new_id()
            _, wrapped = documents.new_version_key(house.master_key, version_id)
            version = documents.add_version(
                session, document, version_id=version_id, sha256="0" * 64, size=1, wrapped_key=wrapped
            )
            version.state, document.version_id = "ready", version_id
            return {"id": document.id, "filename": name}

    def _made(self, path: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def _asked_of(self, caller: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.house.caller(caller)._made(path, body)

    def _pushed(self, path: str, body: dict[str, Any]) -> str:
        return str(self.house.caller(Caller.SCIM_KEY)._made(path, body)["id"])


def names_in(operation: str) -> list[str]:
    """Return the names of an operation's path parameters."""
    return [part[1:-1] for part in operation.split("/") if part.startswith("{")]


def new_scim_user(_: Actor) -> dict[str, Any]:
    """Return a person for a directory to push."""
    return {"schemas": [f"{SCIM}:User"], "userName": f"{fresh('pushed')}@example.org"}


def new_scim_group(_: Actor) -> dict[str, Any]:
    """Return a group for a directory to push."""
    return {"schemas": [f"{SCIM}:Group"], "displayName": fresh("Pushed")}


def _scim_patch(name: str) -> Callable[[Actor], dict[str, Any]]:
    def patch(_: Actor) -> dict[str, Any]:
        operation = {"op": "replace", "path": name, "value": fresh("Renamed")}
        return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}

    return patch


_Make = Callable[[Actor], Any]
_VALUES: Final[dict[str, _Make]] = {
    "file_id": lambda actor: actor.file["id"],
    "batch_id": lambda actor: actor.batch_id,
    "upload_id": lambda actor: actor.upload_id,
    "job_id": lambda actor: actor.uploaded["x_job"]["id"],
    "collection_id": lambda actor: actor.collection_id,
    "conversation_id": lambda actor: actor.conversation_id,
    "answer_id": lambda actor: actor.answer_id,
    "citation_id": lambda actor: actor.citation_id,
    "event_id": lambda actor: actor.event_id,
    "erasure_id": lambda actor: actor.erasure_id,
    "hold_id": lambda actor: actor.hold_id,
    "document_id": lambda actor: actor.house.policy_id,
    "permission_id": lambda actor: actor.permission_id,
    "key_id": lambda actor: actor.key_id,
    "user_id": lambda actor: actor.spare_person,
    "group_id": lambda actor: actor.group_id,
    "principal": lambda _: EVERYONE,
}
_OF_PREFIX: Final[dict[str, dict[str, _Make]]] = {
    "vector_stores": {"file_id": lambda actor: actor.placed_id},
    "service-accounts": {
        "account_id": lambda actor: actor.service[0],
        "key_id": lambda actor: actor.service[1],
    },
    "choices": {"name": lambda _: "no_answer_text"},
    "sources": {"name": lambda _: "shelf"},
    "audit": {"answer_id": lambda actor: actor.sealed_answer_id},
    "directories": {"name": lambda _: "nowhere"},
}
_OF_SCIM: Final[dict[str, _Make]] = {
    "user_id": lambda actor: actor.pushed_user,
    "group_id": lambda actor: actor.pushed_group,
    "type_id": lambda _: "User",
    "schema_id": lambda _: f"{SCIM}:User",
}
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_HEADERS: Final[dict[str, dict[str, str]]] = {
    # `note.txt`, in base64.
    "POST /v1/uploads": {**_TUS, "Upload-Length": "7", "Upload-Metadata": "filename bm90ZS50eHQ="},
    "HEAD /v1/uploads/{upload_id}": _TUS,
    "PATCH /v1/uploads/{upload_id}": {
        **_TUS,
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    },
    "DELETE /v1/uploads/{upload_id}": _TUS,
}
_CONTENTS: Final = {"PATCH /v1/uploads/{upload_id}": b"A note."}
_QUERIES: Final[dict[str, dict[str, _Make]]] = {
    "GET /v1/audit/consistency": {"first": lambda actor: actor.checkpoint_size},
    "GET /v1/access/explain": {
        "user": lambda actor: actor.spare_person,
        "document": lambda actor: actor.house.policy_id,
    },
}


def _value_maker(name: str, operation: str) -> _Make:
    """Return what makes a value of a path parameter, whose name means different things at some addresses."""
    if operation in ("GET /v1/files/{file_id}/content", "GET /v1/files/{file_id}/hidden"):
        return lambda actor: actor.uploaded["id"]
    if operation == "POST /v1/jobs/{job_id}/discard":
        return lambda actor: actor.quarantined_id
    first, second, *_ = operation.split()[1].strip("/").split("/")
    special = _OF_SCIM if first == "scim" else _OF_PREFIX.get(second, {})
    return special.get(name) or _VALUES[name]


_BODIES: Final[dict[str, _Make]] = {
    "POST /v1/session": lambda actor: {"email": actor.email, "password": PASSWORD},
    "POST /v1/me/password": lambda _: {"current": PASSWORD, "new": f"{PASSWORD} again"},
    "POST /v1/invitations": lambda _: {"roles": ["employee"]},
    "POST /v1/invitations/accept": lambda actor: {
        "token": actor.invitation,
        "name": fresh("newcomer"),
        "email": f"{fresh('newcomer')}@example.org",
        "password": PASSWORD,
    },
    "PATCH /v1/users/{user_id}": lambda _: {"clearance": 1},
    "POST /v1/keys": lambda _: {"name": "new", "scopes": ["read"], "expires_in_days": 1},
    "POST /v1/service-accounts": lambda _: {"name": fresh("program")},
    "POST /v1/service-accounts/{account_id}/keys": lambda _: {"name": "new", "scopes": ["read"]},
    "POST /v1/groups": lambda _: {"name": fresh("Team")},
    "PUT /v1/files/{file_id}/access": lambda _: {
        "only": None,
        "deny": [],
        "clearance": 0,
        "compartments": [],
    },
    "POST /v1/audit/export": lambda _: {},
    "POST /v1/audit/content-permissions": lambda _: {"reason": "An incident is being looked into."},
    "POST /v1/access/import": lambda actor: {"rows": [{"path": actor.file["filename"], "allow": []}]},
    "POST /v1/batches": lambda _: {"name": fresh("Import")},
    "POST /v1/vector_stores": lambda _: {"name": fresh("Collection")},
    "POST /v1/vector_stores/{collection_id}": lambda _: {"name": fresh("Collection")},
    "PATCH /v1/vector_stores/{collection_id}/label": lambda _: {"clearance": 0},
    # Another file each time: one that stands in a collection cannot be shared any more.
    "POST /v1/vector_stores/{collection_id}/files": lambda actor: {"file_id": actor.new_file()["id"]},
    "POST /v1/vector_stores/{collection_id}/search": lambda _: {"query": QUESTION},
    "POST /v1/search": lambda _: {"query": QUESTION},
    "POST /v1/chat/completions": lambda _: {
        "model": "strongroom-quote",
        "messages": [{"role": "user", "content": QUESTION}],
    },
    "POST /v1/feedback": lambda actor: {
        "answer_id": actor.answer_id,
        "verdict": "good",
        "comment": "Thanks.",
    },
    "POST /v1/erasures": lambda actor: {"user": actor.new_person_id, "reason": "left"},
    "POST /v1/holds": lambda actor: {"user": actor.new_person_id, "reason": "litigation"},
    "POST /v1/conversations": lambda _: {"title": fresh("Talk")},
    "POST /mcp": lambda _: {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    "PUT /v1/choices/{name}": lambda _: {"value": "Ask the owner of the file."},
    "POST /scim/v2/Users": new_scim_user,
    "PUT /scim/v2/Users/{user_id}": new_scim_user,
    "PATCH /scim/v2/Users/{user_id}": _scim_patch("displayName"),
    "POST /scim/v2/Groups": new_scim_group,
    "PUT /scim/v2/Groups/{group_id}": new_scim_group,
    "PATCH /scim/v2/Groups/{group_id}": _scim_patch("displayName"),
}
