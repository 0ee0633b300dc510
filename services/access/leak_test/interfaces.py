"""Every way to ask for a document, as the operations of the OpenAPI document name them.

A test compares this list with that document: an operation that is in neither `INTERFACES` nor `PLANTING`
fails it, so that no new interface escapes the leak test.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from infra.access import Role
from services.access.leak_test.asking import Ask
from services.access.leak_test.canary import Canary
from services.chat.schemas import QUOTES

Control = Literal["insider", "owner"]


@dataclass(frozen=True)
class Interface:
    """One operation, used in one way. `ask` makes the request about a canary.

    With `by_id`, the canary is named by an id or a file name, and an outsider has to get the very answer
    that one which does not exist gives, but for the roles in `open_to`, who may know that it exists.
    `control` finds the canary here; without one, nobody is expected to. `needs` names what a canary must
    have for it; without `per_canary` it is asked once. `may_tell` are marks that are no secret here, and
    `telling` is a pattern that tells of the canary although it names nothing of it.
    """

    name: str
    operation: str
    ask: Callable[[Canary], Ask]
    by_id: bool = False
    control: Control | None = "insider"
    needs: str = "file_id"
    per_canary: bool = True
    open_to: frozenset[Role] = frozenset()
    may_tell: frozenset[str] = frozenset()
    telling: re.Pattern[str] | None = None

    def concerns(self, canary: Canary) -> bool:
        """Say whether this canary can be asked for here."""
        return bool(getattr(canary, self.needs))


def _chat(canary: Canary, **extra: Any) -> Ask:
    messages = [{"role": "user", "content": canary.question}]
    return Ask("POST", "/v1/chat/completions", {"model": QUOTES, "messages": messages, **extra})


def _mcp(tool: str, arguments: Mapping[str, str]) -> Ask:
    call = {"name": tool, "arguments": dict(arguments)}
    return Ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})


def _resumable(canary: Canary) -> Ask:
    described = {"filename": "leak-test.md", "collection": canary.own_collection}
    metadata = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in described.items())
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": metadata}
    return Ask("POST", "/v1/uploads", headers=headers)


def _at(path: str, method: str = "GET") -> Callable[[Canary], Ask]:
    """Return what asks at a path, whose `{names}` are a canary's."""
    return lambda canary: Ask(method, path.format_map(vars(canary)))


def _by_id(
    name: str, operation: str, path: str, *, needs: str, control: Control | None = "insider", **how: Any
) -> Interface:
    method = operation.split(maxsplit=1)[0]
    return Interface(name, operation, _at(path, method), by_id=True, needs=needs, control=control, **how)


def _listed(name: str, path: str, *, control: Control | None = "insider", **query: str) -> Interface:
    return Interface(
        name, f"GET {path}", lambda _: Ask("GET", path, query=query), per_canary=False, control=control
    )


_LISTS: Final = (
    _listed("files", "/v1/files"),
    _listed("vector stores", "/v1/vector_stores", limit="100"),
    _listed("jobs", "/v1/jobs"),
    _listed("conversations", "/v1/conversations", limit="100"),
    _listed("newest suggestions", "/v1/suggestions", control=None),
    _listed("principals", "/v1/principals", control=None),
    _listed("models", "/v1/models", control=None),
)

_QUESTIONS: Final = (
    Interface("search", "POST /v1/search", lambda c: Ask("POST", "/v1/search", {"query": c.question})),
    Interface("chat", "POST /v1/chat/completions", _chat),
    Interface("chat stream", "POST /v1/chat/completions", lambda c: _chat(c, stream=True)),
    Interface("MCP search", "POST /mcp", lambda c: _mcp("search", {"query": c.question})),
    Interface("MCP ask", "POST /mcp", lambda c: _mcp("ask", {"question": c.question})),
    Interface(
        "suggestions", "GET /v1/suggestions", lambda c: Ask("GET", "/v1/suggestions", query={"q": c.topic})
    ),
    Interface(
        "vector store search",
        "POST /v1/vector_stores/{collection_id}/search",
        lambda c: Ask("POST", f"/v1/vector_stores/{c.open_collection}/search", {"query": c.question}),
        needs="open_collection",
    ),
)

