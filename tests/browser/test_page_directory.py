"""Signing in with a company's provider in a real browser, which decides by itself which cookies it sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Watch
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.directory_servers import Authority, OidcPerson, OidcServer
from tests.preloaded import PreloadedServer
from tests.serving import Server


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OidcServer, dict[str, Any]]]:
    """Run a provider under another name than our server, with a page of its own; returns its setting, too."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    running = OidcServer(authority.issue("127.0.0.1", "localhost"))
    running.person = OidcPerson("subject-1", {"name": "Grace Hopper", "groups": []})
    running.asks_first = True
    running.redirects_to = "http://127.0.0.1:"
    # For a browser, another name is another site.
    running.discovery["authorization_endpoint"] = f"{running.issuer}/authorize".replace(
        "127.0.0.1", "localhost"
    )
    described = running.described(ca_file=authority.ca_file)
    setting = described.model_dump(mode="json", exclude_unset=True)
    yield running, {**setting, "client_secret": running.client_secret}
    running.close()


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., PreloadedServer], provider: tuple[OidcServer, dict[str, Any]]
) -> Iterator[Server]:
    """Start a server that knows the provider."""
    running = make_server(oidc=json.dumps([provider[1]]))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """Open a browser that nobody signed in, and that takes the provider's certificate."""
    context = browser.new_context(base_url=server.url, ignore_https_errors=True, reduced_motion="reduce")
    context.set_default_timeout(20_000)
    yield context
    context.close()


def at_provider(visitor: BrowserContext, server: Server, after: str) -> Page:
    """Go to the provider's page."""
    page = visitor.new_page()
    page.goto(f"{server.url}/v1/directories/sso/sign-in?next={after}")
    expect(page).to_have_title("Provider")
    return page


def test_a_person_comes_back_signed_in(visitor, server, provider):
    """From the provider's button to the wanted page: signed in, although that began at another site."""
    watch = Watch(server.url)
    watch.over(visitor)
    page = at_provider(visitor, server, after="/account")
    assert page.url.startswith("https://localhost:")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{server.url}/account")
    expect(page.get_by_text("Grace Hopper").first).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in visitor.cookies()}
    assert cookies["__Host-strongroom"]["sameSite"] == "Strict"
    assert cookies["__Host-strongroom"]["httpOnly"]
    assert "__Host-strongroom-flow" not in cookies
    assert watch.violations == []
    assert watch.errors == []
    ours = (provider[0].issuer, provider[0].issuer.replace("127.0.0.1", "localhost"))
    assert [url for url in watch.foreign if not url.startswith(ours)] == []


def test_an_answer_in_another_browser_signs_nobody_in(visitor, browser, server):
    """Whoever opens somebody else's way back stands before the sign-in page."""
    begun = at_provider(visitor, server, after="/account")
    taken = begun.url
    other = browser.new_context(base_url=server.url, ignore_https_errors=True)
    page = other.new_page()
    page.goto(taken)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{server.url}/sign-in?problem=expired")
    page.goto("/account")
    page.wait_for_url(f"{server.url}/sign-in?next=/account")
    other.close()
