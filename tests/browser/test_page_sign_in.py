"""The door in a real browser: accounts here, company directories, waits, and what went wrong elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from browser_acts import PASSWORD, Account
from playwright.sync_api import BrowserContext, Page, expect

from infra.access import Role
from infra.accounts.throttle import account_bucket
from infra.clock import now_ms
from infra.database.tables import Throttle
from infra.stores import open_database
from tests.directory_servers import SLAPD, Authority, LdapServer, ldap_server
from tests.preloaded import PreloadedServer
from tests.serving import Server

ENTRIES = """\
dn: ou=people,dc=example,dc=internal
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=internal
objectClass: organizationalUnit
ou: groups

dn: uid=wangari,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: wangari
cn: Wangari Mwangi
sn: Mwangi
mail: wangari@example.internal
userPassword: correct horse

dn: cn=surveyors,ou=groups,dc=example,dc=internal
objectClass: groupOfNames
cn: surveyors
member: uid=wangari,ou=people,dc=example,dc=internal
"""
needs_slapd = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed (Debian: apt install slapd)")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the directories' certificates come from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def staff(authority: Authority) -> Iterator[LdapServer]:
    """Run an LDAP server, where there is one to run; elsewhere nobody listens."""
    if SLAPD is None:
        yield LdapServer(1, 1)
        return
    with ldap_server(ENTRIES, authority.issue("127.0.0.1"), authority) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., PreloadedServer], staff: LdapServer, authority: Authority
) -> Iterator[Server]:
    """Start a server with an LDAP directory, and an OpenID Connect provider that is down."""
    ldap = staff.described(ca_file=authority.ca_file).model_dump(mode="json", exclude_unset=True)
    provider = {
        "name": "sso",
        "label": "Northwind",
        "issuer": "https://127.0.0.1:1",
        "client_id": "strongroom",
    }
    running = make_server(
        ldap=json.dumps([{**ldap, "bind_password": staff.bind_password}]), oidc=json.dumps([provider])
    )
    try:
        yield running.start()
    finally:
        running.stop()


def _open(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")


def _sign_in_as_staff(page: Page) -> None:
    _open(page, "/sign-in?next=/account")
    page.get_by_role("radio", name="Staff directory").check()
    page.get_by_label("Name or e-mail").fill("wangari")
    page.get_by_label("Password", exact=True).fill("correct horse")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(_is_account_page)
    page.wait_for_load_state("networkidle")


def _is_account_page(url: str) -> bool:
    # The address of the sign-in page ends with this path as well, behind its question mark.
    return urlsplit(url).path == "/account"


# --- company directories --------------------------------------------------------------------------


@needs_slapd
def test_a_person_signs_in_with_the_directory_they_choose(new_context: Callable[..., BrowserContext]) -> None:
    """A name that is no e-mail address does; the account page says where the password is kept."""
    page = new_context().new_page()
    _sign_in_as_staff(page)
    expect(page.get_by_role("heading", name="Wangari Mwangi")).to_be_visible()
    expect(page.get_by_text("You sign in with Staff directory. Change your password there.")).to_be_visible()
    expect(page.get_by_label("Current password", exact=True)).to_be_hidden()
    expect(page.get_by_role("listitem").filter(has_text="This browser")).to_contain_text(
        "With Staff directory"
    )
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("radio", name="Staff directory")).to_be_checked()


@needs_slapd
def test_a_directory_decides_about_its_own_groups(
    new_context: Callable[..., BrowserContext], page: Page
) -> None:
    """Administrators see where an account and a group come from, and cannot fill or delete such a group."""
    _sign_in_as_staff(new_context().new_page())
    _open(page, "/people")
    row = page.get_by_role("row").filter(has_text="Wangari Mwangi")
    expect(row).to_contain_text("Staff directory")
    group = page.locator("#groups section").filter(has_text="From Staff directory")
    expect(group.get_by_role("list")).to_contain_text("Wangari Mwangi")
    expect(group).to_contain_text("Its directory decides who is in it.")
    expect(group.get_by_role("button")).to_have_count(0)
    expect(group.get_by_role("combobox")).to_have_count(0)


def test_an_account_here_is_the_first_choice(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Beside a directory, accounts made here are signed in with as ever."""
    account = make_account(Role.EMPLOYEE, name="Edith Clarke")
    page = new_context().new_page()
    _open(page, "/sign-in?next=/account")
    expect(page.get_by_role("radio", name="An account here")).to_be_checked()
    page.get_by_label("E-mail").fill(account.email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(_is_account_page)


def test_a_provider_that_is_down_leads_back_with_words(new_context: Callable[..., BrowserContext]) -> None:
    """The button of a provider takes along where the person wanted to go; when it is down, they are told."""
    page = new_context().new_page()
    _open(page, "/sign-in?next=/documents")
    provider = page.get_by_role("link", name="Sign in with Northwind")
    expect(provider).to_have_attribute("href", "/v1/directories/sso/sign-in?next=%2Fdocuments")
    provider.click()
    page.wait_for_url("**/sign-in?problem=unavailable")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_door_fits_a_narrow_screen(new_context: Callable[..., BrowserContext], scheme: str) -> None:
    """With every choice shown, nothing scrolls sideways at 320 pixels."""
    page = new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme).new_page()
    _open(page, "/sign-in?problem=expired")
    expect(page.get_by_role("group", name="Sign in with")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


# --- waits and words ------------------------------------------------------------------------------


@pytest.fixture
def held_up(server: Server, make_account: Callable[..., Account]) -> Account:
    """Return an account whose sign-in has to wait for 95 seconds."""
    account = make_account(Role.EMPLOYEE, name="Gladys West")
    database, _ = open_database(server.settings())
    now = now_ms()
    with database.write() as session:
        bucket = account_bucket(account.email).id
        session.merge(Throttle(bucket=bucket, failures=12, last_at=now, blocked_until=now + 95_000))
    database.close()
    return account


def test_a_held_up_sign_in_counts_down(new_context: Callable[..., BrowserContext], held_up: Account) -> None:
    """The eye sees how long it takes; a screen reader hears the beginning, some marks and the end."""
    page = new_context().new_page()
    page.clock.install()
    _open(page, "/sign-in")
    page.get_by_label("E-mail").fill(held_up.email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    seen, heard = page.locator("#wait"), page.locator("#wait-announcer")
    expect(seen).to_contain_text(re.compile(r"again in 1 minute \d+ seconds?\."))
    expect(heard).to_contain_text("again in 1 minute")
    assert seen.get_attribute("role") is None
    assert heard.get_attribute("role") == "status"
    before = heard.inner_text()
    page.clock.run_for(5_000)
    assert heard.inner_text() == before
    page.clock.run_for(60_000)
    expect(seen).to_contain_text(re.compile(r"again in \d+ seconds\."))
    expect(heard).to_have_text(re.compile(r"^\d+ seconds left\.$"))
    page.clock.run_for(60_000)
    expect(seen).to_have_text("You can try again now.")
    expect(heard).to_have_text("You can try again now.")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("declined", "You were not signed in."),
        ("expired", "That took too long"),
        ("closed", "Your account is closed."),
        ("throttled", "Too many sign-ins"),
        ("unavailable", "cannot be reached"),
        ("refused", "could not be used"),
        ("constructor", "could not be used"),
    ],
)
def test_what_went_wrong_elsewhere_is_said_kindly(
    new_context: Callable[..., BrowserContext], code: str, words: str
) -> None:
    """Each code of a failed company sign-in has words of its own; an unknown one is never shown."""
    page = new_context().new_page()
    _open(page, f"/sign-in?problem={code}")
    expect(page.get_by_role("alert")).to_contain_text(words)
    assert code not in page.locator("main").inner_text().split()
