"""Sign-in with a real OpenID Connect provider: over TLS, with real discovery, keys, codes and PKCE."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import ValidationError

from infra.directories.claims import DirectoryPerson
from infra.directories.configuration import OidcProvider
from infra.directories.oidc import Flow, OidcDirectory, code_challenge
from infra.directories.provider import KEPT_S, MAX_ANSWER_BYTES, REFETCH_S, RETRY_S
from infra.errors import (
    AddressRefused,
    ConfigurationError,
    DirectoryRefused,
    DirectoryUnavailable,
    TokenRefused,
)
from tests.directory_servers import Authority, OidcServer, browse

BACK = "https://strongroom.internal/v1/session/oidc/sso"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sign_in(directory: OidcDirectory, authority: Authority, **changes: Any) -> DirectoryPerson:
    """Go the whole way: to the provider, back with a code, and in."""
    flow = directory.begin(BACK)
    returned = browse(flow.url, authority.ca_file)
    assert returned["state"] == flow.state
    return finish(directory, flow, returned["code"], **changes)


def finish(directory: OidcDirectory, flow: Flow, code: str, **changes: Any) -> DirectoryPerson:
    parts = {"code": code, "redirect_uri": BACK, "nonce": flow.nonce, "verifier": flow.verifier}
    return directory.finish(**{**parts, **changes})


def reason(attempt: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(DirectoryRefused) as refusal:
        attempt(*arguments, **options)
    return refusal.value.reason


def bearer_claims(provider: OidcServer, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": provider.issuer,
        "sub": "subject-1",
        "aud": "strongroom-api",
        "client_id": "a-program",
        "iat": now,
        "exp": now + 60,
        **changes,
    }


# --- the way in -----------------------------------------------------------------------------------


def test_a_person_signs_in(directory, authority, provider):
    """Code, PKCE, token exchange and ID token give the person, with groups named by the directory."""
    provider.person.claims.update(email="amira@example.internal", email_verified=True)
    assert sign_in(directory, authority) == DirectoryPerson(
        directory="sso",
        subject="subject-1",
        name="Amira Haddad",
        email="amira@example.internal",
        group_ids=frozenset({"group:sso:g-1"}),
        email_vouched=True,
    )


@pytest.mark.parametrize("claims", [{}, {"email_verified": "true"}, {"email_verified": None}])
def test_an_address_is_vouched_for_only_when_the_provider_says_so(directory, authority, provider, claims):
    """Without `email_verified` true the address is a label."""
    provider.person.claims.update(email="amira@example.internal", **claims)
    person = sign_in(directory, authority)
    assert (person.email, person.email_vouched) == ("amira@example.internal", False)


def test_the_challenge_is_the_published_one():
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_each_sign_in_has_secrets_of_its_own(directory):
    """State, nonce and verifier have 256 bits each, and none is used twice."""
    first, second = directory.begin(BACK), directory.begin(BACK)
    values = [value for flow in (first, second) for value in (flow.state, flow.nonce, flow.verifier)]
    assert len(set(values)) == 6
    assert {len(base64.urlsafe_b64decode(value + "=")) for value in values} == {32}


def test_the_browser_carries_no_secret_of_ours(directory):
    """The address has the challenge; the verifier stays here, and out of what is printed."""
    flow = directory.begin(BACK)
    query = parse_qs(urlsplit(flow.url).query)
    assert query["code_challenge"] == [code_challenge(flow.verifier)]
    assert query["code_challenge_method"] == ["S256"]
    assert flow.verifier not in flow.url
    assert flow.verifier not in repr(flow)


def test_a_secret_can_travel_in_the_form(directory, authority, provider):
    """A provider that takes `client_secret_post` only gets it that way."""
    provider.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    assert sign_in(directory, authority).subject == "subject-1"


def test_claims_may_come_from_the_userinfo_endpoint(directory, authority, provider):
    """A provider that keeps its ID tokens short is asked for the rest."""
    provider.slim_id_tokens = True
    person = sign_in(directory, authority)
    assert (person.name, person.group_ids) == ("Amira Haddad", frozenset({"group:sso:g-1"}))


def test_an_answer_about_somebody_else_is_refused(directory, authority, provider):
    """The userinfo endpoint must speak of the subject of the ID token."""
    provider.slim_id_tokens, provider.user_info_subject = True, "subject-2"
    assert reason(sign_in, directory, authority) == "wrong_subject"


def test_no_groups_anywhere_are_none(directory, authority, provider):
    """After both places were read, an absent list is an empty one: a leaver loses the groups."""
    del provider.person.claims["groups"]
    person = sign_in(directory, authority)
    assert (person.group_ids, person.groups_known) == (frozenset(), True)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"groups": ["group:local:everyone"]}, "group_refused"),
        ({"groups": ["group:other-sso:g-1"]}, "group_refused"),
        ({"groups": {"g-1": True}}, "group_refused"),
        ({"groups": ["g-1", None]}, "group_refused"),
        ({"groups": [f"g-{number}" for number in range(501)]}, "too_many_groups"),
        ({"groups": None, "_claim_names": {"groups": "src1"}}, "groups_elsewhere"),
        ({"groups": None, "hasgroups": True}, "groups_elsewhere"),
    ],
)
def test_groups_that_cannot_be_taken_whole_are_refused(directory, authority, provider, claims, expected):
    """A foreign, malformed, endless or remote list does not become a shorter one."""
    provider.person.claims = claims
    assert reason(sign_in, directory, authority) == expected


def test_an_unverified_address_is_not_passed_on(directory, authority, provider):
    """What somebody typed at the provider is no address of theirs."""
    provider.person.claims.update(email="director@example.internal", email_verified=False)
    assert sign_in(directory, authority).email is None


# --- codes ----------------------------------------------------------------------------------------


def test_a_code_works_once(directory, authority):
    """The provider's refusal of a replayed code reaches the caller as such."""
    flow = directory.begin(BACK)
    code = browse(flow.url, authority.ca_file)["code"]
    finish(directory, flow, code)
    assert reason(finish, directory, flow, code) == "code_refused"


