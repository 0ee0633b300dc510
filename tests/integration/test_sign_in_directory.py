"""People sign in with a real OpenID Connect provider and a real LDAP server, at a real server of ours."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from infra.access import Role
from infra.accounts import provisioning
from infra.accounts.provisioning import PushedGroup, PushedPerson
from infra.database import Database
from infra.database.tables import AuditInbox, AuditLeaf, User
from infra.stores import open_database
from tests.directory_servers import (
    SLAPD,
    Authority,
    LdapServer,
    OidcPerson,
    OidcServer,
    browse,
    ldap_server,
)
from tests.made_documents import markdown_of
from tests.preloaded import PreloadedServer
from tests.serving import Person, finished_job, upload

SESSION = "__Host-strongroom"
FLOW = "__Host-strongroom-flow"
HOME = "https://strongroom.internal"
AMIRA = "6d3e2f64-0000-4000-8000-000000000001"
READERS = "6d3e2f64-0000-4000-8000-00000000000a"
ENTRIES = f"""\
dn: ou=people,dc=example,dc=internal
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=internal
objectClass: organizationalUnit
ou: groups

dn: uid=amira,ou=people,dc=example,dc=internal
objectClass: inetOrgPerson
uid: amira
cn: Amira Haddad
sn: Haddad
mail: amira@example.internal
userPassword: correct horse
entryUUID: {AMIRA}

dn: cn=readers,ou=groups,dc=example,dc=internal
objectClass: groupOfNames
cn: readers
member: uid=amira,ou=people,dc=example,dc=internal
entryUUID: {READERS}
"""
_addresses = count(1)
needs_slapd = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed (Debian: apt install slapd)")


@dataclass
class Browser:
    """Keeps cookies as a browser does, at a network address of its own; follows no redirect by itself."""

    client: httpx2.Client
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = field(default_factory=lambda: f"10.9.{next(_addresses)}.7")

    def get(self, path: str, accept: str = "text/html") -> httpx2.Response:
        """Open an address of our server."""
        return self._kept(self.client.get(path, headers=self._headers(accept)))

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Send what a page of ours sends."""
        headers = {**self._headers("application/json"), "sec-fetch-site": "same-origin"}
        return self._kept(self.client.post(path, json=body, headers=headers))

    def can_read(self, file: dict[str, Any]) -> bool:
        """Say whether the person who is signed in may open a file."""
        return readable(self.get(f"/v1/files/{file['id']}", "application/json"))

    def me(self) -> dict[str, Any]:
        """Return the account that is signed in."""
        found: dict[str, Any] = self.get("/v1/me", "application/json").raise_for_status().json()
        return found

    def _headers(self, accept: str) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"accept": accept, "x-forwarded-for": self.address, "cookie": cookie}

    def _kept(self, answer: httpx2.Response) -> httpx2.Response:
        for line in answer.headers.get_list("set-cookie"):
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in attributes:
                self.cookies[name] = value
        return answer


