"""The chat in a real browser: evidence, sources, outcomes, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from browser_acts import LEAVE, Account, ask
from playwright.sync_api import BrowserContext, Page, Route, expect

from infra.access import Role


def test_quotes_are_shown_with_file_and_page(page: Page, handbook: str) -> None:
    """Without a model the answer is the verbatim sentence, with the file and the page it stands on."""
    turn = ask(page, "How many days of annual leave can I carry over?")
    card = turn.locator(".quote-card").first
    expect(card).to_contain_text(LEAVE)
    expect(card).to_contain_text(handbook)
    expect(card).to_contain_text("page 2")
    expect(turn.locator(".outcome")).to_contain_text("Quotes only.")


def test_pdf_source_shows_the_page_with_its_lines_boxed(page: Page, handbook: str) -> None:
    """Opening a PDF citation draws the page, with boxes that lie on the paper where the quote stands."""
    turn = ask(page, "How many days of annual leave can I carry over?")
    turn.locator(".quote-card").first.click()
    panel = page.get_by_role("dialog", name=handbook)
    box = panel.locator(".sheet rect").first
    expect(box).to_be_attached()
    expect(panel.locator("mark")).to_have_text(LEAVE)
    assert panel.locator("img").evaluate("(image) => image.naturalWidth") > 500
    # The line was drawn 750 points above the bottom edge of A4 (842 points), from 72 points off the left.
    drawn = box.evaluate("(rect) => ({x: rect.x.baseVal.value, y: rect.y.baseVal.value})")
    assert 60 < drawn["x"] < 75
    assert 70 < drawn["y"] < 95


def test_word_source_shows_the_marked_passage_and_no_picture(page: Page, handbook: str) -> None:
    """A Word citation shows its heading and passage with the quote marked; there is no page to draw."""
    turn = ask(page, "Where must the visitor badge be returned?")
    turn.locator(".quote-card").first.click()
    panel = page.get_by_role("dialog", name="visitors.docx")
    expect(panel.locator("mark")).to_contain_text("visitor badge")
    expect(panel.locator("img")).to_have_count(0)


def test_escape_closes_the_source_and_gives_the_focus_back(page: Page, handbook: str) -> None:
    """Focus enters the panel when it opens and returns to the same button when Escape closes it."""
    turn = ask(page, "How many days of annual leave can I carry over?")
    card = turn.locator(".quote-card").first
    card.focus()
    page.keyboard.press("Enter")
    panel = page.locator("#source-panel")
    expect(panel).to_be_visible()
    assert panel.evaluate("(panel) => panel.contains(document.activeElement)")
    expect(card).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(card).to_be_focused()
    expect(card).to_have_attribute("aria-expanded", "false")


def test_source_covers_a_narrow_screen_and_is_modal(
    new_context: Callable[..., BrowserContext], chief: Account, handbook: str
) -> None:
    """On a phone the source is modal, so that nothing behind it can be reached by mistake."""
    phone = {"width": 390, "height": 800}
    page = new_context(storage_state=chief.cookies, viewport=phone).new_page()
    turn = ask(page, "How many days of annual leave can I carry over?")
    turn.locator(".quote-card").first.click()
    expect(page.locator("#source-panel:modal")).to_be_visible()


def test_a_question_without_answer_says_what_was_looked_for(page: Page, handbook: str) -> None:
    """Abstaining shows no passages, names what was looked for, and still has a receipt."""
    turn = ask(page, "What is the boiling point of tungsten hexafluoride?")
    expect(turn).to_contain_text("Nothing in your documents answers this")
    expect(turn.locator(".nothing")).to_contain_text("tungsten hexafluoride")
    expect(turn.locator(".quote-card")).to_have_count(0)
    expect(turn.get_by_role("button", name="Receipt")).to_be_visible()


def test_receipt_names_the_entry_in_the_record(auditor_page: Page, handbook: str) -> None:
    """The receipt shows the entry's id and hash, and leads an auditor to its events."""
    page = auditor_page
    turn = ask(page, "Where must the visitor badge be returned?")
    turn.get_by_role("button", name="Receipt").click()
    receipt = page.get_by_role("dialog", name="Receipt of this answer")
    expect(receipt.locator("code").nth(1)).to_have_text(re.compile(r"^[0-9a-f]{64}$"))
    receipt.get_by_role("link", name="Show its events").click()
    expect(page.get_by_role("cell", name="Question asked answer.asked")).to_be_visible()
    expect(page.get_by_label("Request or answer id")).to_have_value(re.compile(".+"))