_FILE: Final = "/v1/files/{file_id}"
_FILES: Final = (
    _by_id("file", f"GET {_FILE}", _FILE, needs="file_id"),
    _by_id("file content", f"GET {_FILE}/content", f"{_FILE}/content", needs="file_id"),
    _by_id("hidden texts", f"GET {_FILE}/hidden", f"{_FILE}/hidden", needs="file_id", control="owner"),
    _by_id("file access", f"GET {_FILE}/access", f"{_FILE}/access", needs="file_id", control="owner"),
    Interface(
        "access import",
        "POST /v1/access/import",
        lambda c: Ask("POST", "/v1/access/import", {"rows": [{"path": c.filename}], "dry_run": True}),
        by_id=True,
        control="owner",
    ),
    _by_id("job", "GET /v1/jobs/{job_id}", "/v1/jobs/{job_id}", needs="job_id"),
    _by_id("job events", "GET /v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/events", needs="job_id"),
    _by_id(
        "job cancel",
        "POST /v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/cancel",
        needs="job_id",
        control="owner",
    ),
    _by_id(
        "job retry",
        "POST /v1/jobs/{job_id}/retry",
        "/v1/jobs/{job_id}/retry",
        needs="job_id",
        control="owner",
    ),
    _by_id(
        "job discard",
        "POST /v1/jobs/{job_id}/discard",
        "/v1/jobs/{job_id}/discard",
        needs="job_id",
        control="owner",
    ),
    Interface(
        "jobs of a batch",
        "GET /v1/jobs",
        lambda c: Ask("GET", "/v1/jobs", query={"batch": c.file_id}),
        by_id=True,
        control=None,
    ),
    # A canary has no batch; an id of something else must not open one.
    _by_id("batch", "GET /v1/batches/{batch_id}", "/v1/batches/{job_id}", needs="job_id", control=None),
    _by_id(
        "batch cancel",
        "POST /v1/batches/{batch_id}/cancel",
        "/v1/batches/{job_id}/cancel",
        needs="job_id",
        control=None,
    ),
    _by_id(
        "batch retry",
        "POST /v1/batches/{batch_id}/retry",
        "/v1/batches/{job_id}/retry",
        needs="job_id",
        control=None,
    ),
    _by_id("source", "GET /v1/sources/{citation_id}", "/v1/sources/{citation_id}", needs="citation_id"),
    _by_id(
        "page image",
        "GET /v1/sources/{citation_id}/page.png",
        "/v1/sources/{citation_id}/page.png",
        needs="citation_id",
    ),
    Interface(
        "MCP fetch",
        "POST /mcp",
        lambda c: _mcp("fetch", {"id": c.citation_id}),
        by_id=True,
        needs="citation_id",
    ),
)

_STORE: Final = "/v1/vector_stores/{own_collection}"
_STORE_OPERATION: Final = "/v1/vector_stores/{collection_id}"
_OPEN_STORE: Final = "/v1/vector_stores/{open_collection}"
_COLLECTIONS: Final = (
    _by_id("vector store", f"GET {_STORE_OPERATION}", _STORE, needs="own_collection"),
    _by_id("vector store files", f"GET {_STORE_OPERATION}/files", f"{_STORE}/files", needs="own_collection"),
    _by_id(
        "vector store file",
        f"GET {_STORE_OPERATION}/files/{{file_id}}",
        f"{_STORE}/files/{{file_id}}",
        needs="own_collection",
    ),
    Interface(
        "search in a hidden vector store",
        f"POST {_STORE_OPERATION}/search",
        lambda c: Ask("POST", f"/v1/vector_stores/{c.own_collection}/search", {"query": c.question}),
        by_id=True,
        needs="own_collection",
    ),
    Interface(
        "vector store change",
        f"POST {_STORE_OPERATION}",
        lambda c: Ask("POST", f"/v1/vector_stores/{c.own_collection}", {}),
        by_id=True,
        control="owner",
        needs="own_collection",
    ),
    Interface(
        "upload into a vector store",
        "POST /v1/files",
        lambda c: Ask(
            "POST",
            "/v1/files",
            file=("leak-test.md", b"# Leak test\n\nNothing.\n"),
            fields={"collection": c.own_collection},
        ),
        by_id=True,
        control=None,
        needs="own_collection",
    ),
    Interface(
        "resumable upload into a vector store",
        "POST /v1/uploads",
        _resumable,
        by_id=True,
        control=None,
        needs="own_collection",
    ),
    Interface(
        "search in a collection",
        "POST /v1/search",
        lambda c: Ask("POST", "/v1/search", {"query": c.question, "collection": c.open_collection}),
        needs="open_collection",
    ),
    Interface(
        "counts of a shared vector store",
        f"GET {_STORE_OPERATION}",
        _at(_OPEN_STORE),
        needs="open_collection",
        telling=re.compile(r'"(?:total|usage_bytes)":[1-9]'),
    ),
    Interface(
        "files of a shared vector store",
        f"GET {_STORE_OPERATION}/files",
        _at(f"{_OPEN_STORE}/files"),
        needs="open_collection",
    ),
    _by_id(
        "file of a shared vector store",
        f"GET {_STORE_OPERATION}/files/{{file_id}}",
        f"{_OPEN_STORE}/files/{{file_id}}",
        needs="open_collection",
    ),
    Interface(
        "new vector store",
        "POST /v1/vector_stores",
        lambda c: Ask("POST", "/v1/vector_stores", {"name": "leak test", "file_ids": [c.file_id]}),
        by_id=True,
        control=None,
    ),
    Interface(
        "file into a vector store",
        f"POST {_STORE_OPERATION}/files",
        lambda c: Ask("POST", f"/v1/vector_stores/{c.own_collection}/files", {"file_id": c.file_id}),
        by_id=True,
        control="owner",
        needs="own_collection",
    ),
)

