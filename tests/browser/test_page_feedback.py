"""Judging an answer on the chat page."""

from __future__ import annotations

import json

from browser_acts import ask
from playwright.sync_api import Page, Route, expect

QUESTION = "How many days of annual leave can I carry over?"


def test_an_answer_is_judged_by_keyboard(page: Page, handbook: str) -> None:
    """The pressed button says so, and pressing the other one changes one's mind."""
    turn = ask(page, QUESTION)
    group = turn.get_by_role("group", name="Was this answer helpful?")
    good = group.get_by_role("button", name="Helpful", exact=True)
    good.focus()
    page.keyboard.press("Enter")
    expect(good).to_have_attribute("aria-pressed", "true")
    bad = group.get_by_role("button", name="Not helpful")
    bad.press("Space")
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")


def test_whoever_was_not_helped_may_say_why(page: Page, handbook: str) -> None:
    """The comment is sent with the verdict, and the field is gone afterwards."""
    turn = ask(page, QUESTION)
    sent: list[dict[str, str]] = []

    def note(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "{}"))
        route.continue_()

    page.route("**/v1/feedback", note)
    turn.get_by_role("button", name="Not helpful").click()
    why = turn.get_by_label("What was wrong?")
    why.fill("It is about another country.")
    why.press("Enter")
    expect(turn.get_by_role("status").filter(has_text="Thank you.")).to_be_visible()
    expect(why).to_be_hidden()
    assert [(each["verdict"], each["comment"]) for each in sent] == [
        ("bad", ""),
        ("bad", "It is about another country."),
    ]


def test_a_refusal_is_told_and_nothing_stays_pressed(page: Page, handbook: str) -> None:
    """When the record is away, the page says what the server says."""
    turn = ask(page, QUESTION)
    error = {"error": {"message": "The record could not be written.", "code": "audit_unavailable"}}
    page.route("**/v1/feedback", lambda route: route.fulfill(status=503, json=error))
    good = turn.get_by_role("button", name="Helpful", exact=True)
    good.click()
    expect(turn.get_by_text("The record could not be written.")).to_be_visible()
    expect(good).to_have_attribute("aria-pressed", "false")
