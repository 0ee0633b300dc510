"""Invitations, groups, keys and signing in and out, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser_acts import PASSWORD, Account, ask, upload
from playwright.sync_api import BrowserContext, Page, expect

from infra.access import Role


def test_an_invitation_link_makes_an_account_once(
    page: Page, new_context: Callable[..., BrowserContext]
) -> None:
    """The link that an administrator creates works in another browser, and only once."""
    page.goto("/people")
    page.get_by_role("button", name="Create invitation link").click()
    link = page.get_by_label("Invitation link").input_value()
    for attempt, email in enumerate(("first@example.org", "second@example.org")):
        guest = new_context().new_page()
        guest.goto(link)
        guest.get_by_label("Your name").fill("Katherine Johnson")
        guest.get_by_label("E-mail").fill(email)
        guest.get_by_label("Password", exact=True).fill(PASSWORD)
        guest.get_by_role("button", name="Create account").click()
        if attempt == 0:
            expect(guest.get_by_role("link", name="Your account: Katherine Johnson")).to_be_visible()
        else:
            expect(guest.get_by_role("alert")).to_be_visible()


def test_a_link_without_its_token_explains_itself(new_context: Callable[..., BrowserContext]) -> None:
    """Opening /join without the part after “#” says what is missing instead of showing a form."""
    guest = new_context().new_page()
    guest.goto("/join")
    expect(guest.get_by_text("This link is incomplete")).to_be_visible()
    expect(guest.get_by_role("button", name="Create account")).to_have_count(0)


def test_a_group_shares_with_its_members_only(
    page: Page, new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """A person reads what is shared with a group from the moment they are in it, and not after."""
    member = make_account(Role.EMPLOYEE, name="Dorothy Vaughan")
    page.goto("/people")
    page.get_by_label("New group").fill("Tunnel project")
    page.get_by_role("button", name="Create group").click()
    group = page.get_by_role("region", name="Tunnel project")
    group.get_by_label("Person to add to Tunnel project").select_option(label=member.name)
    group.get_by_role("button", name="Add").click()
    remove = group.get_by_role("button", name=f"Remove {member.name} from Tunnel project")
    expect(remove).to_be_visible()

    upload(page, "tunnel.txt", b"The tunnel boring machine is named Wilhelmina by its crew.")
    page.get_by_role("button", name="Share tunnel.txt").click()
    page.get_by_role("button", name="Add Tunnel project").click()
    expect(page.get_by_text("Tunnel project can read it now.")).to_be_visible()
    reader = new_context(storage_state=member.cookies).new_page()
    turn = ask(reader, "How is the tunnel boring machine named?")
    expect(turn.locator(".quote-card").first).to_contain_text("Wilhelmina")

    page.goto("/people")
    remove.click()
    expect(group).to_contain_text("No members yet.")
    turn = ask(reader, "How is the tunnel boring machine named?")
    expect(turn).not_to_contain_text("Wilhelmina")


def test_pages_follow_roles(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """An employee has no links to People and Record, and their addresses refuse kindly."""
    employee = make_account(Role.EMPLOYEE, name="Mary Jackson")
    page = new_context(storage_state=employee.cookies).new_page()
    page.goto("/")
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["Ask", "Documents"])
    for path, role in (("/people", "admin"), ("/record", "auditor")):
        response = page.goto(path)
        assert response is not None
        assert response.status == 403
        expect(page.get_by_role("heading", level=1)).to_contain_text(role)


def test_an_api_key_is_shown_once_and_dies_when_revoked(page: Page) -> None:
    """A new key works; after a reload it is not shown again; revoked, it stops working."""
    page.goto("/account")
    page.get_by_label("What is it for?").fill("nightly report")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_label("API key", exact=True).input_value()
    assert _who_am_i(page, key) == 200
    page.reload()
    expect(page.get_by_role("heading", name="nightly report")).to_be_visible()
    assert key not in page.content()
    page.get_by_role("button", name="Revoke nightly report").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("heading", name="nightly report")).to_have_count(0)
    assert _who_am_i(page, key) == 401


def _who_am_i(page: Page, key: str) -> int:
    ask_with_key = """async (key) => {
      const headers = {Authorization: `Bearer ${key}`};
      return (await fetch("/v1/me", {credentials: "omit", headers})).status;
    }"""
    return int(page.evaluate(ask_with_key, key))


def test_signing_in_leads_back_to_the_page_that_was_wanted(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Without a session any page leads to the sign-in and from there back; signing out closes it."""
    account = make_account(Role.EMPLOYEE, name="Annie Easley")
    page = new_context().new_page()
    page.goto("/documents?a=1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("E-mail").fill(account.email)
    page.get_by_label("Password", exact=True).fill("not the right password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/documents\?a=1$"))
    page.goto("/account")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/documents")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize(
    "elsewhere", ["//elsewhere.invalid/", "https://elsewhere.invalid/", "/\\elsewhere.invalid"]
)
def test_sign_in_never_leads_elsewhere(page: Page, elsewhere: str) -> None:
    """A `next` that names another site is ignored."""
    page.goto(f"/sign-in?next={elsewhere}")
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_attached()