def test_a_stolen_code_is_worth_nothing(directory, authority):
    """Without the verifier of the browser that began, the provider gives no token."""
    flow = directory.begin(BACK)
    code = browse(flow.url, authority.ca_file)["code"]
    assert reason(finish, directory, flow, code, verifier=directory.begin(BACK).verifier) == "code_refused"


@pytest.mark.parametrize("code", ["", "x" * 4097])
def test_a_code_of_no_sensible_length_is_not_sent(directory, provider, code):
    """The provider is not bothered with it."""
    flow = directory.begin(BACK)
    assert reason(finish, directory, flow, code) == "malformed"
    assert provider.asked["/token"] == 0


def test_an_answer_from_another_issuer_is_refused(directory, authority):
    """RFC 9207: a code that another provider sent back is not traded here."""
    flow = directory.begin(BACK)
    code = browse(flow.url, authority.ca_file)["code"]
    assert reason(finish, directory, flow, code, issuer="https://evil.internal") == "wrong_issuer"


def test_an_announced_issuer_must_be_there(directory, authority, provider):
    """A provider that says it names itself in each answer is held to it."""
    provider.discovery["authorization_response_iss_parameter_supported"] = True
    assert reason(sign_in, directory, authority) == "wrong_issuer"
    assert sign_in(directory, authority, issuer=provider.issuer).subject == "subject-1"


# --- forged ID tokens -----------------------------------------------------------------------------


def unsigned(claims: dict[str, Any], _provider: OidcServer) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), ""])


def keyed_with_the_public_key(claims: dict[str, Any], provider: OidcServer) -> str:
    header = {"alg": "HS256", "kid": provider.key.kid}
    parts = [json.dumps(part).encode() for part in (header, claims)]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    mac = hmac.new(provider.key.as_pem(private=False), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed_by(kid: str | None) -> Callable[[dict[str, Any], OidcServer], str]:
    def forge(claims: dict[str, Any], provider: OidcServer) -> str:
        key = RSAKey.generate_key(2048)
        return jwt.encode({"alg": "RS256", "kid": kid or provider.key.kid}, claims, key)

    return forge


def with_claims(**changes: Any) -> Callable[[dict[str, Any], OidcServer], str]:
    return lambda claims, provider: provider.sign({**claims, **changes})


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (with_claims(exp=int(time.time()) - 3600), "expired"),
        (unsigned, "unsigned"),
        (keyed_with_the_public_key, "wrong_algorithm"),
        (with_claims(aud="another-client"), "wrong_audience"),
        (with_claims(iss="https://evil.internal"), "wrong_issuer"),
        (with_claims(nonce="another"), "wrong_nonce"),
        (signed_by("unheard-of"), "unknown_key"),
        (signed_by(None), "bad_signature"),
        (with_claims(pad="x" * 16_384), "malformed"),
        (lambda _claims, _provider: "no token", "malformed"),
        (with_claims(sub=None), "subject_refused"),
    ],
)
def test_a_forged_id_token_is_refused(directory, authority, provider, forge, expected):
    """Each forgery is refused with its reason, although everything around it is in order."""
    provider.discovery["userinfo_endpoint"] = None
    provider.forge = lambda claims: forge(claims, provider)
    assert reason(sign_in, directory, authority) == expected


