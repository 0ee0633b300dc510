"""Invitations, groups, keys and signing in and out, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser_acts import PASSWORD, Account, ask, upload
from playwright.sync_api import BrowserContext, Locator, Page, expect

from infra.access import Role

LEAK_TEST_MS = 120_000


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


def _who_am_i(page: Page, key: str, path: str = "/v1/me") -> int:
    ask_with_key = """async ([key, path]) => {
      const headers = {Authorization: `Bearer ${key}`};
      return (await fetch(path, {credentials: "omit", headers})).status;
    }"""
    return int(page.evaluate(ask_with_key, [key, path]))


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
    page.get_by_role("button", name="Sign out", exact=True).click()
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


# --- accounts -------------------------------------------------------------------------------------


def _open_people(page: Page) -> None:
    page.goto("/people")
    page.wait_for_load_state("networkidle")


def _open_account(page: Page, name: str) -> Locator:
    page.get_by_role("table").get_by_role("button", name=name, exact=True).click()
    return page.get_by_role("dialog", name=name)


def test_roles_clearance_and_compartments_are_changed_in_a_dialog(
    page: Page, new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """What is saved stands there when the dialog opens again, and a new role bites at the next page."""
    account = make_account(Role.EMPLOYEE, name="Hedy Lamarr")
    reader = new_context(storage_state=account.cookies).new_page()
    _open_people(page)
    dialog = _open_account(page, account.name)
    dialog.get_by_role("checkbox", name="Read the record").check()
    dialog.get_by_label("Clearance").fill("40")
    dialog.get_by_role("textbox", name="Compartments").fill("Merger")
    page.keyboard.press("Enter")
    dialog.get_by_role("textbox", name="Compartments").fill("Payroll, 2027")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("row").filter(has_text=account.name)).to_contain_text("auditor, employee")
    expect(page.get_by_role("button", name=account.name, exact=True)).to_be_focused()

    _open_people(page)
    dialog = _open_account(page, account.name)
    expect(dialog.get_by_role("checkbox", name="Read the record")).to_be_checked()
    expect(dialog.get_by_label("Clearance")).to_have_value("40")
    expect(dialog.get_by_role("list", name="Compartments").get_by_role("listitem")).to_have_text(
        ["Merger", "Payroll, 2027"]
    )
    dialog.get_by_role("button", name="Remove Merger").click()
    dialog.get_by_role("button", name="Cancel").click()
    dialog = _open_account(page, account.name)
    expect(dialog.get_by_role("button", name="Remove Merger")).to_be_visible()
    response = reader.goto("/record")
    assert response is not None
    assert response.status == 200


def test_a_refused_change_is_explained_in_the_dialog(
    page: Page, make_account: Callable[..., Account]
) -> None:
    """Administrator and auditor at once is refused by the server, and the dialog stays open and says so."""
    account = make_account(Role.EMPLOYEE, name="Joan Clarke")
    _open_people(page)
    dialog = _open_account(page, account.name)
    dialog.get_by_role("checkbox", name="Read the record").check()
    dialog.get_by_role("checkbox", name="Manage people").check()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("cannot be an auditor as well")
    page.keyboard.press("Escape")
    expect(page.get_by_role("row").filter(has_text=account.name)).not_to_contain_text("auditor")


def test_a_closed_account_is_out_until_it_is_opened_again(
    page: Page, new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Closing ends the person's sign-in at once and marks the row; opening it again takes that back."""
    account = make_account(Role.EMPLOYEE, name="Grete Hermann")
    theirs = new_context(storage_state=account.cookies).new_page()
    _open_people(page)
    dialog = _open_account(page, account.name)
    dialog.get_by_role("button", name="Close account").click()
    expect(dialog.get_by_role("button", name="Open account again")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text(f"The account of {account.name} is closed.")
    theirs.goto("/account")
    expect(theirs.get_by_role("heading", level=1)).to_have_text("Sign in")
    dialog.get_by_role("button", name="Open account again").click()
    expect(dialog.get_by_role("button", name="Close account")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("row").filter(has_text=account.name)).not_to_contain_text("closed")


def test_ones_own_account_is_somebody_elses_business(page: Page, chief: Account) -> None:
    """One's own row opens with everything to see, nothing to change, and the reason."""
    _open_people(page)
    dialog = _open_account(page, chief.name)
    expect(dialog).to_contain_text("Somebody else has to change your own access.")
    for field in dialog.get_by_role("checkbox").all():
        expect(field).to_be_disabled()
    expect(dialog.get_by_label("Clearance")).to_be_disabled()
    expect(dialog.get_by_role("button", name=re.compile("Save|account"))).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=chief.name, exact=True)).to_be_focused()


