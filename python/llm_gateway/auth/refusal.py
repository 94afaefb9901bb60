"""The one answer to every credential that is not good."""

import logging

from llm_gateway.errors import Fault

_log = logging.getLogger("llm_gateway.auth")

MESSAGE = "the credential is not valid: it is unknown, expired or revoked; sign in again or check the key"


class Refused(Fault):
    """A credential is not good. `reason` says why, in words of ours; it is for operators and never sent."""

    def __init__(self, reason: str) -> None:
        super().__init__("unauthenticated", MESSAGE, should_retry=False)
        self.reason = reason


def refusal(reason: str) -> Refused:
    """Returns the `unauthenticated` fault, and logs `reason` at debug level.

    Every reason gives the same bytes to the client, so that an answer tells nothing about which credentials
    exist. `reason` is words of ours, never a part of the credential.
    """
    _log.debug("credential refused: %s", reason)
    return Refused(reason)
