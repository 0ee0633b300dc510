"""Kept conversations in a real browser: only when wanted, shown to each as far as they may read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from browser_acts import BADGE, LEAVE, Account, ask, docx_with, upload
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect
from test_page_access import LOW_CONTRAST

from infra.access import Role
from tests.serving import Server

ABOUT_LEAVE = "How many days of annual leave can I carry over?"
ABOUT_BADGES = "Where must the visitor badge be returned?"
KEPT = re.compile(r"/\?conversation=[0-9a-f-]{36}$")
NO_SUCH = "There is no such conversation."
PHONE = {"width": 390, "height": 800}


def _settle(page: Page, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")


def _keep(page: Page, *questions: str) -> str:
    """Ask with the switch on; returns the address of the conversation."""
    _settle(page)
    page.get_by_role("switch", name="Keep this conversation").check()
    for question in questions:
        ask(page, question)
    expect(page).to_have_url(KEPT)
    expect(page.locator("#conversation-facts")).to_have_text("Kept · for you alone")
    return page.url


def _list_of(page: Page) -> Locator:
    """Open the list of conversations."""
    page.get_by_role("button", name="Conversations", exact=True).click()
    return page.get_by_role("dialog", name="Conversations")


def _share(page: Page, label: str) -> None:
    page.get_by_role("button", name="Share", exact=True).click()
    dialog = page.get_by_role("dialog", name="Who may look at this conversation?")
    dialog.get_by_role("button", name=f"Add {label}", exact=True).click()
    expect(dialog.get_by_role("status")).to_have_text(f"{label} can look at it now.")
    dialog.get_by_role("button", name="Done").click()


def _answer(page: Page, question: str) -> Locator:
    return page.get_by_role("article", name=f"Question: {question}")


@pytest.fixture(scope="module")
def reader(make_account: Callable[..., Account]) -> Account:
    """Return somebody who may read what everyone may read."""
    return make_account(Role.EMPLOYEE, name="Mary Jackson")


@pytest.fixture
def reader_page(new_context: Callable[..., BrowserContext], reader: Account) -> Page:
    """Open a page as the reader."""
    return new_context(storage_state=reader.cookies).new_page()


# --- keeping --------------------------------------------------------------------------------------


def test_nothing_is_kept_unless_somebody_wants_it(reader_page: Page, handbook: str, server: Server) -> None:
    """Without the switch a question leaves no conversation behind, in the list or in the address."""
    page = reader_page
    _settle(page)
    ask(page, ABOUT_BADGES)
    expect(_list_of(page)).to_contain_text("Nothing is kept yet.")
    assert page.url == f"{server.url}/"


def test_a_kept_conversation_opens_again_with_its_sources(page: Page, handbook: str) -> None:
    """From its address alone, question and quotes are drawn again, and a quote opens its source."""
    address = _keep(page, ABOUT_LEAVE)
    _settle(page, address)
    card = _answer(page, ABOUT_LEAVE).locator(".quote-card").first
    expect(card).to_contain_text(LEAVE)
    card.click()
    expect(page.locator("#source-panel mark")).to_have_text(LEAVE)
    expect(page.get_by_role("heading", name=ABOUT_LEAVE)).to_have_count(2)  # The title, and the question.


def test_the_choice_is_remembered_for_the_person_without_any_content(page: Page, handbook: str) -> None:
    """The switch stays on for the next conversation; the browser stores a yes under the person's id."""
    _keep(page, ABOUT_LEAVE)
    stored = page.evaluate("Object.entries(localStorage)")
    me = page.evaluate("async () => (await (await fetch('/v1/me')).json()).id")
    assert stored == [[f"strongroom.keep.{me}", "yes"]]
    _settle(page)
    expect(page.get_by_role("switch", name="Keep this conversation")).to_be_checked()


def test_what_was_said_before_the_switch_is_not_kept(page: Page, handbook: str) -> None:
    """Turned on in the middle, it keeps from the next question on, and says so before and afterwards."""
    _settle(page)
    ask(page, ABOUT_BADGES)
    page.get_by_role("switch", name="Keep this conversation").check()
    expect(page.get_by_text("from the next question on")).to_be_visible()
    ask(page, ABOUT_LEAVE)
    expect(page.get_by_text("Kept from here on")).to_be_visible()
    _settle(page, page.url)
    expect(_answer(page, ABOUT_LEAVE)).to_be_visible()
    expect(_answer(page, ABOUT_BADGES)).to_have_count(0)


