"""The rules by which a JWT is an access token of our issuer for us; pure, with the time handed in.

Source: RFC 7515, RFC 7519, RFC 8725, RFC 9068; Keycloak's `typ` claim (`Bearer`, `ID`, `Refresh`).
"""

import binascii
import re
from collections.abc import Collection
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import UNSET, Meta, UnsetType

from llm_gateway.auth.jwk import MAX_KID_CHARACTERS, VerificationKey
from llm_gateway.auth.refusal import refusal
from llm_gateway.config.schema import TrustedIssuer

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ACCESS_TOKEN_TYPES = ("at+jwt", "application/at+jwt")
# Source: RFC 9068 section 2.2; `scp` and `appid` of Microsoft, `scp` and `cid` of Okta.
_OF_ACCESS_TOKENS = ("scope", "client_id", "scp", "cid", "appid")
_TYPES = ("jwt", *_ACCESS_TOKEN_TYPES)
# A token does not say how it is to be checked.
_REFUSED_MEMBERS = ("crit", "b64", "jku", "jwk", "x5u", "x5c")
# 9999-12-31: what lies beyond is not a time that anybody meant.
_LAST_TIME_S = 253_402_300_799


class Header(msgspec.Struct, frozen=True):
    """A JOSE header. The members that are `object` must not be there."""

    alg: str
    kid: Annotated[str, Meta(min_length=1, max_length=MAX_KID_CHARACTERS)]
    typ: str = "JWT"
    crit: object | UnsetType = UNSET
    b64: object | UnsetType = UNSET
    jku: object | UnsetType = UNSET
    jwk: object | UnsetType = UNSET
    x5u: object | UnsetType = UNSET
    x5c: object | UnsetType = UNSET


class _Payload(msgspec.Struct, frozen=True):
    iss: str


_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_jws = jwt.PyJWS(algorithms=ALGORITHMS)
_header_decoder = msgspec.json.Decoder(Header)
_issuer_decoder = msgspec.json.Decoder(_Payload)


def header(token: bytes) -> Header:
    """Returns the header of a compact JWS whose algorithm and type are admissible. Nothing is verified yet.

    Raises: `unauthenticated`.
    """
    compact = _COMPACT.fullmatch(token)
    if compact is None:
        raise refusal("not a compact JWS")
    segment = compact[1]
    try:
        found = _header_decoder.decode(_decoded(segment))
    except (ValueError, RecursionError):
        raise refusal("header without alg and kid, or not JSON") from None
    if found.alg not in ALGORITHMS:
        raise refusal("algorithm outside the allow-list")
    if found.typ.lower() not in _TYPES:
        raise refusal("header typ of another kind of token")
    if any(getattr(found, name) is not UNSET for name in _REFUSED_MEMBERS):
        raise refusal("header that says how to check the token")
    return found


def verified_claims(token: bytes, key: VerificationKey) -> dict[str, Any]:
    """Returns the claims of a token that `key` signed.

    PyJWT takes only what is in `key.algorithms`, whatever the header says, and only canonical base64: one
    token has one spelling.

    Raises: `unauthenticated`.
    """
    try:
        payload = _jws.decode_complete(token, key=key.public, algorithms=key.algorithms)["payload"]
        claims = msgspec.json.decode(payload)
    except (jwt.PyJWTError, ValueError, RecursionError) as cause:
        raise refusal(f"signature or encoding: {type(cause).__name__}") from None
    if not isinstance(claims, dict):
        raise refusal("payload is not an object")
    return claims


def claimed_issuer(token: bytes) -> str:
    """Returns the `iss` that the payload of a compact JWS names. Nothing is verified: it only says whose
    keys to use.

    Raises: `unauthenticated`.
    """
    try:
        return _issuer_decoder.decode(_decoded(token.split(b".")[1])).iss
    except (ValueError, RecursionError, IndexError):
        raise refusal("payload without iss, or not JSON") from None


def check_claims(
    claims: dict[str, Any], head: Header, issuer: TrustedIssuer, now: float, leeway_s: float
) -> float:
    """Returns the Unix time in seconds at which the token expires, leeway not included.

    Raises: `unauthenticated` unless this is an access token of `issuer` for its audience and client, valid
    now.
    """
    if claims.get("iss") != issuer.issuer:
        raise refusal("another issuer")
    if not _is_for(claims.get("aud"), issuer.audience):
        raise refusal("another audience")
    if not _is_issued_to(claims, {issuer.client_id, *issuer.authorized_parties}):
        raise refusal("issued to another client; see auth.authorized_parties")
    expires_at = _time_s(claims, "exp")
    if expires_at is None:
        raise refusal("no exp")
    if expires_at + leeway_s <= now:
        raise refusal("expired")
    for name in ("nbf", "iat"):
        since = _time_s(claims, name)
        if since is not None and since - leeway_s > now:
            raise refusal(f"{name} lies in the future")
    if not _is_access_token(claims, head):
        raise refusal("not an access token")
    return expires_at


def _decoded(segment: bytes) -> bytes:
    return binascii.a2b_base64(segment.translate(_FROM_URL_SAFE) + b"=" * (-len(segment) % 4))


def _is_for(audiences: object, audience: str) -> bool:
    if isinstance(audiences, list):
        return all(isinstance(one, str) for one in audiences) and audience in audiences
    return audiences == audience


def _is_issued_to(claims: dict[str, Any], clients: Collection[str]) -> bool:
    """Source: OpenID Connect Core 1.0 section 2 for `azp`, RFC 9068 section 2.2 for `client_id`."""
    named = [claims[name] for name in ("azp", "client_id") if name in claims]
    return all(isinstance(client, str) and client in clients for client in named)


def _is_access_token(claims: dict[str, Any], head: Header) -> bool:
    if "typ" in claims:
        return bool(claims["typ"] == "Bearer")
    if head.typ.lower() in _ACCESS_TOKEN_TYPES:
        return True
    # Older providers do not say it: what an ID token has tells, and what only an access token has.
    if "nonce" in claims or "at_hash" in claims:
        return False
    return any(name in claims for name in _OF_ACCESS_TOKENS)


def _time_s(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_TIME_S:
        raise refusal(f"{name} is not a time")
    return float(value)
