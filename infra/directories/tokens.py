"""The checks that a signed token must pass. Pure: a token, keys and a clock go in, claims come out.

JSON Web Signature (RFC 7515), JSON Web Token (RFC 7519 and the advice of RFC 8725), OpenID Connect Core 1.0
section 3.1.3.7 for ID tokens, RFC 9068 for access tokens. Signatures are joserfc's; what is allowed is ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import (
    InvalidKeyCurveError,
    InvalidKeyTypeError,
    JoseError,
    UnsupportedKeyAlgorithmError,
)
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key

from infra.errors import TokenRefused

MAX_TOKEN_BYTES: Final = 16 * 1024
LEEWAY_S: Final = 60
"""How far the provider's clock may differ from ours, in seconds."""

ALGORITHMS: Final = frozenset("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split())
"""Asymmetric signatures only. With a shared-secret algorithm, the public key would be the secret."""

Claims = Mapping[str, Any]
FindKey = Callable[[str | None, str], Key]
"""Finds the provider's key for a `kid` (None when the token names none) and an algorithm."""

_ID_TOKEN_TYPES: Final = frozenset({"", "jwt"})
_ACCESS_TOKEN_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt"})


def id_token_claims(
    token: str, find_key: FindKey, *, issuer: str, client_id: str, nonce: str, now: float
) -> Claims:
    """Return the claims of an ID token made for this client and this sign-in; raises TokenRefused.

    `now` is in seconds since 1970. A token of another sign-in has another nonce.
    """
    header, claims = _signed(token, find_key)
    if _type(header) not in _ID_TOKEN_TYPES:
        raise TokenRefused("wrong_type")
    _check_issuer(claims, issuer)
    audiences = _audiences(claims)
    if client_id not in audiences:
        raise TokenRefused("wrong_audience")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise TokenRefused("wrong_audience")
    _check_times(claims, now)
    if not nonce or claims.get("nonce") != nonce:
        raise TokenRefused("wrong_nonce")
    return claims


def access_token_claims(
    token: str, find_key: FindKey, *, issuer: str, audience: str | None, client_id: str, now: float
) -> Claims:
    """Return the claims of an access token made for this server as an API; raises TokenRefused.

    Without an `audience` every token is refused: one for any other API of the company would pass. `now` is
    in seconds since 1970.
    """
    header, claims = _signed(token, find_key)
    kind = _type(header)
    if kind not in _ACCESS_TOKEN_TYPES:
        raise TokenRefused("wrong_type")
    _check_issuer(claims, issuer)
    audiences = _audiences(claims)
    if not audience or audience not in audiences:
        raise TokenRefused("wrong_audience")
    if kind == "jwt" and client_id in audiences:
        # Older providers give both kinds of token the same type. An ID token always has the browser client
        # among its audiences (OpenID Connect Core, section 2), and was never meant to open an API.
        raise TokenRefused("wrong_audience")
    _check_times(claims, now)
    if claims.get("sub") in (claims.get("client_id"), claims.get("azp")):
        # A client that signed in as itself. Its name could equal a person's (RFC 9068, section 5).
        raise TokenRefused("not_a_person")
    return claims


def _signed(token: str, find_key: FindKey) -> tuple[Claims, Claims]:
    """Verify the signature; returns header and claims."""
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenRefused("malformed")
    try:
        parsed = jws.extract_compact(token.encode(), registry=_REGISTRY)
        header = parsed.headers()
        algorithm, kid = _allowed(header.get("alg")), header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise TokenRefused("malformed")
        key = find_key(kid, algorithm)
        if not jws.validate_compact(parsed, key, registry=_REGISTRY):
            raise TokenRefused("bad_signature")
        return header, _object(parsed.payload)
    except (InvalidKeyTypeError, InvalidKeyCurveError, UnsupportedKeyAlgorithmError) as error:
        raise TokenRefused("wrong_algorithm") from error
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        # RecursionError: the reader of JSON goes one level down for each bracket it is sent.
        raise TokenRefused("malformed") from error


def _allowed(algorithm: object) -> str:
    """Return `algorithm` if it is on our list. Decided by our list before anybody looks at a key."""
    if not isinstance(algorithm, str):
        raise TokenRefused("malformed")
    if algorithm.casefold() == "none":
        raise TokenRefused("unsigned")
    if algorithm not in ALGORITHMS:
        raise TokenRefused("wrong_algorithm")
    return algorithm


def _object(payload: bytes | None) -> dict[str, Any]:
    claims = json.loads(payload or b"")
    if not isinstance(claims, dict):
        raise TokenRefused("malformed")
    return claims


def _type(header: Claims) -> str:
    return str(header.get("typ", "")).casefold()


def _check_issuer(claims: Claims, issuer: str) -> None:
    if claims.get("iss") != issuer:
        raise TokenRefused("wrong_issuer")


def _audiences(claims: Claims) -> list[str]:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    found = [item for item in listed if isinstance(item, str)]
    if len(found) < len(listed):
        raise TokenRefused("wrong_audience")
    return found


def _check_times(claims: Claims, now: float) -> None:
    if _seconds(claims, "exp") + LEEWAY_S <= now:
        raise TokenRefused("expired")
    if _seconds(claims, "iat") - LEEWAY_S > now:
        raise TokenRefused("not_yet_valid")
    if "nbf" in claims and _seconds(claims, "nbf") - LEEWAY_S > now:
        raise TokenRefused("not_yet_valid")


def _seconds(claims: Claims, name: str) -> float:
    """Return a NumericDate; NaN and infinity, which every comparison would let through, are none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused("malformed")
    if isinstance(value, float) and not math.isfinite(value):
        raise TokenRefused("malformed")
    return value


class _Registry(jws.JWSRegistry):
    """joserfc's checks of size and of critical headers, with our list of algorithms."""

    # Some providers put certificate fingerprints and key addresses beside `alg` and `kid`; they are ignored.
    max_header_length = 4096

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return an algorithm of our list, without the library's warning that `EdDSA` got a second name."""
        return self.algorithms[_allowed(name)]


# Headers that are not understood must be ignored (RFC 7515, section 4), except those that `crit` lists.
_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)
