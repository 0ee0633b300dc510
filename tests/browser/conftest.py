"""A real server with a fresh data folder, a real Chromium, and a watch over what the pages try to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browser_acts import BADGE, LEAVE, PASSWORD, Account, docx_with, pdf_with, upload
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from infra import accounts
from infra.access import Role
from infra.stores import open_database
from tests.preloaded import PreloadedServer
from tests.serving import Server

CHROMIUM = shutil.which("chromium")
# The machine may be small and busy, and the first answer of a server loads what later ones use.
expect.set_options(timeout=20_000)
SWITCHES = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here as `browser`, and skip it where there is no Chromium."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.browser)
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="needs Debian's chromium (apt-get install chromium)"))


# --- the server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(make_server: Callable[..., PreloadedServer]) -> Iterator[Server]:
    """Start the real server in quote mode on a free port, in a process of its own."""
    running = make_server()
    try:
        yield running.start()
    finally:
        running.stop()


def _invitation(server: Server, roles: Iterable[Role]) -> str:
    """Return a one-time link for an account with these roles."""
    database, _ = open_database(server.settings())
    try:
        with database.write() as session:
            token, _ = accounts.invite(session, roles, created_by=None)
    finally:
        database.close()
    return f"{server.url}/join#{token}"


# --- the browser ----------------------------------------------------------------------------------


@dataclass
class Watch:
    """What pages did that they must not do."""

    origin: str
    violations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Begin to watch every page of `context`."""
        context.expose_function("noteViolation", self._violation)
        context.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => noteViolation(`${event.effectiveDirective} ${event.blockedURI}`))"
        )
        context.on("page", self._page)

    def _violation(self, what: str) -> None:
        self.violations.append(what)

    def _page(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if "Content Security Policy" in text:
            self.violations.append(text)
        # The browser itself reports every 4xx answer as an error; several tests cause some on purpose.
        elif kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.errors.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.origin, "data:", "blob:")):
            self.foreign.append(url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one headless Chromium for a module's tests.

    Not for the whole session: while Playwright runs, this thread has a running event loop, and a test of
    another folder could not start its own.
    """
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture
def watch(server: Server) -> Watch:
    """Collect what this test's pages did; the test ends in failure if there is anything."""
    return Watch(server.url)


@pytest.fixture
def new_context(browser: Browser, server: Server, watch: Watch) -> Iterator[Callable[..., BrowserContext]]:
    """Make watched browser contexts, each with its own cookies."""
    opened: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(base_url=server.url, reduced_motion="reduce", **options)
        context.set_default_timeout(20_000)
        watch.over(context)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()
    assert watch.violations == []
    assert watch.errors == []
    assert watch.foreign == []


@pytest.fixture(scope="module")
def make_account(browser: Browser, server: Server) -> Callable[..., Account]:
    """Create accounts the way people do: by opening an invitation link."""
    made = 0

    def make(*roles: Role, name: str = "Ada Okonkwo") -> Account:
        nonlocal made
        made += 1
        email = f"person{made}@example.org"
        context = browser.new_context(base_url=server.url)
        page = context.new_page()
        page.goto(_invitation(server, roles))
        page.get_by_label("Your name").fill(name)
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        page.wait_for_url(f"{server.url}/**")
        page.get_by_label("Your question").wait_for()
        account = Account(name, email, context.storage_state())
        context.close()
        return account

    return make


@pytest.fixture(scope="module")
def chief(make_account: Callable[..., Account]) -> Account:
    """Return an administrator; the first account of a server is one."""
    return make_account(Role.ADMIN, Role.CURATOR, Role.EMPLOYEE)


@pytest.fixture(scope="module")
def auditor(make_account: Callable[..., Account]) -> Account:
    """Return an auditor, who cannot be an administrator."""
    return make_account(Role.AUDITOR, Role.EMPLOYEE, name="Barbara Liskov")


@pytest.fixture
def page(new_context: Callable[..., BrowserContext], chief: Account) -> Page:
    """Open a page as the administrator."""
    return new_context(storage_state=chief.cookies).new_page()


@pytest.fixture
def auditor_page(new_context: Callable[..., BrowserContext], auditor: Account) -> Page:
    """Open a page as the auditor."""
    return new_context(storage_state=auditor.cookies).new_page()


# --- documents -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handbook(browser: Browser, server: Server, chief: Account) -> str:
    """Upload a PDF, for the administrator, and a Word document, for everyone; returns the PDF's name."""
    context = browser.new_context(base_url=server.url, storage_state=chief.cookies)
    page = context.new_page()
    upload(page, "handbook.pdf", pdf_with(["Annual leave", LEAVE, "Requests are made in the calendar."]))
    upload(page, "visitors.docx", docx_with("Visitors", BADGE), everyone=True)
    context.close()
    return "handbook.pdf"
