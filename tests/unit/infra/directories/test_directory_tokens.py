"""Each check that a signed token must pass, with the forgery that it is there for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from infra.directories.tokens import LEEWAY_S, MAX_TOKEN_BYTES, access_token_claims, id_token_claims
from infra.errors import NotAuthenticated, TokenRefused

NOW = 1_800_000_000
ISSUER = "https://sso.internal"
CLIENT = "strongroom"
API = "strongroom-api"
NONCE = "n-0S6_WzA2Mj"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER = RSAKey.generate_key(2048, {"kid": "rsa"})
KEYS: dict[str, Key] = {
    "rsa": RSA,
    "p256": ECKey.generate_key("P-256", {"kid": "p256"}),
    "p384": ECKey.generate_key("P-384", {"kid": "p384"}),
    "p521": ECKey.generate_key("P-521", {"kid": "p521"}),
    "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}


def find_key(kid: str | None, _algorithm: str) -> Key:
    if kid not in KEYS:
        raise TokenRefused("unknown_key")
    return KEYS[kid]


def claims(**changes: Any) -> dict[str, Any]:
    usual = {"iss": ISSUER, "sub": "s-1", "aud": CLIENT, "exp": NOW + 300, "iat": NOW, "nonce": NONCE}
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def access(**changes: Any) -> dict[str, Any]:
    return claims(**{"aud": API, "nonce": ..., "client_id": "some-program", **changes})


def signed(content: dict[str, Any], *, key: Key = RSA, alg: str = "RS256", **header: Any) -> str:
    header = {"alg": alg, "kid": key.kid, **header}
    return jwt.encode(header, content, key, algorithms=[alg], default_type=None)


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def id_token(token: str, *, nonce: str = NONCE) -> dict[str, Any]:
    return dict(id_token_claims(token, find_key, issuer=ISSUER, client_id=CLIENT, nonce=nonce, now=NOW))


def access_token(token: str, *, audience: str | None = API) -> dict[str, Any]:
    return dict(
        access_token_claims(token, find_key, issuer=ISSUER, audience=audience, client_id=CLIENT, now=NOW)
    )


def reason(token: str, check=id_token, **options: Any) -> str:
    with pytest.raises(TokenRefused) as refusal:
        check(token, **options)
    assert isinstance(refusal.value, NotAuthenticated)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("alg", "kid"),
    [
        *[(alg, "rsa") for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("ES512", "p521"),
        ("Ed25519", "ed"),
    ],
)
def test_each_asymmetric_algorithm_is_taken(alg, kid):
    """What providers sign with is accepted."""
    assert id_token(signed(claims(), key=KEYS[kid], alg=alg))["sub"] == "s-1"


def test_eddsa_is_taken_under_its_older_name():
    """RFC 8037's name for Ed25519 works, without the library's warning (warnings fail this test)."""
    key = KEYS["ed"]
    assert isinstance(key, OKPKey)
    signing_input = f"{encoded({'alg': 'EdDSA', 'kid': 'ed'})}.{encoded(claims())}"
    signature = key.get_op_key("sign").sign(signing_input.encode())
    assert id_token(f"{signing_input}.{encoded(signature)}")["sub"] == "s-1"


@pytest.mark.parametrize("alg", ["none", "None", "NONE"])
def test_an_unsigned_token_is_refused(alg):
    """Neither with an empty signature nor with the signature of another token."""
    unsigned = f"{encoded({'alg': alg})}.{encoded(claims())}."
    borrowed = signed(claims()).rpartition(".")[2]
    assert reason(unsigned) == "unsigned"
    assert reason(unsigned + borrowed) == "unsigned"


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
def test_the_public_key_is_no_shared_secret(encoding):
    """Algorithm confusion: HS256 keyed with the published key (RFC 8725, section 2.1)."""
    header, content = encoded({"alg": "HS256", "kid": "rsa"}), encoded(claims())
    public = RSA.as_bytes(encoding=encoding, private=False)
    mac = hmac.new(public, f"{header}.{content}".encode(), hashlib.sha256).digest()
    assert reason(f"{header}.{content}.{encoded(mac)}") == "wrong_algorithm"


@pytest.mark.parametrize("alg", ["HS512", "ES256K", "RS1", "A128KW", ""])
def test_an_algorithm_off_the_list_is_refused(alg):
    """The list decides, not the library's knowledge."""
    assert reason(f"{encoded({'alg': alg, 'kid': 'rsa'})}.{encoded(claims())}.AAAA") == "wrong_algorithm"


