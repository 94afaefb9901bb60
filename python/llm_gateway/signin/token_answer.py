"""What a client is given of an identity provider's answers: the members it knows, and no other."""

from collections.abc import Mapping
from typing import Any

from llm_gateway.auth.provider import unavailable

# Source: RFC 8628 section 3.2: what a client takes an absent `interval` for.
_INTERVAL_S = 5
# For a provider that does not say how long a token lives: a client then refreshes early, and learns better.
_UNTOLD_LIFE_S = 300


def device_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer of the device authorization endpoint, for a client.

    Raises: the fault `overloaded` if the provider has left out what a client needs. Source: RFC 8628 section
    3.2.
    """
    found = {name: _text(answer, name) for name in ("device_code", "user_code", "verification_uri")}
    complete = answer.get("verification_uri_complete")
    if isinstance(complete, str):
        found["verification_uri_complete"] = complete
    return {
        **found,
        "expires_in": _seconds(answer.get("expires_in"), _UNTOLD_LIFE_S),
        "interval": _seconds(answer.get("interval"), _INTERVAL_S),
    }


def token_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer of the token endpoint, for a client: no ID token, no scopes, no session.

    Raises: the fault `overloaded` if there is no bearer token in it. Source: RFC 6749 section 5.1.
    """
    kind = answer.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise unavailable()
    found: dict[str, Any] = {
        "access_token": _text(answer, "access_token"),
        "token_type": "Bearer",
        "expires_in": _seconds(answer.get("expires_in"), _UNTOLD_LIFE_S),
    }
    refresh_token = answer.get("refresh_token")
    if isinstance(refresh_token, str) and refresh_token:
        found["refresh_token"] = refresh_token
    return found


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise unavailable()
    return value


def _seconds(value: Any, otherwise: int) -> int:
    # Some providers write the number as a text.
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return seconds if seconds > 0 else otherwise