# --- bearer tokens --------------------------------------------------------------------------------


def test_a_program_brings_an_access_token(directory, provider):
    """A token made for this server as an API names the person; it says nothing of groups here."""
    person = directory.person_of_bearer(provider.sign(bearer_claims(provider), typ="at+jwt"))
    assert (person.subject, person.group_ids, person.groups_known) == ("subject-1", frozenset(), False)


def test_the_groups_of_an_access_token_count(directory, provider):
    """Where they are listed, they are taken."""
    person = directory.person_of_bearer(provider.sign(bearer_claims(provider, groups=["g-2"]), typ="at+jwt"))
    assert (person.group_ids, person.groups_known) == (frozenset({"group:sso:g-2"}), True)


def test_the_id_token_of_a_browser_is_no_access_token(directory, authority, provider):
    """A real ID token of the same person, stolen from a browser, opens nothing."""
    made: list[str] = []

    def remember(claims: dict[str, Any]) -> str:
        made.append(provider.sign(claims))
        return made[0]

    provider.forge = remember
    sign_in(directory, authority)
    assert reason(directory.person_of_bearer, made[0]) == "wrong_audience"


def test_without_an_audience_no_access_token_is_taken(authority, provider):
    """A token that would pass elsewhere does not pass by default, and the provider is not even asked."""
    directory = OidcDirectory(provider.described(ca_file=authority.ca_file, audience=None))
    token = provider.sign(bearer_claims(provider), typ="at+jwt")
    assert reason(directory.person_of_bearer, token) == "wrong_audience"
    assert not provider.asked


# --- keys and metadata ----------------------------------------------------------------------------


def test_keys_and_metadata_are_fetched_once(directory, provider):
    """A thousand requests with tokens are not a thousand requests to the provider."""
    token = provider.sign(bearer_claims(provider), typ="at+jwt")
    for _ in range(5):
        directory.person_of_bearer(token)
    assert provider.asked == {"/.well-known/openid-configuration": 1, "/jwks": 1}


def test_a_new_key_is_found_and_invented_ones_cost_little(configuration, provider):
    """After a minute an unknown key name makes us look again, once; more of them change nothing."""
    clock = Clock()
    directory = OidcDirectory(configuration, clock=clock)
    directory.person_of_bearer(provider.sign(bearer_claims(provider), typ="at+jwt"))
    provider.rotate()
    token = provider.sign(bearer_claims(provider), typ="at+jwt")
    assert reason(directory.person_of_bearer, token) == "unknown_key"
    clock.now += REFETCH_S
    assert directory.person_of_bearer(token).subject == "subject-1"
    for number in range(5):
        invented = provider.sign(bearer_claims(provider), typ="at+jwt", kid=f"invented-{number}")
        assert reason(directory.person_of_bearer, invented) == "unknown_key"
    assert provider.asked["/jwks"] == 2


def test_a_key_that_is_taken_back_dies_within_the_hour(configuration, provider):
    """Old tokens stop working when the provider stops publishing their key."""
    clock = Clock()
    directory = OidcDirectory(configuration, clock=clock)
    token = provider.sign(bearer_claims(provider), typ="at+jwt")
    directory.person_of_bearer(token)
    provider.rotate()
    assert directory.person_of_bearer(token).subject == "subject-1"
    clock.now += KEPT_S
    assert reason(directory.person_of_bearer, token) == "unknown_key"