@pytest.mark.parametrize("kid", ["p256", "ed", "p384"])
def test_a_key_of_another_kind_is_refused(kid):
    """A key verifies with its own algorithm only."""
    assert reason(signed(claims(), kid=kid)) == "wrong_algorithm"
    assert reason(signed(claims(), key=KEYS["p256"], alg="ES256", kid="p384")) == "wrong_algorithm"


def test_a_key_in_the_header_is_ignored():
    """`jwk`, `jku` and `x5u` are the sender's word about who the sender is."""
    forged = signed(claims(), key=OTHER, jwk=OTHER.as_dict(private=False), jku=f"{ISSUER}/my-keys")
    assert reason(forged) == "bad_signature"


def test_a_changed_claim_breaks_the_signature():
    """Header and signature of a good token do not carry other claims."""
    header, _, signature = signed(claims()).split(".")
    assert reason(f"{header}.{encoded(claims(sub='s-2'))}.{signature}") == "bad_signature"


def test_a_shared_secret_in_our_own_key_set_does_not_help():
    """Even a key set that held one would not be asked for an HS256 key."""
    secret = OctKey.import_key("a-shared-secret-of-enough-length-for-hs256")
    token = jwt.encode({"alg": "HS256", "kid": "rsa"}, claims(), secret, algorithms=["HS256"])
    with pytest.raises(TokenRefused) as refusal:
        id_token_claims(
            token, lambda _kid, _alg: secret, issuer=ISSUER, client_id=CLIENT, nonce=NONCE, now=NOW
        )
    assert refusal.value.reason == "wrong_algorithm"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "é.b.c",
        f"{encoded([])}.{encoded(claims())}.AAAA",
        f"{encoded({'kid': 'rsa'})}.{encoded(claims())}.AAAA",
        f"{encoded({'alg': 5, 'kid': 'rsa'})}.{encoded(claims())}.AAAA",
        f"{encoded({'alg': 'RS256', 'kid': 5})}.{encoded(claims())}.AAAA",
        f"{encoded({'alg': 'RS256', 'kid': 'rsa', 'crit': ['exp'], 'exp': 1})}.{encoded(claims())}.AAAA",
        f"{encoded(b'[' * 2900)}.{encoded(claims())}.AAAA",
        f"{encoded(b'{' + b'x' * 20)}.{encoded(claims())}.AAAA",
    ],
)
def test_what_is_no_token_is_malformed(token):
    """Every byte string gets a typed answer, deep nesting included."""
    assert reason(token) == "malformed"


def test_a_signed_payload_that_is_no_object_is_malformed():
    """A signature says who wrote it, not that it makes sense."""
    for payload in (b"[]", b"1", b"\xff", b"", b"[" * 9000):
        signing_input = f"{encoded({'alg': 'Ed25519', 'kid': 'ed'})}.{encoded(payload)}"
        key = KEYS["ed"]
        assert isinstance(key, OKPKey)
        signature = key.get_op_key("sign").sign(signing_input.encode())
        assert reason(f"{signing_input}.{encoded(signature)}") == "malformed"


