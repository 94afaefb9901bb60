"""Finds the credential among the headers of a request."""

import re
from collections.abc import Iterable

from llm_gateway.auth.refusal import refusal
from llm_gateway.errors import Fault

MAX_CREDENTIAL_BYTES = 8192

_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]+")


def credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the bytes after `authorization: Bearer`, or else the value of `x-api-key`.

    `headers` are those of an ASGI scope: lower-case names, raw values. Claude Code may send both headers;
    then only `authorization` counts.

    Raises: `invalid_request` if one of the two headers is there twice; `unauthenticated` if there is no
    credential, it is empty, has another scheme, or the header is longer than 8192 bytes.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (b"authorization", b"x-api-key"):
            if name in found:
                text = name.decode()
                raise Fault("invalid_request", f"the header {text} is there twice; send it once", param=text)
            found[name] = value
    if any(len(value) > MAX_CREDENTIAL_BYTES for value in found.values()):
        raise refusal("longer than 8192 bytes")
    if (authorization := found.get(b"authorization")) is not None:
        return _bearer(authorization)
    return _checked(found.get(b"x-api-key", b""))


def _bearer(authorization: bytes) -> bytes:
    scheme, _, value = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        raise _missing()
    return _checked(value)


def _checked(value: bytes) -> bytes:
    value = value.strip(b" \t")
    if not value:
        raise _missing()
    if not _VISIBLE_ASCII.fullmatch(value):
        raise refusal("characters that no credential has")
    return value


def _missing() -> Fault:
    return Fault(
        "unauthenticated",
        "no credential; send `authorization: Bearer <token>` or `x-api-key: <token>`",
        should_retry=False,
    )