def test_history_is_sent_along_until_a_new_conversation(page: Page, handbook: str) -> None:
    """A follow-up carries the turns before it; after “New conversation” nothing of them is sent."""
    sent: list[list[str]] = []

    def note(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        sent.append([message["role"] for message in body["messages"]])
        route.continue_()

    page.route("**/v1/chat/completions", note)
    ask(page, "How many days of annual leave can I carry over?")
    ask(page, "And where is it requested?")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("article")).to_have_count(0)
    ask(page, "Where must the visitor badge be returned?")
    assert sent == [["user"], ["user", "assistant", "user"], ["user"]]


def test_quotes_only_asks_the_assistant_that_quotes(page: Page, handbook: str) -> None:
    """The switch changes which assistant is asked."""
    models: list[str] = []

    def note(route: Route) -> None:
        models.append(json.loads(route.request.post_data or "{}")["model"])
        route.continue_()

    page.route("**/v1/chat/completions", note)
    ask(page, "How many days of annual leave can I carry over?")
    page.get_by_role("switch", name="Quotes only").check()
    ask(page, "How many days of annual leave can I carry over?")
    assert models == ["strongroom", "strongroom-quote"]


def test_an_error_is_explained_and_can_be_retried(page: Page, handbook: str) -> None:
    """An error envelope is shown with its hint; “Try again” asks the same question once more."""
    error = {
        "error": {"message": "The record is closed.", "hint": "Wait a minute.", "code": "audit_unavailable"}
    }
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=503, json=error), times=1)
    turn = ask(page, "How many days of annual leave can I carry over?")
    expect(turn.get_by_role("alert")).to_contain_text("The record is closed.")
    expect(turn.get_by_role("alert")).to_contain_text("Wait a minute.")
    turn.get_by_role("button", name="Try again").click()
    expect(page.locator(".quote-card").first).to_contain_text(LEAVE)
    expect(page.get_by_role("article")).to_have_count(1)


def test_a_stream_that_breaks_off_is_not_taken_for_an_answer(page: Page, handbook: str) -> None:
    """A stream without its end is reported, although text had arrived."""
    chunk = {"choices": [{"delta": {"content": "Half an ans"}}]}
    cut = f"data: {json.dumps(chunk)}\n\n"
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=cut),
    )
    turn = ask(page, "How many days of annual leave can I carry over?")
    expect(turn.get_by_role("alert")).to_contain_text("broke off")


def test_stop_ends_the_request_and_keeps_the_page_usable(page: Page, handbook: str) -> None:
    """Stopping aborts the request; the next question can be asked at once."""
    page.goto("/")
    page.route("**/v1/chat/completions", lambda route: None, times=1)  # Never answered.
    page.get_by_label("Your question").fill("How many days of annual leave can I carry over?")
    page.keyboard.press("Enter")
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("article").last).to_contain_text("Stopped.")
    turn = ask(page, "Where must the visitor badge be returned?")
    expect(turn.locator(".quote-card").first).to_contain_text("visitor badge")


def test_generated_sentences_appear_with_citation_buttons(page: Page, handbook: str) -> None:
    """Released sentences are shown as text with buttons; markup and foreign links in them stay text."""
    citation = {
        "n": 1,
        "id": "c1",
        "quote": LEAVE,
        "place": "page 2",
        "span": [0, 5],
        "file": {"id": "f", "name": handbook},
    }
    text = 'Eight days [[1]](http://elsewhere.invalid/x). <img src="x"> [here](https://elsewhere.invalid/)'
    reading = {"id": "a", "status": "reading"}
    final = {"id": "a", "status": "partial", "mode": "generated", "message": "", "dropped": 2}
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"content": ""}}], "x_citations": [citation], "x_answer": reading},
        {"choices": [{"delta": {"content": text[:17]}}]},
        {"choices": [{"delta": {"content": text[17:]}}]},
        {"choices": [{"delta": {}}], "x_citations": [citation], "x_answer": final},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body),
    )
    turn = ask(page, "How many days?")
    answer = turn.locator(".answer")
    expect(answer.get_by_role("button", name=f"Source 1: {handbook}, page 2")).to_be_visible()
    expect(answer).to_contain_text('<img src="x"> [here](https://elsewhere.invalid/)')
    expect(answer.locator("img, a")).to_have_count(0)
    expect(turn.locator(".outcome")).to_contain_text("2 sentences withheld")


