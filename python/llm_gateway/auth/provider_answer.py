"""What an identity provider's answer says: members of a JSON object, or a refusal in OAuth's words."""

import re
from typing import Any

import msgspec

from llm_gateway.auth.issuer import UnusableAnswerError

_ERROR = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
# Source: RFC 6749 section 5.2: `error_description` has no other characters.
_NOT_IN_A_DESCRIPTION = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]+")
_DESCRIPTION_CHARACTERS = 200


class ProviderRefusalError(Exception):
    """The provider's own refusal: `error` and `description`, both without secrets.

    Source: RFC 6749 section 5.2.
    """

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description


def understood(status: int, body: bytes, *, is_json: bool) -> dict[str, Any]:
    """Returns the members of the answer with `status`, none if it is good and need not be JSON.

    Raises: ProviderRefusalError for a refusal, UnusableAnswerError for all that is neither.
    """
    if 200 <= status < 300:
        members = _members(body)
        if members is None and is_json:
            raise UnusableAnswerError(f"status {status} without a JSON object")
        return members or {}
    members = _members(body) if 400 <= status < 500 else None
    error = (members or {}).get("error")
    if members is None or not isinstance(error, str) or not _ERROR.fullmatch(error):
        raise UnusableAnswerError(f"status {status}")
    description = members.get("error_description")
    text = description if isinstance(description, str) else ""
    raise ProviderRefusalError(
        status, error, _NOT_IN_A_DESCRIPTION.sub(" ", text)[:_DESCRIPTION_CHARACTERS].strip()
    )


def _members(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
