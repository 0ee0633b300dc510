"""Pages load nothing from elsewhere and run nothing that was not ours; and the watch would notice."""

from __future__ import annotations

from browser_acts import Account
from conftest import Watch
from playwright.sync_api import Browser, Page, expect

from tests.serving import Server

POLICY = "default-src 'self'"
INJECTIONS = (
    "document.body.setAttribute('onclick', 'window.ran = true')",
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=1>')",
)
ATTEMPT = "() => { try { %s; return false; } catch { return true; } }"


def test_every_kind_of_response_carries_the_policy(page: Page) -> None:
    """Pages, static files, the API and errors all come with the security headers."""
    page.goto("/")
    style = str(page.locator("link[rel=stylesheet]").get_attribute("href"))
    for path in (
        "/",
        style,
        "/v1/me",
        "/openapi.json",
        "/nowhere",
        "/v1/files/nothing",
        "/v1/sources/x/page.png",
    ):
        response = page.request.get(path)
        assert response.headers["content-security-policy"].startswith(POLICY), path
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert response.headers["referrer-policy"] == "no-referrer", path


def test_only_static_files_may_be_kept(page: Page) -> None:
    """Static files last for good at their address; everything private is never stored."""
    page.goto("/")
    style = str(page.locator("link[rel=stylesheet]").get_attribute("href"))
    assert "immutable" in page.request.get(style).headers["cache-control"]
    for path in ("/", "/v1/me", "/v1/files"):
        assert page.request.get(path).headers["cache-control"] == "no-store", path


def test_a_planted_request_and_script_are_blocked_and_noticed(
    browser: Browser, server: Server, chief: Account
) -> None:
    """The watch that every test ends with catches a picture from elsewhere and markup made of text."""
    origin = server.url
    watch = Watch(origin)
    context = browser.new_context(base_url=origin, storage_state=chief.cookies)
    watch.over(context)
    page = context.new_page()
    page.goto("/account")
    page.evaluate("new Image().src = 'http://192.0.2.1/pixel.png'")
    refused = [page.evaluate(ATTEMPT % attempt) for attempt in INJECTIONS]
    page.wait_for_timeout(300)
    context.close()
    assert refused == [True, True]
    assert any("img-src" in violation for violation in watch.violations)
    assert any("require-trusted-types-for" in violation for violation in watch.violations)


def test_api_page_shows_every_operation(page: Page) -> None:
    """The API page is drawn from /openapi.json by our own module, with nothing from a CDN."""
    page.goto("/api-docs")
    page.locator("details").first.wait_for()
    operations = page.evaluate(
        "async () => Object.values((await (await fetch('/openapi.json')).json()).paths)"
        ".flatMap((item) => Object.keys(item)).length"
    )
    assert page.locator("details").count() == operations > 20
    chat = page.locator("details").filter(has_text="/v1/chat/completions")
    chat.locator("summary").click()
    expect(chat).to_contain_text("messages", use_inner_text=True)