def test_a_deep_link_opens_the_same_source(page: Page, handbook: str) -> None:
    """The panel's link leads to a page of its own with the same passage marked."""
    turn = ask(page, "How many days of annual leave can I carry over?")
    turn.locator(".quote-card").first.click()
    address = page.get_by_role("link", name="Open on its own page").get_attribute("href")
    page.goto(str(address))
    expect(page.get_by_role("heading", level=1)).to_have_text(handbook)
    expect(page.locator("mark")).to_have_text(LEAVE)


def test_a_source_of_somebody_else_looks_like_none(
    page: Page,
    new_context: Callable[..., BrowserContext],
    make_account: Callable[..., Account],
    handbook: str,
) -> None:
    """A deep link that somebody without access opens shows the same words as one that never was."""
    turn = ask(page, "How many days of annual leave can I carry over?")
    turn.locator(".quote-card").first.click()
    address = str(page.get_by_role("link", name="Open on its own page").get_attribute("href"))
    other = make_account(Role.EMPLOYEE, name="Grace Hopper")
    stranger = new_context(storage_state=other.cookies).new_page()
    shown = []
    for path in (address, "/sources/00000000-0000-5000-8000-000000000000?start=0&end=5"):
        stranger.goto(path)
        expect(stranger.get_by_role("heading", level=1)).to_have_text("This source is not here")
        shown.append(stranger.locator("main").inner_text())
    assert shown[0] == shown[1]


# --- suggestions ----------------------------------------------------------------------------------


def test_a_suggestion_becomes_the_beginning_of_a_question(page: Page, handbook: str) -> None:
    """Choosing a title writes the first words, with the cursor behind them, and asks nothing yet."""
    page.goto("/")
    page.get_by_role("group", name="Ask about").get_by_role("button", name="Visitors").click()
    question = page.get_by_label("Your question")
    expect(question).to_be_focused()
    page.keyboard.type("badges?")
    expect(question).to_have_value("What does “Visitors” say about badges?")
    expect(page.locator("#suggestions button")).to_have_count(0)
    expect(page.get_by_role("article")).to_have_count(0)


def test_suggestions_follow_what_is_typed(page: Page, handbook: str) -> None:
    """Short words narrow the titles; a longer text has none, and an empty box has them again."""
    page.goto("/")
    chips = page.locator("#suggestions button")
    expect(chips).to_have_text(["Visitors", handbook])
    question = page.get_by_label("Your question")
    question.press_sequentially("Vis")
    expect(chips).to_have_text(["Visitors"])
    question.press_sequentially("itors who come without a badge")
    expect(chips).to_have_count(0)
    question.fill("")
    expect(chips).to_have_text(["Visitors", handbook])


def test_suggestions_show_only_what_one_may_read(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account], handbook: str
) -> None:
    """An employee is offered the document of everyone's, and never the administrator's own."""
    other = make_account(Role.EMPLOYEE, name="Katherine Johnson")
    page = new_context(storage_state=other.cookies).new_page()
    page.goto("/")
    expect(page.locator("#suggestions button")).to_have_text(["Visitors"])


@pytest.mark.parametrize("width", [1280, 700, 320])
def test_at_most_five_are_shown_and_nothing_moves(page: Page, handbook: str, width: int) -> None:
    """However many titles there are, one row or two, the welcome stays where it was without any."""
    page.set_viewport_size({"width": width, "height": 800})
    titles: list[str] = []

    def answer(route: Route) -> None:
        data = [{"object": "suggestion", "text": text, "file": {}} for text in titles]
        route.fulfill(json={"object": "list", "data": data})

    page.route("**/v1/suggestions?**", answer)
    places = []
    for many in ([], ["Leave"], [f"A rather long title of document number {n}" for n in range(8)]):
        titles[:] = many
        page.goto("/")
        page.wait_for_load_state("networkidle")
        expect(page.locator("#suggestions button")).to_have_count(min(5, len(many)))
        places.append(page.locator("#welcome-title").bounding_box())
    assert places[0] == places[1] == places[2]
    expect(page.locator("#suggestions-title")).to_be_visible()


def test_the_page_works_without_suggestions(page: Page, handbook: str) -> None:
    """A failure to fetch them shows nothing at all."""
    page.route("**/v1/suggestions?**", lambda route: route.fulfill(status=503, json={}))
    page.goto("/")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#suggestions-title")).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
