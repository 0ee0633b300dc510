"""One's own account in a real browser: where it is signed in, its password, and what its keys are for."""

from __future__ import annotations

import re
from collections.abc import Callable

from browser_acts import PASSWORD, Account
from playwright.sync_api import BrowserContext, Locator, Page, expect

from infra.access import Role

NEW_PASSWORD = "nine lanterns on a hill"


def _open(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")


def _sign_in(page: Page, account: Account, password: str = PASSWORD) -> None:
    _open(page, "/sign-in?next=/account")
    page.get_by_label("E-mail").fill(account.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def _sessions(page: Page) -> Locator:
    return page.get_by_role("region", name="Where you are signed in").get_by_role("listitem")


# --- where one is signed in -----------------------------------------------------------------------


def test_other_sign_ins_can_be_ended(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Both browsers are listed, this one is marked, and the other one stands at the door afterwards."""
    account = make_account(Role.EMPLOYEE, name="Mary Jackson")
    other = new_context(storage_state=account.cookies).new_page()
    page = new_context().new_page()
    _sign_in(page, account)
    page.wait_for_url("**/account")
    expect(_sessions(page)).to_have_count(2)
    expect(_sessions(page).filter(has_text="This browser")).to_have_count(1)
    page.get_by_role("button", name="Sign out everywhere else").click()
    expect(page.get_by_text("You are signed in here only.")).to_be_visible()
    expect(_sessions(page)).to_have_count(1)
    expect(page.get_by_role("heading", name="Where you are signed in")).to_be_focused()
    expect(page.get_by_role("button", name="Sign out everywhere else")).to_be_hidden()
    _open(other, "/account")
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")


# --- password -------------------------------------------------------------------------------------


def test_a_password_is_changed_with_the_current_one_only(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """A wrong current password is refused beside the form; the right one makes the new one count."""
    account = make_account(Role.EMPLOYEE, name="Christine Darden")
    page = new_context(storage_state=account.cookies).new_page()
    _open(page, "/account")
    page.get_by_label("Current password", exact=True).fill("not the right password")
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("alert").filter(has_text="not your current password")).to_be_visible()
    expect(page.get_by_label("Current password", exact=True)).to_be_focused()
    page.get_by_label("Current password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(page.get_by_label("New password", exact=True)).to_have_value("")

    again = new_context().new_page()
    _sign_in(again, account)
    expect(again.get_by_role("alert").filter(has_text="do not match")).to_be_visible()
    again.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
    again.get_by_role("button", name="Sign in").click()
    again.wait_for_url("**/account")


def test_secrets_never_reach_an_address(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Before its script listens, no form can be sent; afterwards nothing typed stands in the address."""
    account = make_account(Role.EMPLOYEE, name="Raye Montague")
    page = new_context(storage_state=account.cookies).new_page()
    page.route("**/pages/account.js", lambda route: route.abort())
    _open(page, "/account")
    for name in ("Create key", "Sign out"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    assert page.locator("form:not([method=post])").count() == 0


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_can_do_what_was_chosen_and_no_more(page: Page) -> None:
    """A key for asking alone is listed as that, and is refused when it reads."""
    _open(page, "/account")
    page.get_by_label("What is it for?").fill("question box")
    page.get_by_role("checkbox", name=re.compile("^Find and read")).uncheck()
    page.get_by_label("Expires").select_option(label="never")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_label("API key", exact=True).input_value()
    row = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="question box"))
    expect(row).to_contain_text("Asks")
    expect(row).not_to_contain_text("reads")
    expect(row).to_contain_text("Does not expire")
    statuses = [_status(page, key, path) for path in ("/v1/models", "/v1/files")]
    assert statuses == [200, 403]


def _status(page: Page, key: str, path: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    ask = "async ([path, headers]) => (await fetch(path, {credentials: 'omit', headers})).status"
    return int(page.evaluate(ask, [path, headers]))


def test_a_key_for_nothing_is_not_made(page: Page) -> None:
    """Without any choice the form says so and asks nobody."""
    _open(page, "/account")
    page.get_by_label("What is it for?").fill("nothing at all")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert").filter(has_text="Choose at least one")).to_be_visible()
    expect(page.get_by_role("heading", name="nothing at all")).to_have_count(0)


def test_keys_offer_what_their_owner_may_do(page: Page, auditor_page: Page) -> None:
    """An administrator's key cannot read the record, an auditor's cannot manage people."""
    for at, offered, missing in (
        (page, "Manage people", "Read the record"),
        (auditor_page, "Read the record", "Manage people"),
    ):
        _open(at, "/account")
        expect(at.get_by_role("checkbox", name=re.compile(f"^{offered}"))).to_have_count(1)
        expect(at.get_by_role("checkbox", name=re.compile(f"^{missing}"))).to_have_count(0)