# --- groups and programs --------------------------------------------------------------------------


def test_a_group_is_deleted_after_a_question_only(page: Page) -> None:
    """“Keep it” keeps the group; “Delete” removes it and leaves the focus at the groups."""
    _open_people(page)
    page.get_by_label("New group").fill("Short-lived")
    page.get_by_role("button", name="Create group").click()
    group = page.get_by_role("region", name="Short-lived")
    for answer, left in (("Keep it", 1), ("Delete", 0)):
        group.get_by_role("button", name="Delete Short-lived").click()
        question = page.get_by_role("dialog", name="Delete this group?")
        expect(question).to_contain_text("Short-lived")
        question.get_by_role("button", name=answer).click()
        expect(group).to_have_count(left)
    expect(page.get_by_role("heading", name="Groups")).to_be_focused()


def test_administrators_do_not_fill_groups_with_themselves(page: Page, chief: Account) -> None:
    """One's own account is not among those to add."""
    _open_people(page)
    page.get_by_label("New group").fill("Board")
    page.get_by_role("button", name="Create group").click()
    choice = page.get_by_label("Person to add to Board")
    expect(choice.locator("option")).not_to_have_count(0)
    assert chief.name not in choice.locator("option").all_inner_texts()


def test_a_program_gets_a_key_that_is_shown_once(page: Page) -> None:
    """A new program's key works for what was chosen; after a reload its secret is gone; revoked, it dies."""
    _open_people(page)
    page.get_by_label("New program").fill("Intranet search")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="New key for Intranet search").click()
    dialog = page.get_by_role("dialog", name="New key for Intranet search")
    dialog.get_by_label("What is it for?").fill("crawler")
    dialog.get_by_role("button", name="Create key").click()
    shown = page.get_by_label("API key", exact=True)
    expect(shown).to_be_focused()
    key = shown.input_value()
    assert _who_am_i(page, key) == 200
    page.reload()
    row = page.get_by_role("list", name="Keys of Intranet search").get_by_role("listitem")
    expect(row).to_contain_text("Asks, finds and reads")
    assert key not in page.content()
    row.get_by_role("button", name="Revoke crawler").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert _who_am_i(page, key) == 401


def test_a_directorys_key_is_for_pushing_alone(page: Page) -> None:
    """A key for SCIM opens the SCIM endpoints and nothing else, whatever else was ticked."""
    _open_people(page)
    page.get_by_label("New program").fill("Company directory")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="New key for Company directory").click()
    dialog = page.get_by_role("dialog", name="New key for Company directory")
    dialog.get_by_label("What is it for?").fill("provisioning")
    dialog.get_by_role("radio", name="A company directory").check()
    expect(dialog.get_by_role("checkbox")).to_have_count(0)
    dialog.get_by_role("button", name="Create key").click()
    key = page.get_by_label("API key", exact=True).input_value()
    assert _who_am_i(page, key) == 403
    assert _who_am_i(page, key, "/scim/v2/Users") == 200


def test_a_program_is_an_employee_or_a_curator(page: Page) -> None:
    """A program's dialog offers no role that has to have a name behind it."""
    _open_people(page)
    page.get_by_label("New program").fill("Reporting")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Change Reporting").click()
    dialog = page.get_by_role("dialog", name="Reporting")
    expect(dialog.get_by_role("checkbox")).to_have_count(2)
    dialog.get_by_role("checkbox", name="Look after collections").check()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Reporting")).to_contain_text("curator, employee")


# --- why, what to say, and the leak test ----------------------------------------------------------


