"""MCP over real HTTP, with the protocol's own client: search, fetch and ask, as the caller alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import httpx2
import pytest
from api_world import LEAVE, QUESTION, World, error_of, record_held
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from infra.clock import new_id
from tests.made_documents import markdown_of
from tests.serving import Person, finished_job, upload

FACT = "The emergency generator stands in the cellar of the north wing."
FACT_QUESTION = "Where does the emergency generator stand?"
_T = TypeVar("_T")


@pytest.fixture
def generator(world: World) -> Iterator[dict[str, Any]]:
    """A file of Ada's, removed again afterwards."""
    file = upload(world.ada.client, "generator.md", markdown_of("Generator", [FACT]))
    assert finished_job(world.ada.client, file["x_job"]["id"])["state"] == "succeeded"
    yield file
    world.ada.client.delete(f"/v1/files/{file['id']}")


def connected(world: World, key: str, use: Callable[[Client], Awaitable[_T]], *, mode: Any = "auto") -> _T:
    """Connect with a key, hand the client to `use`, and return what that returns."""

    async def run() -> _T:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as http,
            Client(streamable_http_client(f"{world.server.url}/mcp", http_client=http), mode=mode) as client,
        ):
            return await use(client)

    return asyncio.run(run())


def key_of(person: Person) -> str:
    """Return somebody's key."""
    return person.client.headers["authorization"].removeprefix("Bearer ")


def call(world: World, person: Person, tool: str, **arguments: Any) -> CallToolResult:
    """Call one tool as somebody."""
    return connected(world, key_of(person), lambda client: client.call_tool(tool, arguments))


