"""The auditor's page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

from browser_acts import Account, ask
from playwright.sync_api import BrowserContext, Locator, Page, expect

QUESTION = "Where must the visitor badge be returned, exactly?"


def open_record(page: Page, address: str = "/record") -> None:
    """Open the page and wait for its list."""
    page.goto(address)
    expect(page.locator("#events tbody")).to_have_attribute("aria-busy", "false")


def row_of(page: Page, words: str) -> Locator:
    """Return the newest entry that says `words`, as soon as it has its place on the record."""
    row = page.locator("#events tbody tr:not(.event-detail)").filter(has_text=words).first
    for _ in range(20):
        if row.is_visible():
            break
        page.wait_for_timeout(250)
        page.get_by_role("button", name="Look for new events").click()
        expect(page.locator("#events tbody")).to_have_attribute("aria-busy", "false")
    return row


def open_details(page: Page, words: str) -> Locator:
    """Open the newest entry that says `words`; returns its details."""
    button = row_of(page, words).get_by_role("button", name="Details of")
    button.click()
    return page.locator(f"#{button.get_attribute('aria-controls')}")


def numbers(page: Page) -> list[int]:
    """Return the entries that are shown, by their numbers."""
    cells = page.locator("#events tbody tr:not(.event-detail) td:first-child").all_inner_texts()
    return [int(text.replace(",", "")) for text in cells]


def test_a_question_can_be_revealed_and_its_request_followed(auditor_page: Page, handbook: str) -> None:
    """The events of one answer can be singled out, and the question revealed, which is itself recorded."""
    page = auditor_page
    ask(page, QUESTION)
    open_record(page)
    details = open_details(page, "Question asked")
    details.get_by_role("button", name="Reveal content").click()
    expect(details.locator(".revealed")).to_have_text(QUESTION)
    details.get_by_role("button", name="Show this request’s events").click()
    listed = page.locator("#events tbody")
    expect(listed).to_contain_text("Passages chosen")
    expect(listed).not_to_contain_text("Server started")
    page.get_by_role("button", name="Show all events").click()
    expect(listed).to_contain_text("Server started")
    expect(listed).not_to_contain_text("Record read")
    page.get_by_role("switch", name="Show who only looked").check()
    expect(listed).to_contain_text("Record read")


def test_an_answer_is_followed_to_its_passages_and_their_reach(auditor_page: Page, handbook: str) -> None:
    """From an entry to the whole answer, its text on request, and from a passage to whom it reached."""
    page = auditor_page
    ask(page, QUESTION)
    open_record(page)
    open_details(page, "Question asked").get_by_role("button", name="Follow this answer").click()
    dialog = page.get_by_role("dialog", name="One answer")
    expect(dialog.get_by_text("Barbara Liskov").first).to_be_visible()
    expect(dialog.locator("tbody tr").first).to_contain_text("cited")
    assert QUESTION not in dialog.inner_text()
    dialog.get_by_role("button", name="Show question and answer").click()
    expect(dialog.locator(".revealed").first).to_have_text(QUESTION)
    expect(dialog.locator(".revealed").last).to_contain_text("reception desk")
    dialog.get_by_role("button", name="Reach of the document of passage 1").click()
    expect(dialog).to_be_hidden()
    reached = page.locator("#reach-result")
    expect(reached.get_by_role("button", name="Barbara Liskov")).to_be_visible()
    expect(page.get_by_label("Version, if only one")).not_to_have_value("")
    reached.get_by_role("button", name="Follow the answer").first.click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_receipts_link_shows_its_events(auditor_page: Page, handbook: str) -> None:
    """The address that a receipt leads to holds the answer's id alone, and shows that answer."""
    page = auditor_page
    ask(page, QUESTION)
    open_record(page)
    answer = open_details(page, "Answer ended").locator("dt:text-is('Request') + dd").inner_text()
    open_record(page, f"/record?corr={answer}")
    expect(page.get_by_label("Request or answer id")).to_have_value(answer)
    expect(page.locator("#events tbody")).to_contain_text("Passages chosen")
    expect(page.get_by_role("button", name="Show all events")).to_be_visible()


def test_filters_narrow_by_who_what_and_when(auditor_page: Page, auditor: Account, handbook: str) -> None:
    """A filter holds for older pages and stands in the address, so that it can be kept and sent."""
    page = auditor_page
    open_record(page)
    page.get_by_label("Who", exact=True).fill(auditor.email)
    page.get_by_label("What").select_option(label="Sign-ins")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#events tbody")).to_have_attribute("aria-busy", "false")
    assert "type=signin." in page.url
    page.get_by_label("What").select_option(label="Account created")
    page.get_by_label("From").fill("2020-01-01T00:00:00")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#events tbody tr:not(.event-detail)")).to_have_count(1)
    page.reload()
    expect(page.locator("#events tbody tr:not(.event-detail)")).to_have_count(1)
    page.get_by_label("Until before").fill("2020-01-02T00:00:00")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("No events to show.")).to_be_visible()


def test_what_makes_no_sense_is_said_kindly(auditor_page: Page, handbook: str) -> None:
    """A name that nobody has, and a document that nobody knows, are told where they were typed."""
    page = auditor_page
    open_record(page)
    page.get_by_label("Who", exact=True).fill("nobody at all")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#events-problem")).to_contain_text("Nobody is known by this name")
    page.get_by_label("Id of the document").fill("nothing")
    page.get_by_role("button", name="Show its reach").click()
    expect(page.locator("#reach-problem")).to_contain_text("knows no such document")


def test_verifying_says_that_the_record_is_sound(auditor_page: Page, handbook: str) -> None:
    """“Verify now” checks the whole record and says so in words; the checkpoint is shown to be kept."""
    page = auditor_page
    page.goto("/record")
    expect(page.get_by_label("Signed checkpoint")).to_contain_text("—")
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#verdict")).to_have_class("sound")
    expect(page.get_by_label("Checking every entry")).to_be_hidden()


def test_older_events_can_be_fetched(auditor_page: Page, handbook: str) -> None:
    """The list goes on where it ended, without repeating or leaving out an entry."""
    page = auditor_page
    many = "async () => { for (let n = 0; n < 60; n += 1) await fetch('/v1/audit/events?limit=1'); }"
    page.goto("/record")
    page.evaluate(many)
    open_record(page, "/record?looks=")
    before = len(numbers(page))
    page.get_by_role("button", name="Show older events").click()
    expect(page.locator("#events-state")).to_contain_text("added below")
    shown = numbers(page)
    assert len(shown) > before == 50
    assert shown == list(range(shown[0], shown[0] - len(shown), -1))


def test_the_page_is_used_with_the_keyboard(auditor_page: Page, handbook: str) -> None:
    """An entry opens and closes with Enter, and an answer's dialog gives the focus back."""
    page = auditor_page
    ask(page, QUESTION)
    open_record(page)
    button = row_of(page, "Question asked").get_by_role("button", name="Details of")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    follow = page.get_by_role("button", name="Follow this answer").first
    follow.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="One answer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(follow).to_be_focused()


def test_nothing_overflows_on_a_phone(
    new_context: Callable[..., BrowserContext], auditor: Account, handbook: str
) -> None:
    """On a narrow screen the page itself does not scroll sideways; its tables do."""
    context = new_context(storage_state=auditor.cookies, viewport={"width": 360, "height": 740})
    page = context.new_page()
    open_record(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert re.search("Record", page.title())