def test_access_is_explained_without_what_is_in_the_document(
    page: Page, make_account: Callable[..., Account]
) -> None:
    """The owner may read it and somebody else may not, each rule has its line, and no name is shown."""
    stranger = make_account(Role.EMPLOYEE, name="Sofja Kowalewskaja")
    upload(page, "canal.txt", b"The canal is closed in winter.")
    link = page.get_by_role("link", name="Download canal.txt").get_attribute("href")
    assert link is not None
    _open_people(page)
    page.get_by_label("Id of the document").fill(link.split("/")[3])
    found = page.locator("#explanation")
    for name, words in (("Ada Okonkwo", "may read it"), (stranger.name, "may not read it")):
        option = (
            page.get_by_label("Person or program").locator("option", has_text=name).get_attribute("value")
        )
        page.get_by_label("Person or program").select_option(option)
        page.get_by_role("button", name="Explain").click()
        expect(found.get_by_role("heading")).to_have_text(f"{name} {words}.")
        expect(found).not_to_contain_text("canal")
    expect(found.get_by_role("listitem").filter(has_text="Against")).to_have_text(
        "Against: The file is not shared with them."
    )
    page.get_by_label("Id of the document").fill("0" * 36)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#why-problem")).to_be_visible()
    expect(found).to_be_hidden()


def test_the_text_for_unanswered_questions_is_kept_and_plain(page: Page) -> None:
    """A plain text is there after a reload, a link is refused with a reason, an empty text takes it back."""
    _open_people(page)
    field, save = page.get_by_label("What to do next"), page.get_by_role("button", name="Save text")
    field.fill("Ask the helpdesk, room 210.")
    save.click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    field.fill("See https://example.org")
    save.click()
    expect(page.locator("#nothing .problem")).to_contain_text("no links")
    _open_people(page)
    expect(field).to_have_value("Ask the helpdesk, room 210.")
    field.fill("")
    save.click()
    expect(page.get_by_text("Saved: nothing is shown.")).to_be_visible()


def test_a_leak_test_runs_now_and_tells_its_result(page: Page) -> None:
    """Progress is shown while it runs, one cannot start another, and the result is announced once."""
    _open_people(page)
    section = page.get_by_role("region", name="Leak test", exact=True)
    run = section.get_by_role("button", name="Run now")
    run.click()
    expect(run).to_be_disabled()
    expect(section.get_by_role("progressbar")).to_be_visible()
    expect(run).to_be_enabled(timeout=LEAK_TEST_MS)
    expect(section).to_contain_text("Nothing leaked.")
    expect(page.locator("#announcer")).to_have_text("The leak test has ended. Nothing leaked.")


def test_leaks_are_named(page: Page) -> None:
    """A result with leaks says through which interface, to which role, and against which rule."""
    leak = {
        "interface": "vector store search",
        "operation": "POST /v1/vector_stores/{collection_id}/search",
        "role": "curator",
        "rule": {"kind": "clearance", "about": "50"},
        "what": "content",
    }
    unproven = {"interface": "chat", "rule": {"kind": "deny", "about": ""}, "why": "answered 503"}
    last = {
        "id": "x",
        "outcome": "leak",
        "cause": "nightly",
        "started_at": 1_795_000_000_000,
        "asked": 812,
        "canaries": [{"kind": "clearance", "about": "50"}],
        "leak_count": 14,
        "leaks": [leak] * 14,
        "unproven_count": 1,
        "unproven": [unproven],
        "failure": None,
        "notes": [],
    }
    state = {"state": "idle", "run": None, "step": None, "done": 0, "total": 0, "last": last}
    page.route("**/v1/access/leak-test", lambda route: route.fulfill(json=state))
    _open_people(page)
    section = page.get_by_role("region", name="Leak test", exact=True)
    expect(section).to_contain_text("14 leaks found.")
    expect(section.get_by_role("listitem").first).to_contain_text(
        "vector store search told somebody in the role curator: content (clearance 50)."
    )
    expect(section.get_by_role("listitem")).to_have_count(10)
    expect(section).to_contain_text("5 more")
