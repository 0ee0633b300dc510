"""Break glass in a real browser: one auditor asks, another approves, and only then is anything read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from browser_acts import Account, ask
from playwright.sync_api import BrowserContext, Page, expect

from infra.access import Role
from tests.preloaded import PreloadedServer
from tests.serving import Server

QUESTION = "Where must the visitor badge be returned, exactly?"
REASON = "Complaint 4711: somebody says that they were given a wrong answer."


@pytest.fixture(scope="module")
def server(make_server: Callable[..., PreloadedServer]) -> Iterator[Server]:
    """Start a server on which contents take two auditors."""
    running = make_server(break_glass="true")
    try:
        yield running.start()
    finally:
        running.stop()


def test_two_auditors_open_a_content(
    auditor_page: Page,
    make_account: Callable[..., Account],
    new_context: Callable[..., BrowserContext],
    handbook: str,
) -> None:
    """The refusal offers to ask; the reason reaches the second auditor; after the approval the text opens."""
    page = auditor_page
    ask(page, QUESTION)
    page.goto("/record?type=answer.asked")
    expect(page.locator("#permission-state")).to_have_text("You may not read contents now.")
    page.get_by_role("button", name="Details of Question asked").click()
    page.get_by_role("button", name="Reveal content").click()
    details = page.locator(".event-detail").first
    expect(details.get_by_text("Reading contents takes a second auditor here")).to_be_visible()
    details.get_by_label("Why do you need to read contents?").fill(REASON)
    details.get_by_role("button", name="Ask a second auditor").click()
    expect(details.get_by_text("Asked. When another auditor has approved it")).to_be_visible()
    expect(page.locator("#permission-list")).to_contain_text("Waiting for a second auditor")
    expect(page.locator("#permission-list").get_by_role("button")).to_have_count(0)

    second = make_account(Role.AUDITOR, name="Edsger Dijkstra")
    other = new_context(storage_state=second.cookies).new_page()
    other.goto("/record")
    expect(other.locator("#permission-list")).to_contain_text(REASON)
    other.get_by_role("button", name="Approve the request of Barbara Liskov").click()
    expect(other.locator("#permission-list")).to_contain_text("by Edsger Dijkstra")

    page.get_by_role("button", name="Reveal content").click()
    expect(details.locator(".revealed")).to_have_text(QUESTION)