def test_the_server_holds_the_history_of_a_kept_conversation(page: Page, handbook: str) -> None:
    """A question that continues one names it and sends nothing of what was said before."""
    address = _keep(page, ABOUT_LEAVE)
    _settle(page, address)
    sent: list[dict[str, Any]] = []

    def note(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "{}"))
        route.continue_()

    page.route("**/v1/chat/completions", note)
    ask(page, ABOUT_BADGES)
    [body] = sent
    assert [message["content"] for message in body["messages"]] == [ABOUT_BADGES]
    assert address.endswith(body["x_conversation"])
    _settle(page, address)
    expect(page.get_by_role("article")).to_have_count(2)


def test_a_question_without_answer_stays_one(page: Page, handbook: str) -> None:
    """An answer that found nothing is drawn as such again, not as an empty answer."""
    address = _keep(page, "What is the boiling point of tungsten hexafluoride?")
    _settle(page, address)
    turn = page.get_by_role("article")
    expect(turn).to_contain_text("Nothing in your documents answers this")
    expect(turn.locator(".quote-card")).to_have_count(0)


def test_written_answers_are_drawn_as_when_they_were_released(page: Page, handbook: str) -> None:
    """Marks become buttons, foreign links stay text, and an answer that broke off says so."""
    address = _keep(page, ABOUT_LEAVE)
    citation = {
        "n": 1,
        "id": "c1",
        "quote": LEAVE,
        "place": "page 2",
        "span": [0, 5],
        "shown": True,
        "file": {"id": "f", "name": handbook},
    }
    text = "Eight days [[1]](http://here.invalid/sources/c1). [here](https://elsewhere.invalid/)"
    asked = {"id": "m_1", "type": "message", "role": "user", "content": [{"text": "How many days?"}]}
    said = {
        "id": "m_2",
        "type": "message",
        "role": "assistant",
        "x_created_at": 1_795_334_041,
        "content": [{"text": text}],
        "x_citations": [citation],
        "x_answer": {"id": "a", "model": "strongroom", "status": "interrupted"},
    }
    page.route("**/items?**", lambda route: route.fulfill(json={"data": [said, asked], "has_more": False}))
    _settle(page, address)
    answer = _answer(page, "How many days?")
    expect(answer.get_by_role("button", name=f"Source 1: {handbook}, page 2")).to_be_visible()
    expect(answer.locator(".answer")).to_contain_text("[here](https://elsewhere.invalid/)")
    expect(answer.locator("a")).to_have_count(0)
    expect(answer.locator(".outcome")).to_contain_text("Broken off.")


def test_earlier_questions_come_when_asked_for(page: Page, handbook: str) -> None:
    """A long conversation opens at its end; the rest is fetched page by page, in order, without gaps."""
    questions = [ABOUT_LEAVE, ABOUT_BADGES, "When may leave be carried over?"]
    address = _keep(page, *questions)

    # An odd number: a page then begins with an answer whose question is on the page before it.
    def fewer(route: Route) -> None:
        route.continue_(url=route.request.url.replace("limit=40", "limit=3"))

    page.route("**/items?**", fewer)
    _settle(page, address)
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_role("button", name="Show earlier questions").click()
    expect(page.get_by_role("article")).to_have_count(3)
    assert page.locator(".asked").all_inner_texts() == questions
    expect(page.get_by_role("button", name="Show earlier questions")).to_have_count(0)
    expect(page.get_by_role("heading", name=questions[0]).last).to_be_focused()


# --- what each may see ----------------------------------------------------------------------------


def test_a_shared_conversation_shows_only_what_its_reader_may_read(
    page: Page, reader_page: Page, handbook: str
) -> None:
    """The reader sees the answer from a document of everyone's; the other is withheld, with no hint of it."""
    address = _keep(page, ABOUT_LEAVE, ABOUT_BADGES)
    _share(page, "Mary Jackson")
    expect(page.locator("#conversation-facts")).to_have_text("Kept · shared with Mary Jackson")
    _settle(reader_page, address)
    expect(_answer(reader_page, ABOUT_BADGES).locator(".quote-card")).to_contain_text(BADGE)
    withheld = _answer(reader_page, ABOUT_LEAVE)
    expect(withheld).to_contain_text("This answer rests on something you cannot open.")
    expect(withheld.locator("button")).to_have_count(0)
    for hidden in (handbook, "eight days", "page 2"):
        expect(reader_page.locator("body")).not_to_contain_text(hidden)


