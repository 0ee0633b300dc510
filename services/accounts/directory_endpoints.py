"""Sign in at a company's OpenID Connect provider: which ones there are, the way there, and the way back."""

from __future__ import annotations

import html
import secrets
from typing import Annotated, Any, Final
from urllib.parse import urljoin

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from infra.accounts.flows import FLOW_S, BegunFlow, keep_flow, take_flow
from infra.accounts.tokens import hash_secret
from infra.audit.event_types import EventType
from infra.errors import (
    AddressRefused,
    DirectoryRefused,
    DirectoryUnavailable,
    NotAuthenticated,
    StrongroomError,
    Throttled,
)
from services.accounts.directory_signing_in import check_address, count_refusal, open_session_of, reason_of
from services.accounts.signing_in import record_failure, set_cookie
from services.deps import PartsDep, RequestId
from services.on_record import RecordedRoute, reads, writes
from services.parts import Parts
from services.refusals import StrangersRecords
from services.web.pages import same_site_path

FLOW_COOKIE: Final = "__Host-strongroom-flow"
"""Binds a sign-in to the browser that began it."""
MAX_AFTER_CHARS: Final = 2000
_SECRET_BYTES: Final = 32
_SECRET_CHARS: Final = 43
_FAILURES: Final = (NotAuthenticated, Throttled, DirectoryUnavailable, AddressRefused)
_PROBLEMS: Final = {
    "declined": "declined",
    "unknown_flow": "expired",
    "other_browser": "expired",
    "account_closed": "closed",
}
"""What a person is told about a reason of the record; every other reason is `refused`."""

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=RecordedRoute)


@router.get("/directories")
def list_directories(parts: PartsDep) -> dict[str, Any]:
    """List the company directories that one can sign in with; public, because the sign-in page shows them."""
    return {"object": "list", "data": parts.directories.listed()}


# --- the way there --------------------------------------------------------------------------------


@router.get("/directories/{name}/sign-in", status_code=303, response_class=Response)
@reads(EventType.SIGNIN_BEGUN, "directory", of="name")
def begin_sign_in(
    name: str,
    request: Request,
    parts: PartsDep,
    after: Annotated[str, Query(alias="next")] = "/",
) -> Response:
    """Send the browser to the provider, and remember what its answer has to match."""
    try:
        return _to_provider(name, request, parts, after)
    except _FAILURES as failure:
        return _back_to_sign_in(request, failure)


def _to_provider(name: str, request: Request, parts: Parts, after: str) -> Response:
    directory = parts.directories.oidc(name)
    check_address(parts, request)
    redirect_uri = urljoin(
        parts.settings.public_url or str(request.base_url), f"/v1/directories/{name}/callback"
    )
    with parts.directories.asking(name):
        begun = directory.begin(redirect_uri)
    browser = _browser(request) or secrets.token_urlsafe(_SECRET_BYTES)
    flow = BegunFlow(
        directory=name,
        redirect_uri=redirect_uri,
        after=same_site_path(after) if len(after) <= MAX_AFTER_CHARS else "/",
        nonce=begun.nonce,
        verifier=begun.verifier,
        browser_hash=hash_secret(browser),
    )
    with parts.database.write() as session:
        keep_flow(session, _flow_key(parts), begun.state, flow)
    response = RedirectResponse(begun.url, status_code=303)
    # Lax, because the way back begins at the provider, which is another site.
    response.set_cookie(
        FLOW_COOKIE, browser, max_age=FLOW_S, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


def _browser(request: Request) -> str | None:
    """Return the secret that this browser has from a sign-in in another tab, so that both can end well."""
    secret = request.cookies.get(FLOW_COOKIE, "")
    return secret if len(secret) == _SECRET_CHARS else None


def _flow_key(parts: Parts) -> bytes:
    return parts.master_key.derive("sign-in flows")


# --- the way back ---------------------------------------------------------------------------------


@router.get(
    "/directories/{name}/callback",
    response_class=Response,
    responses={
        200: {"description": "Signed in; the page leads on.", "content": {"text/html": {}}},
        303: {"description": "Not signed in; back to the sign-in page."},
    },
)
@writes(EventType.SIGNIN_OK, EventType.SIGNIN_FAILED)
def finish_sign_in(
    name: str,
    request: Request,
    parts: PartsDep,
    corr: RequestId,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str | None, Query(max_length=500)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Take the provider's answer, begin a session, and lead the browser to where it wanted to go."""
    parts.directories.oidc(name)
    try:
        check_address(parts, request)
        flow = _taken_flow(parts, request, name, state)
        if error is not None or not code:
            raise DirectoryRefused("declined")
        return _signed_in(parts, request, corr, flow, code=code, issuer=iss)
    except _FAILURES as failure:
        if isinstance(failure, NotAuthenticated):
            count_refusal(parts, request, corr, failure)
        elif _is_browsing(request):
            _record_redirect(request, parts, corr, failure)
        return _back_to_sign_in(request, failure)


def _taken_flow(parts: Parts, request: Request, name: str, state: str) -> BegunFlow:
    # A transaction of its own: whatever goes wrong from here on, this state has been used.
    with parts.database.write() as session:
        flow = take_flow(session, _flow_key(parts), state)
    if flow is None:
        raise DirectoryRefused("unknown_flow")
    flow.check(directory=name, browser=request.cookies.get(FLOW_COOKIE, ""))
    return flow


def _signed_in(
    parts: Parts, request: Request, corr: str, flow: BegunFlow, *, code: str, issuer: str | None
) -> Response:
    with parts.directories.asking(flow.directory):
        person = parts.directories.oidc(flow.directory).finish(
            code=code,
            redirect_uri=flow.redirect_uri,
            nonce=flow.nonce,
            verifier=flow.verifier,
            issuer=issuer,
        )
    _, token = open_session_of(parts, request, person, corr, f"oidc:{flow.directory}")
    response = _onward(flow.after)
    set_cookie(response, token)
    response.delete_cookie(FLOW_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _onward(after: str) -> Response:
    """Return a page of ours that opens `after` at once.

    A redirect would still belong to the navigation that the provider began, and a browser sends no
    SameSite=Strict cookie with it (RFC 6265bis, section 5.2); a page's own refresh is same-site.
    """
    target = html.escape(after)
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signed in</title>'
        f'<meta http-equiv="refresh" content="0; url={target}"></head>'
        f'<body><p>You are signed in. <a href="{target}">Continue</a></p></body></html>'
    )


def _back_to_sign_in(request: Request, failure: StrongroomError) -> Response:
    """Return a browser to the sign-in page with a code of the problem; raises `failure` for a program."""
    if not _is_browsing(request):
        raise failure
    return RedirectResponse(f"/sign-in?problem={_problem(failure)}", status_code=303)


def _is_browsing(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _record_redirect(request: Request, parts: Parts, corr: str, failure: StrongroomError) -> None:
    """Record a failure that a browser is told by a redirect, which does not look like a refusal."""
    strangers: StrangersRecords = request.app.state.strangers_refusals
    outcome = strangers.admit(failure.code)
    if outcome is not None:
        record_failure(parts, corr, outcome)


def _problem(failure: StrongroomError) -> str:
    if isinstance(failure, Throttled):
        return "throttled"
    if isinstance(failure, NotAuthenticated):
        return _PROBLEMS.get(reason_of(failure), "refused")
    return "unavailable"