@dataclass
class House:
    """A server of ours, the directories that it knows, and two people with local accounts."""

    server: PreloadedServer
    database: Database
    provider: OidcServer
    authority: Authority
    client: httpx2.Client
    admin: Person
    ada: Person

    def browser(self) -> Browser:
        """Return a browser that nobody used before."""
        return Browser(self.client)

    def way_back(self, browser: Browser, after: str = "/", name: str = "sso") -> str:
        """Begin to sign in and do what the provider asks; returns the address to come back to."""
        begun = browser.get(f"/v1/directories/{name}/sign-in?{urlencode({'next': after})}")
        assert begun.status_code == 303, begun.text
        answer = browse(begun.headers["location"], self.authority.ca_file)
        return f"/v1/directories/{name}/callback?{urlencode(answer)}"

    def sign_in(self, browser: Browser, **claims: Any) -> OidcPerson:
        """Sign somebody in at the provider, who is new there unless `subject` is said."""
        person = self.is_at_provider(**claims)
        answer = browser.get(self.way_back(browser))
        assert answer.status_code == 200, answer.headers
        return person

    def is_at_provider(self, **claims: Any) -> OidcPerson:
        """Let the provider know somebody from now on."""
        subject = claims.pop("subject", None) or str(uuid4())
        self.provider.person = OidcPerson(subject, {"name": "Amira Haddad", "groups": [], **claims})
        return self.provider.person

    def file(self) -> dict[str, Any]:
        """Upload a file of Ada's that nobody else may read."""
        made = upload(self.ada.client, f"{uuid4()}.md", markdown_of("Notice", ["The gate closes at ten."]))
        assert finished_job(self.ada.client, made["x_job"]["id"])["state"] == "succeeded"
        return made

    def share(self, file: dict[str, Any], principal: str) -> None:
        """Let a group read a file of Ada's."""
        self.ada.client.put(f"/v1/files/{file['id']}/shares/{principal}").raise_for_status()

    def token(self, subject: str, **claims: Any) -> str:
        """Return an access token of the provider."""
        return self.provider.sign(self.token_claims(subject, **claims), typ="at+jwt")

    def token_claims(self, subject: str, **claims: Any) -> dict[str, Any]:
        """Return what a good access token says, with some claims changed."""
        now = int(time.time())
        usual = {"iss": self.provider.issuer, "aud": "strongroom-api", "sub": subject, "client_id": "a-tool"}
        return {**usual, "iat": now, "exp": now + 300, "name": "Amira Haddad", **claims}

    def with_token(self, token: str, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request with a bearer token."""
        return self.client.request(method, path, headers={"authorization": f"Bearer {token}"}, **options)

    def push(self, directory: str, subject: str) -> str:
        """Let a directory push somebody and their group, as over SCIM; returns the group's principal."""
        pushed = PushedPerson(subject, subject, "Amira Haddad", None, True, {})
        with self.database.write() as session:
            person = provisioning.add_person(session, directory, pushed)
            group = provisioning.add_group(session, directory, PushedGroup(str(uuid4()), None, {}))
            provisioning.set_members(session, group, frozenset({person.id}))
            return provisioning.group_principal(directory, group.id)

    def events_of(self, answer: httpx2.Response) -> list[dict[str, Any]]:
        """Return what is on the record about one request."""
        corr = answer.headers["x-request-id"]
        with self.database.read() as session:
            # The inbox first: what moves on in between is then seen twice, and not never.
            leaves = [row.leaf for row in session.query(AuditInbox)]
        with self.database.read() as session:
            leaves += [row.leaf for row in session.query(AuditLeaf)]
        found = {event["id"]: event for event in map(json.loads, leaves) if event["corr"] == corr}
        return [found[event_id] for event_id in sorted(found)]

    def types_of(self, answer: httpx2.Response) -> list[tuple[str, str]]:
        """Return type and outcome of what is on the record about one request."""
        return [(event["type"], event["outcome"]) for event in self.events_of(answer)]

    def account_names(self) -> list[str]:
        """Return what the accounts here are called."""
        with self.database.read() as session:
            return [user.name for user in session.query(User)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the directories' certificates come from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[OidcServer]:
    """Run a provider."""
    running = OidcServer(authority.issue("127.0.0.1"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def staff(authority: Authority) -> Iterator[LdapServer | None]:
    """Run an LDAP server, where there is one to run."""
    if SLAPD is None:
        yield None
        return
    with ldap_server(ENTRIES, authority.issue("127.0.0.1"), authority) as running:
        yield running


@pytest.fixture(scope="module")
def house(
    make_server: Callable[..., PreloadedServer],
    authority: Authority,
    provider: OidcServer,
    staff: LdapServer | None,
) -> Iterator[House]:
    """Start a server that knows them; each browser of a test comes from an address of its own."""
    oidc = [
        described(
            provider.described(name=name, ca_file=authority.ca_file), client_secret=provider.client_secret
        )
        for name in ("sso", "other")
    ]
    running = staff or LdapServer(1, 1)
    ldap = [
        described(server.described(name=name, ca_file=authority.ca_file), bind_password=server.bind_password)
        for name, server in (("staff", running), ("gone", LdapServer(1, 1)))
    ]
    server = make_server(
        oidc=json.dumps(oidc),
        ldap=json.dumps(ldap),
        public_url=HOME,
        trusted_proxies='["127.0.0.1"]',
    )
    server.start()
    admin = server.person("Admin", [Role.ADMIN, Role.CURATOR, Role.EMPLOYEE])
    database, _ = open_database(server.settings())
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        # A curator may share with groups that they are not in.
        ada = server.person("Ada", [Role.CURATOR, Role.EMPLOYEE])
        yield House(server, database, provider, authority, client, admin, ada)
    database.close()
    server.stop()


@pytest.fixture(autouse=True)
def honest(provider: OidcServer) -> Iterator[None]:
    """Let the provider behave again after each test."""
    yield
    provider.broken = False
    provider.forge = None


def described(directory: Any, **secrets: str) -> dict[str, Any]:
    """Return a directory as its setting spells it."""
    return {**directory.model_dump(mode="json", exclude_unset=True), **secrets}


def readable(answer: httpx2.Response) -> bool:
    """Read an answer as yes or no: anything but an opened or a missing file is neither."""
    assert answer.status_code in {200, 404}, answer.text
    return answer.status_code == 200


def refresh_of(answer: httpx2.Response) -> str:
    """Return where a page leads its browser by itself."""
    found = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


def refused(answer: httpx2.Response) -> str:
    """Return the problem that a browser is sent back to the sign-in page with, and nothing else."""
    assert answer.status_code == 303, answer.text
    assert SESSION + "=" not in answer.headers.get("set-cookie", "")
    where = urlsplit(answer.headers["location"])
    assert (where.scheme, where.netloc, where.path) == ("", "", "/sign-in")
    return parse_qs(where.query)["problem"][0]


# --- OpenID Connect -------------------------------------------------------------------------------


def test_the_directories_are_public(house):
    """Nobody has to be signed in to see the buttons; nothing but name, label and kind is told."""
    listed = house.client.get("/v1/directories").raise_for_status().json()["data"]
    assert listed[0] == {"name": "sso", "label": "Company account", "kind": "oidc"}
    assert [(one["name"], one["kind"]) for one in listed] == [
        ("sso", "oidc"),
        ("other", "oidc"),
        ("staff", "ldap"),
        ("gone", "ldap"),
    ]
    assert {key for one in listed for key in one} == {"name", "label", "kind"}


def test_a_person_signs_in(house):
    """The whole round trip: the account is made, the session is theirs, and both are on the record."""
    browser = house.browser()
    house.is_at_provider(name="Grace Hopper")
    answer = browser.get(house.way_back(browser, after="/documents?sort=name"))
    assert answer.status_code == 200
    assert refresh_of(answer) == "/documents?sort=name"
    assert browser.me()["name"] == "Grace Hopper"
    assert browser.me()["roles"] == [Role.EMPLOYEE]
    assert house.types_of(answer) == [("account.created", "ok"), ("signin.ok", "ok")]
    assert {event["actor"]["auth"] for event in house.events_of(answer)} == {"oidc:sso"}


def test_the_cookies_are_out_of_reach(house):
    """The one that waits for the provider is lax and short-lived; the session's, strict, is left."""
    browser = house.browser()
    house.is_at_provider()
    begun = browser.get("/v1/directories/sso/sign-in")
    waiting = begun.headers["set-cookie"]
    assert waiting.startswith(f"{FLOW}=")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=600"} <= set(waiting.split("; "))
    assert begun.headers["location"].startswith(house.provider.issuer)
    answer = browser.get(house.way_back(browser))
    session = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{SESSION}="))
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=strict"} <= set(session.split("; "))
    assert set(browser.cookies) == {SESSION}


def test_the_same_person_has_one_account(house):
    """Somebody who comes again, with another name, is who they were."""
    first, second = house.browser(), house.browser()
    person = house.sign_in(first)
    house.sign_in(second, subject=person.subject, name="Amira Nasser")
    assert first.me()["id"] == second.me()["id"]
    assert first.me()["name"] == "Amira Nasser"


def test_two_tabs_can_both_sign_in(house):
    """A sign-in that begins in a second tab does not spoil the first."""
    browser = house.browser()
    house.is_at_provider()
    first, second = house.way_back(browser), house.way_back(browser)
    assert first != second
    assert browser.get(first).status_code == 200


def test_an_address_never_leads_to_an_account(house):
    """Whoever has Ada's e-mail address at the provider is somebody else here."""
    browser = house.browser()
    house.sign_in(browser, email=house.ada.email, email_verified=True)
    assert browser.me()["id"] != house.ada.id
    assert browser.me()["email"] != house.ada.email


def test_groups_open_and_close_documents(house):
    """A group's file is readable for whoever the provider puts into it, and not a moment longer."""
    file, group = house.file(), str(uuid4())
    first, again, outsider = house.browser(), house.browser(), house.browser()
    person = house.sign_in(first, groups=[group])
    house.sign_in(outsider, groups=["another"])
    assert not first.can_read(file)
    house.share(file, f"group:sso:{group}")
    assert first.can_read(file)
    assert not outsider.can_read(file)
    house.is_at_provider(subject=person.subject, groups=[])
    answer = again.get(house.way_back(again))
    assert ("directory.changed", "groups") in house.types_of(answer)
    assert not again.can_read(file)
    assert not first.can_read(file)


def test_an_old_token_gives_no_group_back(house):
    """What a token says of groups may be older than the last sign-in, which took one away."""
    file, group = house.file(), str(uuid4())
    browser = house.browser()
    person = house.sign_in(browser, groups=[group])
    house.share(file, f"group:sso:{group}")
    token = house.token(person.subject, groups=[group])
    assert readable(house.with_token(token, "GET", f"/v1/files/{file['id']}"))
    house.sign_in(browser, subject=person.subject, groups=[])
    assert not readable(house.with_token(token, "GET", f"/v1/files/{file['id']}"))
    assert not browser.can_read(file)


def test_a_sign_in_without_groups_undoes_no_push(house):
    """Where SCIM pushes the groups, a provider that names none takes nobody out of them."""
    file, browser, subject = house.file(), house.browser(), str(uuid4())
    house.share(file, house.push("other", subject))
    house.is_at_provider(subject=subject)
    assert browser.get(house.way_back(browser, name="other")).status_code == 200
    assert browser.can_read(file)


@pytest.mark.parametrize(
    "after", ["https://evil.example/", "//evil.example", "/\\evil.example", "/" + "x" * 3000]
)
def test_nobody_is_led_elsewhere(house, after):
    """A `next` that leads to another site, or goes on for ever, leads to the start page."""
    browser = house.browser()
    house.is_at_provider()
    assert refresh_of(browser.get(house.way_back(browser, after=after))) == "/"


def test_markup_in_next_stays_text(house):
    """A `next` that tries to end the attribute that it stands in is only an address."""
    browser = house.browser()
    house.is_at_provider()
    after = '/"><script>alert(1)</script>'
    answer = browser.get(house.way_back(browser, after=after))
    assert "<script>" not in answer.text
    assert refresh_of(answer) == after


def test_an_answer_is_used_once(house):
    """The same way back a second time signs nobody in, and the record says why."""
    browser = house.browser()
    house.is_at_provider()
    back = house.way_back(browser)
    assert browser.get(back).status_code == 200
    again = browser.get(back)
    assert refused(again) == "expired"
    assert house.types_of(again) == [("signin.failed", "unknown_flow")]


def test_an_answer_belongs_to_its_browser(house):
    """Somebody else's way back signs nobody in; and it is used up, also for the browser that began."""
    mine, theirs = house.browser(), house.browser()
    house.is_at_provider()
    back = house.way_back(mine)
    answer = theirs.get(back)
    assert refused(answer) == "expired"
    assert house.types_of(answer) == [("signin.failed", "other_browser")]
    assert refused(mine.get(back)) == "expired"


def test_an_answer_belongs_to_its_directory(house):
    """One provider's answer at another's address is refused."""
    browser = house.browser()
    house.is_at_provider()
    back = house.way_back(browser).replace("/sso/", "/other/")
    answer = browser.get(back)
    assert refused(answer) == "refused"
    assert house.types_of(answer) == [("signin.failed", "other_directory")]


def test_another_issuer_is_refused(house):
    """An answer that names another provider (RFC 9207) is not taken to this one."""
    browser = house.browser()
    house.is_at_provider()
    answer = browser.get(house.way_back(browser) + "&iss=https%3A%2F%2F127.0.0.9")
    assert refused(answer) == "refused"
    assert house.types_of(answer) == [("signin.failed", "wrong_issuer")]


def test_whoever_declines_is_told_so(house):
    """The provider's refusal comes back as a kind word; its own text goes nowhere."""
    browser = house.browser()
    state = parse_qs(urlsplit(house.way_back(browser)).query)["state"][0]
    answer = browser.get(f"/v1/directories/sso/callback?error=access_denied&state={state}")
    assert refused(answer) == "declined"
    assert house.types_of(answer) == [("signin.failed", "declined")]


def signed_by_a_stranger(house: House, claims: dict[str, Any]) -> str:
    """Sign a token with a key that only has the name of the provider's."""
    key = RSAKey.generate_key(2048, {"kid": house.provider.key.kid})
    return jwt.encode({"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}, claims, key, algorithms=["RS256"])


FORGERIES = {
    "bad_signature": signed_by_a_stranger,
    "expired": lambda house, claims: house.provider.sign({**claims, "exp": int(time.time()) - 3600}),
    "wrong_audience": lambda house, claims: house.provider.sign({**claims, "aud": "another-client"}),
    "wrong_nonce": lambda house, claims: house.provider.sign({**claims, "nonce": "of another sign-in"}),
    "wrong_issuer": lambda house, claims: house.provider.sign({**claims, "iss": "https://127.0.0.9"}),
}


@pytest.mark.parametrize("reason", FORGERIES)
def test_a_forged_id_token_signs_nobody_in(house, reason):
    """A token that fails a check makes no account and no session; the record has the reason."""
    browser, name = house.browser(), f"Forged {uuid4()}"
    house.is_at_provider(name=name)
    house.provider.forge = lambda claims: FORGERIES[reason](house, claims)
    answer = browser.get(house.way_back(browser))
    assert refused(answer) == "refused"
    assert house.types_of(answer) == [("signin.failed", reason)]
    assert name not in house.account_names()


def test_a_claimed_local_group_is_refused(house):
    """A provider that names a group of ours lets nobody in, instead of into that group."""
    browser, name = house.browser(), f"Climber {uuid4()}"
    house.is_at_provider(name=name, groups=["group:local:everyone"])
    answer = browser.get(house.way_back(browser))
    assert refused(answer) == "refused"
    assert house.types_of(answer) == [("signin.failed", "group_refused")]
    assert name not in house.account_names()


def test_a_closed_account_stays_closed(house):
    """Neither a sign-in nor a token opens an account that an administrator closed."""
    browser = house.browser()
    person = house.sign_in(browser)
    token, user_id = house.token(person.subject), browser.me()["id"]
    assert house.with_token(token, "GET", "/v1/me").status_code == 200
    house.admin.change_account(user_id, disabled=True).raise_for_status()
    house.is_at_provider(subject=person.subject, name="Renamed")
    answer = browser.get(house.way_back(browser))
    assert refused(answer) == "closed"
    assert house.types_of(answer) == [("signin.failed", "account_closed")]
    refusal = house.with_token(token, "GET", "/v1/me")
    assert refusal.status_code == 401
    assert house.types_of(refusal) == [("refused", "not_authenticated: account_closed")]
    assert "Renamed" not in house.account_names()


def test_a_program_gets_an_error_instead_of_a_page(house):
    """Who does not ask for HTML gets the envelope, and the failure is on the record all the same."""
    answer = house.browser().get(
        "/v1/directories/sso/callback?state=unknown&code=unknown", "application/json"
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
    assert ("signin.failed", "unknown_flow") in house.types_of(answer)


def test_a_provider_that_is_down_is_nobodys_fault(house):
    """The person is told so; nothing is counted against them, and later they sign in."""
    browser = house.browser()
    house.is_at_provider()
    back = house.way_back(browser)
    house.provider.broken = True
    answer = browser.get(back)
    assert refused(answer) == "unavailable"
    assert house.types_of(answer) == [("signin.failed", "directory_unavailable")]
    house.provider.broken = False
    assert browser.get(house.way_back(browser)).status_code == 200


def test_guessing_is_slowed_down(house):
    """After twenty bad answers an address waits; another address does not notice."""
    browser, bystander = house.browser(), house.browser()
    house.is_at_provider()
    problems = [
        refused(browser.get("/v1/directories/sso/callback?state=guess&code=guess")) for _ in range(22)
    ]
    assert problems == ["expired"] * 21 + ["throttled"]
    held_up = browser.get("/v1/directories/sso/sign-in", "application/json")
    assert held_up.status_code == 429
    assert int(held_up.headers["retry-after"]) >= 1
    assert bystander.get(house.way_back(bystander)).status_code == 200


@pytest.mark.parametrize("name", ["unknown", "staff"])
@pytest.mark.parametrize("step", ["sign-in", "callback"])
def test_only_providers_have_pages(house, name, step):
    """An unknown name and an LDAP server's are not there."""
    assert house.browser().get(f"/v1/directories/{name}/{step}").status_code == 404


@pytest.mark.parametrize("parameter", ["state", "code", "iss", "error"])
def test_endless_answers_are_refused(house, parameter):
    """What a provider sends back has bounds."""
    answer = house.browser().get(f"/v1/directories/sso/callback?{parameter}={'x' * 5000}")
    assert answer.status_code == 400


# --- access tokens --------------------------------------------------------------------------------


def test_a_token_opens_the_api(house):
    """Somebody who never came by browser is known from then on, and may read, ask and upload."""
    subject = str(uuid4())
    first = house.with_token(house.token(subject), "GET", "/v1/me")
    assert first.status_code == 200
    assert ("account.created", "ok") in house.types_of(first)
    token = house.token(subject)
    again = house.with_token(token, "GET", "/v1/me")
    assert again.json()["id"] == first.json()["id"]
    assert house.types_of(again) == [("accounts.read", "ok")]
    file = {"file": ("note.md", markdown_of("Notice", ["The lift is being repaired."]))}
    assert house.with_token(token, "POST", "/v1/files", files=file).status_code in {200, 201, 202}


def test_the_first_token_brings_its_groups(house):
    """A new account has the groups of the token that it was made for."""
    file, group = house.file(), str(uuid4())
    house.sign_in(house.browser(), groups=[group])
    house.share(file, f"group:sso:{group}")
    insider, outsider = house.token(str(uuid4()), groups=[group]), house.token(str(uuid4()))
    assert readable(house.with_token(insider, "GET", f"/v1/files/{file['id']}"))
    assert not readable(house.with_token(outsider, "GET", f"/v1/files/{file['id']}"))


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/keys"), ("POST", "/v1/invitations"), ("GET", "/v1/audit/events"), ("GET", "/v1/sessions")],
)
def test_a_token_rules_nothing(house, method, path):
    """Not even an administrator's token makes keys or invites; not even an auditor's reads the record."""
    browser = house.browser()
    person = house.sign_in(browser)
    roles = ["admin", "curator", "employee"]
    house.admin.change_account(browser.me()["id"], roles=roles).raise_for_status()
    body = {"name": "a key", "roles": ["employee"]}
    answer = house.with_token(house.token(person.subject), method, path, json=body)
    assert answer.status_code == 403
    assert house.types_of(answer) == [("refused", "not_permitted")]


BAD_TOKENS = {
    "bad_signature": signed_by_a_stranger,
    "expired": lambda house, claims: house.provider.sign({**claims, "exp": int(time.time()) - 3600}),
    "wrong_audience": lambda house, claims: house.provider.sign({**claims, "aud": "another-api"}),
    "wrong_issuer": lambda house, claims: house.provider.sign({**claims, "iss": "https://127.0.0.9"}),
    "not_a_person": lambda house, claims: house.provider.sign({**claims, "client_id": claims["sub"]}),
    "group_refused": lambda house, claims: house.provider.sign({**claims, "groups": ["group:local:x"]}),
    "unsigned": lambda house, claims: house.provider.sign(claims).replace(
        house.provider.sign(claims).split(".")[0], "eyJhbGciOiJub25lIn0"
    ),
    "malformed": lambda house, claims: "not.a.token",
}


@pytest.mark.parametrize("reason", BAD_TOKENS)
def test_a_bad_token_opens_nothing(house, reason):
    """A token that fails a check is a 401 that tells nothing, and the reason is on the record."""
    subject, name = str(uuid4()), f"Forged {uuid4()}"
    token = BAD_TOKENS[reason](house, house.token_claims(subject, name=name))
    answer = house.with_token(token, "GET", "/v1/me")
    assert answer.status_code == 401
    assert reason not in answer.text
    outcomes = [outcome.split(";")[0] for _, outcome in house.types_of(answer)]
    assert outcomes == [f"not_authenticated: {reason}"]
    assert name not in house.account_names()


# --- LDAP -----------------------------------------------------------------------------------------


def ldap_sign_in(
    browser: Browser, login: str = "amira", password: str = "correct horse", directory: str = "staff"
) -> httpx2.Response:
    """Send what the sign-in page sends."""
    return browser.post("/v1/session", {"email": login, "password": password, "directory": directory})


@needs_slapd
def test_a_person_signs_in_with_ldap(house):
    """Name and password of the directory open a session, which knows how it was opened."""
    browser = house.browser()
    answer = ldap_sign_in(browser)
    assert answer.status_code == 200
    assert answer.json()["user"]["name"] == "Amira Haddad"
    assert ("signin.ok", "ok") in house.types_of(answer)
    assert {event["actor"]["auth"] for event in house.events_of(answer)} == {"ldap:staff"}
    assert browser.me()["id"] == answer.json()["user"]["id"]


@needs_slapd
def test_ldap_groups_open_documents(house):
    """A file that is shared with a group of the directory is readable for its members."""
    file, browser, outsider = house.file(), house.browser(), house.browser()
    assert ldap_sign_in(browser).status_code == 200
    house.sign_in(outsider)
    assert not browser.can_read(file)
    house.share(file, f"group:staff:{READERS}")
    assert browser.can_read(file)
    assert not outsider.can_read(file)


@needs_slapd
def test_a_wrong_name_and_a_wrong_password_look_alike(house):
    """Nothing in the answer tells whether somebody exists; the record has one reason for both."""
    unknown = ldap_sign_in(house.browser(), login=f"nobody-{uuid4()}")
    wrong = ldap_sign_in(house.browser(), password="wrong")
    empty = ldap_sign_in(house.browser(), password="")
    assert unknown.status_code == wrong.status_code == empty.status_code == 401
    assert unknown.json() == wrong.json() == empty.json()
    for answer in (unknown, wrong, empty):
        assert ("signin.failed", "wrong_credentials") in house.types_of(answer)
    assert ldap_sign_in(house.browser()).status_code == 200


@needs_slapd
def test_ldap_passwords_cannot_be_guessed_fast(house):
    """After six wrong ones the directory is not even asked for a while."""
    login = f"nobody-{uuid4()}"
    answers = [ldap_sign_in(house.browser(), login=login, password="wrong") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 6 + [429]


def test_a_directory_that_is_down_is_no_wrong_password(house):
    """An LDAP server that cannot be reached is a 503, however often; the person is not held up for it."""
    browser = house.browser()
    answers = [ldap_sign_in(browser, directory="gone") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["error"]["code"] == "directory_unavailable"


@pytest.mark.parametrize("directory", ["unknown", "sso"])
def test_only_ldap_servers_take_passwords(house, directory):
    """An unknown name and a provider's are not there."""
    assert ldap_sign_in(house.browser(), directory=directory).status_code == 404


def test_local_accounts_sign_in_as_before(house):
    """Without a directory, the password is one of ours; with one, a local password opens nothing."""
    body = {"email": house.ada.email, "password": house.ada.password}
    assert house.browser().post("/v1/session", body).status_code == 200
    assert house.browser().post("/v1/session", {**body, "directory": "gone"}).status_code == 503