def test_a_shared_conversation_can_be_looked_at_and_not_continued(
    page: Page, reader_page: Page, handbook: str
) -> None:
    """Its reader finds it under what is shared, can export it, and can neither ask, share nor delete."""
    _keep(page, ABOUT_BADGES)
    _share(page, "Mary Jackson")
    _settle(reader_page)
    shared = _list_of(reader_page).get_by_role("region", name="Shared with you")
    shared.get_by_role("link", name=ABOUT_BADGES).first.click()
    expect(reader_page.get_by_text("can continue this conversation")).to_be_visible()
    expect(reader_page.get_by_role("link", name="Export")).to_be_visible()
    expect(reader_page.get_by_label("Your question")).to_be_hidden()
    for name in ("Share", "Delete", "Receipt"):
        expect(reader_page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_a_document_that_is_gone_takes_its_answer_along(page: Page, handbook: str) -> None:
    """When a cited document was deleted, its answer is withheld from the owner as well."""
    upload(page, "parking.docx", docx_with("Parking", "Bicycles are parked behind the chapel."))
    address = _keep(page, "Where are bicycles parked?")
    expect(page.locator(".quote-card").first).to_contain_text("chapel")
    page.goto("/documents")
    page.get_by_role("button", name="Delete parking.docx").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("parking.docx was deleted.")).to_be_attached()
    _settle(page, address)
    expect(page.get_by_role("article")).to_contain_text("something you cannot open any more.")
    expect(page.locator("body")).not_to_contain_text("chapel")


def test_somebody_elses_conversation_looks_like_none(page: Page, reader_page: Page, handbook: str) -> None:
    """An address that is not theirs and one that never was give the same page."""
    address = _keep(page, ABOUT_LEAVE)
    seen = []
    for path in (address, "/?conversation=01890000-0000-7000-8000-000000000000", "/?conversation=no/such"):
        _settle(reader_page, path)
        expect(reader_page.get_by_role("alert")).to_have_text(NO_SUCH)
        assert "conversation" not in reader_page.url
        seen.append(reader_page.locator("main").inner_text())
    assert seen[0] == seen[1] == seen[2]
    expect(reader_page.get_by_label("Your question")).to_be_visible()


def test_a_share_that_was_taken_back_ends_at_once(page: Page, reader_page: Page, handbook: str) -> None:
    """After “Stop sharing” the reader's next look finds nothing."""
    address = _keep(page, ABOUT_BADGES)
    _share(page, "Mary Jackson")
    _settle(reader_page, address)
    expect(_answer(reader_page, ABOUT_BADGES)).to_be_visible()
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_role("button", name="Stop sharing with Mary Jackson").click()
    expect(page.get_by_text("Mary Jackson can no longer look at it.")).to_be_visible()
    _settle(reader_page, address)
    expect(reader_page.get_by_role("alert")).to_have_text(NO_SUCH)


# --- what its owner can do ------------------------------------------------------------------------


def test_the_share_dialog_says_what_others_see_and_has_the_link(page: Page, handbook: str) -> None:
    """Before anybody is added it says what a share shows; afterwards it offers the address to send."""
    address = _keep(page, ABOUT_BADGES)
    page.get_by_role("button", name="Share", exact=True).click()
    dialog = page.get_by_role("dialog", name="Who may look at this conversation?")
    expect(dialog).to_contain_text("They see an answer only where they may read everything it cites.")
    link = dialog.get_by_label("Link to this conversation")
    expect(link).to_be_hidden()
    dialog.get_by_role("button", name="Add Everyone", exact=True).click()
    expect(link).to_have_value(address)
    expect(dialog.get_by_label("Add a person or group")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Share", exact=True)).to_be_focused()


def test_export_downloads_question_and_quote(page: Page, handbook: str) -> None:
    """“Export” saves a Markdown file with what was asked and what was quoted."""
    _keep(page, ABOUT_LEAVE)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    assert download.value.suggested_filename == "conversation.md"
    text = download.value.path().read_text()
    assert ABOUT_LEAVE in text
    assert LEAVE in text


def test_deleting_asks_first_and_leaves_nothing(page: Page, handbook: str) -> None:
    """“Keep it” changes nothing; “Delete” removes it from the list and from its address."""
    address = _keep(page, "Who has to return a visitor badge?")
    listed = _list_of(page)
    row = listed.get_by_role("link", name="Who has to return a visitor badge?")
    expect(row).to_have_attribute("aria-current", "page")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep it").click()
    expect(row).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog", name="Delete this conversation?").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("article")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_be_focused()
    _settle(page, address)
    expect(page.get_by_role("alert")).to_have_text(NO_SUCH)


def test_back_returns_to_the_conversation_before(page: Page, handbook: str) -> None:
    """“New conversation” is a step of its own in the browser's history."""
    address = _keep(page, ABOUT_LEAVE)
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("article")).to_have_count(0)
    page.go_back()
    expect(_answer(page, ABOUT_LEAVE)).to_be_visible()
    assert page.url == address