def test_a_provider_that_fails_is_left_alone_for_a_moment(configuration, provider):
    """Its failure is typed, is remembered for seconds, and ends when the provider is back."""
    clock = Clock()
    directory = OidcDirectory(configuration, clock=clock)
    provider.broken = True
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable):
            directory.begin(BACK)
    assert sum(provider.asked.values()) == 1
    provider.broken = False
    clock.now += RETRY_S
    assert directory.begin(BACK).url.startswith(f"{provider.issuer}/authorize?")


def test_a_provider_that_is_not_there_is_unavailable(configuration, provider):
    """Nobody listens: a typed error, not a crash."""
    provider.close()
    with pytest.raises(DirectoryUnavailable):
        OidcDirectory(configuration).begin(BACK)


def test_a_certificate_of_nobody_we_know_is_refused(provider):
    """Without the private authority's certificate the provider is not believed."""
    with pytest.raises(DirectoryUnavailable):
        OidcDirectory(provider.described()).begin(BACK)


def test_a_document_of_another_issuer_is_refused(directory, provider):
    """Discovery 1.0, section 4.3."""
    provider.discovery["issuer"] = "https://127.0.0.1"
    with pytest.raises(DirectoryUnavailable):
        directory.begin(BACK)


@pytest.mark.parametrize(
    "endpoint", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]
)
@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("https://8.8.8.8/x", AddressRefused),
        ("https://login.example.com/x", AddressRefused),
        ("https://127.0.0.1@8.8.8.8/x", AddressRefused),
        ("ftp://127.0.0.1/x", AddressRefused),
        ("http://10.0.0.1/x", DirectoryUnavailable),
    ],
)
def test_a_document_cannot_send_us_or_a_browser_outside(directory, provider, endpoint, address, error):
    """Every endpoint must be private and encrypted, whoever is to call it."""
    provider.discovery[endpoint] = address
    with pytest.raises(error):
        directory.begin(BACK)


def test_an_endless_answer_is_cut_off(directory, provider):
    """A provider cannot fill our memory."""
    provider.discovery["pad"] = "x" * MAX_ANSWER_BYTES
    with pytest.raises(DirectoryUnavailable):
        directory.begin(BACK)


def test_a_deeply_nested_answer_is_unavailable(directory, provider):
    """Neither can it crash the reader of JSON."""
    provider.raw_discovery = "[" * 100_000
    with pytest.raises(DirectoryUnavailable):
        directory.begin(BACK)


# --- configuration --------------------------------------------------------------------------------


def test_a_wrong_client_secret_is_the_operators_problem(authority, provider):
    """The person at the door is not told that their sign-in was bad."""
    directory = OidcDirectory(provider.described(ca_file=authority.ca_file, client_secret="wrong"))
    with pytest.raises(DirectoryUnavailable):
        sign_in(directory, authority)


@pytest.mark.parametrize(
    "issuer", ["https://8.8.8.8", "https://accounts.example.com", "https://[2001:db8::1]"]
)
def test_a_public_issuer_is_refused_at_once(issuer):
    """Before anything is looked up."""
    fields = {"name": "sso", "label": "L", "client_id": "c", "issuer": issuer}
    with pytest.raises(AddressRefused):
        OidcDirectory(OidcProvider.model_validate(fields))


def test_a_listed_name_is_accepted_and_plaintext_is_not():
    """`https://` unless the provider is on this machine."""
    fields = {"name": "sso", "label": "L", "client_id": "c"}
    OidcDirectory(
        OidcProvider.model_validate({**fields, "issuer": "https://sso.internal"}),
        allowed_hosts=["sso.internal"],
    )
    OidcDirectory(OidcProvider.model_validate({**fields, "issuer": "http://127.0.0.1:8080"}))
    with pytest.raises(ConfigurationError):
        OidcDirectory(OidcProvider.model_validate({**fields, "issuer": "http://10.0.0.1"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "local"},
        {"name": "Sso"},
        {"name": "s"},
        {"name": "s" * 33},
        {"name": "sso:x"},
        {"name": "sso\n"},
        {"client_secret": ""},
        {"scopes": "profile"},
        {"audience": "strongroom"},
        {"unheard_of": 1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(provider, changes):
    """Reserved and odd names, an empty secret, no ID token, and the client as its own API."""
    with pytest.raises(ValidationError):
        provider.described(**changes)


def test_a_refusal_says_no_more_than_that():
    """The reason is for the record; the message is the same for all."""
    assert TokenRefused("expired").message == TokenRefused("bad_signature").message