_KEPT: Final = "/v1/conversations/{conversation_id}"
_PRIVATE: Final = "/v1/conversations/{private_conversation}"
_SHARED: Final = "/v1/conversations/{shared_conversation}"
_CONVERSATIONS: Final = (
    Interface("shared conversation", f"GET {_KEPT}", _at(_SHARED), control=None, needs="shared_conversation"),
    Interface(
        "items of a shared conversation",
        f"GET {_KEPT}/items",
        _at(f"{_SHARED}/items"),
        needs="shared_conversation",
    ),
    Interface(
        "export of a shared conversation",
        f"GET {_KEPT}/export",
        _at(f"{_SHARED}/export"),
        needs="shared_conversation",
    ),
    _by_id("conversation", f"GET {_KEPT}", _PRIVATE, needs="private_conversation"),
    _by_id("conversation items", f"GET {_KEPT}/items", f"{_PRIVATE}/items", needs="private_conversation"),
    _by_id("conversation export", f"GET {_KEPT}/export", f"{_PRIVATE}/export", needs="private_conversation"),
    Interface(
        "chat in a conversation",
        "POST /v1/chat/completions",
        lambda c: _chat(c, x_conversation=c.private_conversation),
        by_id=True,
        needs="private_conversation",
    ),
    _by_id(
        "receipt",
        "GET /v1/answers/{answer_id}/receipt",
        "/v1/answers/{answer_id}/receipt",
        needs="answer_id",
        # The record of every answer is an auditor's to check, ids included; it holds no name and no text.
        open_to=frozenset({Role.AUDITOR}),
        may_tell=frozenset({"file id", "citation id"}),
    ),
    Interface(
        "feedback",
        "POST /v1/feedback",
        lambda c: Ask("POST", "/v1/feedback", {"answer_id": c.answer_id, "verdict": "bad"}),
        by_id=True,
        control=None,
        needs="answer_id",
    ),
)

_EXPLAINED: Final = Interface(
    "explanation",
    "GET /v1/access/explain",
    lambda c: Ask("GET", "/v1/access/explain", query={"user": c.insider, "document": c.file_id}),
    by_id=True,
    control=None,
    open_to=frozenset({Role.ADMIN}),
    # Administrators may know which rules a file has, and so where it stands; never its name or content.
    may_tell=frozenset({"collection id"}),
)

INTERFACES: Final = (*_LISTS, *_QUESTIONS, *_FILES, *_COLLECTIONS, *_CONVERSATIONS, _EXPLAINED)
"""Every interface, in the order in which they are asked."""

PLANTING: Final = frozenset({"POST /v1/conversations", "POST /v1/batches"})
"""Operations that take nothing of anybody else's: used to plant, or to name what somebody brings."""
