"""Security headers on everything."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from services.web.headers import ALWAYS, CONTENT_SECURITY_POLICY, SecurityHeaders


def _client() -> TestClient:
    async def loose(_request: object) -> PlainTextResponse:
        return PlainTextResponse("x", headers={"Content-Security-Policy": "default-src *"})

    async def lasting(_request: object) -> StreamingResponse:
        return StreamingResponse(iter(["x"]), headers={"Cache-Control": "public"})

    app = Starlette(routes=[Route("/loose", loose), Route("/lasting", lasting)])
    app.add_middleware(SecurityHeaders)
    return TestClient(app)


def test_a_response_cannot_loosen_the_policy() -> None:
    """Whatever an endpoint says, the policy is ours."""
    assert _client().get("/loose").headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_headers_stand_on_errors_too() -> None:
    """A 404 has every header as well."""
    headers = _client().get("/nowhere").headers
    assert {name: headers[name] for name in ALWAYS} == ALWAYS


def test_private_by_default_but_not_against_a_response() -> None:
    """Nothing is stored unless the response says that it may be."""
    assert _client().get("/loose").headers["cache-control"] == "no-store"
    assert _client().get("/lasting").headers["cache-control"] == "public"