def test_a_token_may_have_16_kib_and_no_more():
    """The bound holds for tokens that are perfect otherwise."""
    short = signed(claims(pad=""))
    room = (MAX_TOKEN_BYTES - len(short)) // 4 * 3 - 3
    fitting = signed(claims(pad="x" * room))
    assert MAX_TOKEN_BYTES - 8 <= len(fitting) <= MAX_TOKEN_BYTES
    assert id_token(fitting)["sub"] == "s-1"
    assert reason(signed(claims(pad="x" * (room + 12)))) == "malformed"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://sso.internal/"}, "wrong_issuer"),
        ({"iss": "https://evil.internal"}, "wrong_issuer"),
        ({"iss": ...}, "wrong_issuer"),
        ({"iss": [ISSUER]}, "wrong_issuer"),
        ({"aud": "another-client"}, "wrong_audience"),
        ({"aud": ...}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": [CLIENT, 5], "azp": CLIENT}, "wrong_audience"),
        ({"aud": [CLIENT, "another-client"]}, "wrong_audience"),
        ({"aud": [CLIENT, "another-client"], "azp": "another-client"}, "wrong_audience"),
        ({"azp": "another-client"}, "wrong_audience"),
        ({"exp": NOW - LEEWAY_S}, "expired"),
        ({"exp": ...}, "malformed"),
        ({"exp": "9999999999"}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"iat": NOW + LEEWAY_S + 1}, "not_yet_valid"),
        ({"iat": ...}, "malformed"),
        ({"nbf": NOW + LEEWAY_S + 1}, "not_yet_valid"),
        ({"nbf": "soon"}, "malformed"),
        ({"nonce": "another"}, "wrong_nonce"),
        ({"nonce": ...}, "wrong_nonce"),
        ({"nonce": None}, "wrong_nonce"),
    ],
)
def test_each_claim_of_an_id_token_is_checked(changes, expected):
    """One wrong claim is enough, and the record gets to know which."""
    assert reason(signed(claims(**changes))) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another-client"], "azp": CLIENT},
        {"exp": NOW - LEEWAY_S + 1},
        {"exp": 10**400},
        {"iat": NOW + LEEWAY_S},
        {"nbf": NOW + LEEWAY_S},
    ],
)
def test_the_edges_of_an_id_tokens_claims_are_taken(changes):
    """A minute of difference between clocks, and several audiences with us as the party, are fine."""
    assert id_token(signed(claims(**changes)))["sub"] == "s-1"


def test_a_sign_in_without_a_nonce_takes_no_token():
    """An empty expectation matches nothing."""
    assert reason(signed(claims(nonce="")), nonce="") == "wrong_nonce"


@pytest.mark.parametrize("kind", ["at+jwt", "logout+jwt", "application/at+jwt"])
def test_another_kind_of_token_is_no_id_token(kind):
    """An access token or a logout token of the same provider does not sign anybody in."""
    assert reason(signed(claims(), typ=kind)) == "wrong_type"


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT"])
def test_an_access_token_for_this_server_is_taken(kind):
    """RFC 9068's type, and the general one that older providers use."""
    assert access_token(signed(access(), typ=kind))["sub"] == "s-1"


@pytest.mark.parametrize("header", [{}, {"typ": "ID"}, {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}])
def test_another_kind_of_token_is_no_access_token(header):
    """A token must say that it is one."""
    assert reason(signed(access(), **header), access_token) == "wrong_type"


@pytest.mark.parametrize("audiences", [CLIENT, [CLIENT], [CLIENT, API], [API, CLIENT]])
def test_an_id_token_is_no_access_token(audiences):
    """Whatever else it is for, an ID token is for the browser client."""
    token = signed(claims(aud=audiences, azp=CLIENT), typ="JWT")
    assert reason(token, access_token) == "wrong_audience"


@pytest.mark.parametrize("audience", [None, "", "another-api"])
def test_a_token_for_another_api_is_refused(audience):
    """Without a configured audience, every token is one for another API."""
    assert reason(signed(access(), typ="at+jwt"), access_token, audience=audience) == "wrong_audience"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://evil.internal"}, "wrong_issuer"),
        ({"exp": NOW - LEEWAY_S}, "expired"),
        ({"nbf": NOW + LEEWAY_S + 1}, "not_yet_valid"),
        ({"sub": "some-program"}, "not_a_person"),
        ({"azp": "s-1"}, "not_a_person"),
        ({"sub": ..., "client_id": ...}, "not_a_person"),
    ],
)
def test_each_claim_of_an_access_token_is_checked(changes, expected):
    """A program that signed in as itself is nobody, among others."""
    assert reason(signed(access(**changes), typ="at+jwt"), access_token) == expected