def found(world: World, person: Person, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call one tool that must succeed; returns its structured content, which its text repeats."""
    result = call(world, person, tool, **arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    structured: dict[str, Any] = result.structured_content
    return structured


def refused(world: World, person: Person, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call one tool that must be refused; returns its error."""
    result = call(world, person, tool, **arguments)
    assert result.is_error
    error: dict[str, Any] = json.loads(result.content[0].text)["error"]
    return error


def post(client: httpx2.Client, body: Any, **headers: str) -> httpx2.Response:
    """Send one raw message."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
        **headers,
    }
    return client.post("/mcp", content=content, headers=sent)


def message(method: str, **params: Any) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


# --- the tools ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_protocols_client_connects_and_lists_the_tools(world: World, mode: str) -> None:
    """With the handshake of 2025 and without it: three tools that only read, with schemas both ways."""
    listed = connected(world, key_of(world.ada), lambda client: client.list_tools(), mode=mode)
    assert [tool.name for tool in listed.tools] == ["search", "fetch", "ask"]
    for tool in listed.tools:
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.input_schema["type"] == "object"
        assert tool.output_schema is not None


def test_search_and_fetch_have_the_connectors_shapes(world: World) -> None:
    """`search` gives ids, titles and addresses; `fetch` the text behind an id, and where it stands."""
    results = found(world, world.ada, "search", query=QUESTION)["results"]
    assert set(results[0]) == {"id", "title", "url"}
    assert results[0]["title"].startswith("leave.pdf")
    assert results[0]["url"] == f"{world.server.url}/sources/{results[0]['id']}"
    passage = found(world, world.ada, "fetch", id=results[0]["id"])
    assert set(passage) == {"id", "title", "text", "url", "metadata"}
    assert LEAVE in passage["text"]
    assert passage["metadata"]["file_id"] == world.policy["id"]


def test_ask_answers_with_citations(world: World) -> None:
    """Text, outcome and quotes, whose ids `fetch` opens; its receipt is the asker's."""
    answer = found(world, world.ada, "ask", question=QUESTION)
    assert LEAVE in answer["answer"]
    assert answer["status"] == "answered"
    cited = answer["citations"][0]
    assert cited["quote"] in found(world, world.ada, "fetch", id=cited["id"])["text"]
    assert world.ada.client.get(f"/v1/answers/{answer['answer_id']}/receipt").status_code == 200


def test_a_ping_is_answered_and_a_notification_is_taken(world: World) -> None:
    """A request has a response with its id; a notification has none."""
    ping = post(world.ada.client, message("ping"))
    assert (ping.status_code, ping.json()) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
    told = post(world.ada.client, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (told.status_code, told.content) == (202, b"")


def test_nothing_is_kept_between_messages(world: World) -> None:
    """No session id is handed out, and no event stream or session can be opened, resumed or ended."""
    begun = post(
        world.ada.client,
        message(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        ),
    )
    assert begun.json()["result"]["serverInfo"]["name"] == "strongroom"
    assert begun.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in begun.headers
    for method in ("GET", "DELETE"):
        other = world.ada.client.request(method, "/mcp", headers={"accept": "text/event-stream"})
        assert error_of(other, 405)
        assert other.headers["allow"] == "POST"


# --- who sees what --------------------------------------------------------------------------------


def test_tools_show_what_the_caller_may_read_and_nothing_else(
    world: World, generator: dict[str, Any]
) -> None:
    """Hidden from Ben, admin and auditor: the fact and the file, by every tool. Visible to Ada."""
    mine = found(world, world.ada, "search", query=FACT_QUESTION)["results"][0]
    for person in (world.ben, world.admin, world.auditor):
        seen = [
            found(world, person, "search", query=FACT_QUESTION),
            found(world, person, "ask", question=FACT_QUESTION),
            refused(world, person, "fetch", id=mine["id"]),
        ]
        for hidden in ("generator.md", "north wing", generator["id"], mine["id"]):
            assert hidden not in json.dumps(seen)
    assert "north wing" in found(world, world.ada, "ask", question=FACT_QUESTION)["answer"]


def test_a_foreign_id_is_like_one_that_does_not_exist(world: World) -> None:
    """Hidden from Ben: that Ada's passage exists. Visible to Ada: its text."""
    mine = found(world, world.ada, "search", query=QUESTION)["results"][0]["id"]
    errors = [refused(world, world.ben, "fetch", id=which) for which in (mine, new_id(), "nonsense")]
    assert errors[0] == errors[1] == errors[2]
    assert errors[0]["code"] == "not_found"


def test_a_revoked_share_bites_an_id_found_earlier(world: World, generator: dict[str, Any]) -> None:
    """Hidden from Ben after the share ended: what `search` gave him before. Visible while it lasted."""
    share = f"/v1/files/{generator['id']}/shares/{world.ben.principal}"
    world.ada.client.put(share)
    passage = found(world, world.ben, "search", query=FACT_QUESTION)["results"][0]
    assert FACT in found(world, world.ben, "fetch", id=passage["id"])["text"]
    world.ada.client.delete(share)
    assert refused(world, world.ben, "fetch", id=passage["id"])["code"] == "not_found"
    later = found(world, world.ben, "search", query=FACT_QUESTION)["results"]
    assert passage["id"] not in [entry["id"] for entry in later]
    assert "north wing" not in json.dumps(found(world, world.ben, "ask", question=FACT_QUESTION))


def test_a_key_for_reading_may_not_ask(world: World) -> None:
    """Hidden from a key without the scope `ask`: that tool. Visible: search and fetch."""
    key = world.ada.new_key("reader", scopes=["read"])["key"]
    listed = connected(world, key, lambda client: client.list_tools())
    assert [tool.name for tool in listed.tools] == ["search", "fetch"]
    tried = connected(world, key, lambda client: client.call_tool("ask", {"question": QUESTION}))
    assert tried.is_error
    assert json.loads(tried.content[0].text)["error"]["code"] == "not_permitted"
    read = connected(world, key, lambda client: client.call_tool("search", {"query": QUESTION}))
    assert not read.is_error


def test_a_key_for_asking_alone_is_refused(world: World) -> None:
    """A key without the scope `read` gets no further than the door."""
    key = world.ada.new_key("asker", scopes=["ask"])["key"]
    with httpx2.Client(
        base_url=world.server.url, timeout=60, headers={"authorization": f"Bearer {key}"}
    ) as client:
        assert error_of(post(client, message("tools/list")), 403)["code"] == "not_permitted"


# --- the door -------------------------------------------------------------------------------------


def test_nobody_is_told_to_sign_in(world: World) -> None:
    """Without a key, with a wrong one: 401 in our envelope, with the scheme that is wanted."""
    with world.stranger() as client:
        for headers in ({}, {"authorization": "Bearer sr-wrong"}):
            answer = post(client, message("tools/list"), **headers)
            assert error_of(answer, 401)["code"] == "not_authenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"])
def test_another_sites_page_is_refused(world: World, origin: str) -> None:
    """Also with a good key, and with its own name in the Host header, as after DNS rebinding."""
    host = origin.rpartition("/")[2]
    for headers in ({"origin": origin}, {"origin": origin, "host": host}):
        answer = post(world.ada.client, message("tools/list"), **headers)
        assert error_of(answer, 403)["code"] == "not_permitted"


def test_our_own_pages_may_call(world: World) -> None:
    """The server's own address is a good origin."""
    answer = post(world.ada.client, message("ping"), origin=world.server.url)
    assert answer.status_code == 200