def test_the_skip_link_leaves_a_conversation_alone(page: Page, handbook: str) -> None:
    """A link within the page is no step to another conversation."""
    _settle(page)
    ask(page, ABOUT_BADGES)
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    expect(_answer(page, ABOUT_BADGES)).to_be_visible()


# --- the list -------------------------------------------------------------------------------------


def test_the_list_works_by_keyboard_and_folds_away(page: Page, handbook: str) -> None:
    """Focus enters the list, Enter opens a conversation at its title, Escape gives the focus back."""
    _keep(page, ABOUT_LEAVE)
    _settle(page)
    toggle = page.get_by_role("button", name="Conversations", exact=True)
    toggle.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("heading", name="Conversations")).to_be_focused()
    link = page.get_by_role("dialog", name="Conversations").get_by_role("link").first
    link.press("Enter")
    expect(page.locator("#conversation-title")).to_be_focused()
    expect(page).to_have_url(KEPT)
    link.press("Escape")
    expect(link).to_be_hidden()
    expect(toggle).to_be_focused()
    expect(toggle).to_have_attribute("aria-expanded", "false")


def test_the_list_is_modal_on_a_phone_and_gives_way(
    new_context: Callable[..., BrowserContext], chief: Account, handbook: str
) -> None:
    """On a narrow screen it covers the chat until one is chosen; nothing scrolls sideways."""
    page = new_context(storage_state=chief.cookies, viewport=PHONE).new_page()
    _keep(page, ABOUT_LEAVE)
    _settle(page)
    listed = _list_of(page)
    expect(page.locator("#conversations:modal")).to_be_visible()
    listed.get_by_role("link").first.click()
    expect(listed).to_be_hidden()
    expect(page.locator("#conversation-title")).to_be_focused()
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_source_and_the_list_share_the_width(
    new_context: Callable[..., BrowserContext], chief: Account, handbook: str
) -> None:
    """Both stand beside the chat where there is room; elsewhere the earlier one goes."""
    page = new_context(storage_state=chief.cookies, viewport={"width": 1440, "height": 900}).new_page()
    _keep(page, ABOUT_LEAVE)
    listed, source = _list_of(page), page.locator("#source-panel")
    page.locator(".quote-card").first.click()
    expect(source).to_be_visible()
    expect(listed).to_be_visible()
    source.locator("[data-close]").click()
    page.set_viewport_size({"width": 1024, "height": 800})
    page.locator(".quote-card").first.click()
    expect(source).to_be_visible()
    expect(listed).to_be_hidden()
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(listed).to_be_visible()
    expect(source).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_conversations_are_readable(
    new_context: Callable[..., BrowserContext], chief: Account, reader: Account, handbook: str, scheme: str
) -> None:
    """The list, the head, a withheld answer and both dialogs have enough contrast."""
    page = new_context(storage_state=chief.cookies, color_scheme=scheme).new_page()
    address = _keep(page, ABOUT_LEAVE)
    _list_of(page)
    page.wait_for_load_state("networkidle")
    assert page.evaluate(LOW_CONTRAST) == []
    _share(page, "Mary Jackson")
    for name in ("Share", "Delete"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_load_state("networkidle")
        assert page.evaluate(LOW_CONTRAST) == []
        page.keyboard.press("Escape")
    theirs = new_context(storage_state=reader.cookies, color_scheme=scheme).new_page()
    _settle(theirs, address)
    expect(theirs.locator(".withheld")).to_be_visible()
    assert theirs.evaluate(LOW_CONTRAST) == []
