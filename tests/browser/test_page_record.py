"""The auditor's page in a real browser."""

from __future__ import annotations

from browser_acts import ask
from playwright.sync_api import Page, expect


def test_an_answer_can_be_followed_through_the_record(auditor_page: Page, handbook: str) -> None:
    """The events of one answer can be singled out, and the question revealed, which is itself recorded."""
    page = auditor_page
    question = "Where must the visitor badge be returned, exactly?"
    ask(page, question)
    page.goto("/record")
    row = page.get_by_role("row").filter(has_text="Question asked").first
    row.get_by_role("button", name="Details of").click()
    page.get_by_role("button", name="Reveal content").first.click()
    expect(page.locator(".revealed")).to_contain_text(question)
    page.get_by_role("button", name="Show this request’s events").first.click()
    expect(page.get_by_text("Only the events of one request")).to_be_visible()
    expect(page.get_by_text("Passages chosen")).to_be_visible()
    expect(page.get_by_text("Signed in")).to_have_count(0)
    page.get_by_role("button", name="Show all events").click()
    expect(page.get_by_text("Record read").first).to_be_visible()


def test_verifying_says_that_the_record_is_sound(auditor_page: Page, handbook: str) -> None:
    """“Verify now” checks the whole record and says so in words; the checkpoint is shown to be kept."""
    page = auditor_page
    page.goto("/record")
    expect(page.get_by_label("Signed checkpoint")).to_contain_text("—")
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#verdict")).to_have_class("sound")


def test_older_events_can_be_fetched(auditor_page: Page, handbook: str) -> None:
    """The list goes on where it ended, without repeating or leaving out an entry."""
    page = auditor_page
    page.goto("/record")
    numbers = page.locator("#events tbody tr:not(.event-detail) td:first-child")
    while numbers.count() <= 50:
        page.evaluate(
            "async () => { for (let n = 0; n < 20; n += 1) await fetch('/v1/audit/events?limit=1'); }"
        )
        page.reload()
        expect(page.locator("#events tbody")).to_have_attribute("aria-busy", "false")
        if page.get_by_role("button", name="Show older events").is_visible():
            page.get_by_role("button", name="Show older events").click()
            page.wait_for_timeout(500)
    shown = [int(text.replace(",", "")) for text in numbers.all_inner_texts()]
    assert shown == list(range(shown[0], shown[0] - len(shown), -1))