def test_a_browsers_session_works_on_its_own_site_only(world: World) -> None:
    """The cookie is enough for a page of ours, and not for a request from another site."""
    with httpx2.Client(base_url=world.server.url, timeout=60) as browser:
        signed_in = browser.post(
            "/v1/session", json={"email": world.ada.email, "password": world.ada.password}
        )
        cookie = signed_in.headers["set-cookie"].split(";")[0]
        same = post(browser, message("ping"), cookie=cookie, **{"sec-fetch-site": "same-origin"})
        cross = post(browser, message("ping"), cookie=cookie, **{"sec-fetch-site": "cross-site"})
    assert same.status_code == 200
    assert error_of(cross, 403)


# --- the record and bad input ---------------------------------------------------------------------


def test_every_call_is_on_the_record(world: World) -> None:
    """Searching, fetching and asking write what they write over HTTP; a refusal is recorded, too."""
    passage = found(world, world.ada, "search", query=QUESTION)["results"][0]["id"]
    for tool, arguments, expected in (
        ("search", {"query": QUESTION}, "search.performed"),
        ("fetch", {"id": passage}, "source.opened"),
        ("fetch", {"id": new_id()}, "refused"),
    ):
        answer = post(world.ada.client, message("tools/call", name=tool, arguments=arguments))
        types = recorded(world, answer.headers["x-request-id"], at_least=2)
        # That a message came is one record, what its tool did is the other.
        assert types == [expected, "tools.read"]
    asked = found(world, world.ada, "ask", question=QUESTION)["answer_id"]
    assert {"answer.asked", "answer.retrieved"} <= set(recorded(world, asked, at_least=4))


def test_without_the_record_nothing_is_told(world: World) -> None:
    """While the database is held, a search is an error, and holds no word of a document."""
    found(world, world.ada, "search", query=QUESTION)
    with record_held(world):
        wanted = message("tools/call", name="search", arguments={"query": QUESTION})
        answer = post(world.ada.client, wanted)
    assert error_of(answer, 503)["code"] == "audit_unavailable"
    assert "leave.pdf" not in answer.text


def recorded(world: World, request_id: str, *, at_least: int = 1) -> list[str]:
    """Return the types of what one request recorded, once so many have their place in the log."""
    deadline = time.monotonic() + 10
    while True:
        answer = world.auditor.client.get("/v1/audit/events", params={"correlation": request_id})
        types = [event["type"] for event in answer.json()["data"]]
        if len(types) >= at_least:
            return types
        assert time.monotonic() < deadline, types
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {}),
        ("search", {"query": "  "}),
        ("search", {"query": "x" * 5000}),
        ("search", {"query": QUESTION, "collection": "other"}),
        ("fetch", {"id": 7}),
        ("fetch", {"id": "x" * 100}),
        ("ask", {"question": ""}),
    ],
)
def test_wrong_arguments_are_an_error_that_a_model_can_read(
    world: World, tool: str, arguments: dict[str, Any]
) -> None:
    """The tool's result says what is wrong; nothing runs."""
    error = refused(world, world.ada, tool, **arguments)
    assert error["code"] == "invalid_input"


def test_a_question_that_is_too_long_is_refused(world: World) -> None:
    """The limit is that of the HTTP interface."""
    assert refused(world, world.ada, "ask", question="y" * 40_000)["code"] == "too_large"


def test_an_unknown_tool_is_a_protocol_error(world: World) -> None:
    """Not a result: there is no such tool to have one."""

    async def use(client: Client) -> str:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("delete_everything", {})
        return caught.value.message

    assert connected(world, key_of(world.ada), use) == "There is no such tool."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"[" * 50_000,
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
        json.dumps([message("ping"), message("ping")]).encode(),
        json.dumps(message("tools/call")).encode(),
        json.dumps(message("tools/call", name="search", arguments=[1])).encode(),
        json.dumps(message("resources/list")).encode(),
        json.dumps(message("subscriptions/listen")).encode(),
    ],
)
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28", "1999-01-01"])
def test_no_message_breaks_the_server(world: World, body: bytes, version: str) -> None:
    """Whatever is sent is answered as a client's mistake, never with a 5xx, and says nothing of ours."""
    answer = post(world.ada.client, body, **{"mcp-protocol-version": version})
    assert answer.status_code < 500
    assert "result" not in answer.json()
    assert "Traceback" not in answer.text


def test_a_message_of_more_than_a_megabyte_is_refused(world: World) -> None:
    """Like every request body."""
    answer = post(world.ada.client, message("ping", filler="z" * 1_100_000))
    assert error_of(answer, 413)["code"] == "too_large"


def test_the_operation_is_documented(world: World) -> None:
    """The OpenAPI document has it, with its tag and its body."""
    described = world.ada.client.get("/openapi.json").json()["paths"]["/mcp"]
    assert set(described) == {"post"}
    assert described["post"]["tags"] == ["mcp"]
    assert described["post"]["requestBody"]["required"]
