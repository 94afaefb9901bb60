"""`llm-gateway token`: a token that is good for a while, renewed if need be."""

import time

from llm_gateway.cli.subscriber.credentials import Credential, Credentials
from llm_gateway.cli.subscriber.problem import ProblemError, UnreachableError

# What a program that gets the token has at least, or half of its life if that is shorter.
_LEFT_S = 60.0


def fresh(url: str, credentials: Credentials) -> Credential:
    """Returns a credential whose token is good for a minute at least; with less, if the gateway cannot be
    reached, one that has not ended.

    Raises: ProblemError.
    """
    credential = _known(url, credentials)
    if _is_fresh(credential):
        return credential
    with credentials.locked():
        # Another command may have renewed it meanwhile, and the old refresh token may be good for nothing
        # now.
        credential = _known(url, credentials)
        if _is_fresh(credential):
            return credential
        try:
            return _renewed(url, credential, credentials)
        except UnreachableError:
            if credential.expires_at > time.time():
                return credential
            raise


def _known(url: str, credentials: Credentials) -> Credential:
    credential = credentials.get(url)
    if credential is None:
        raise _signed_out(url, "you are not signed in")
    return credential


def _is_fresh(credential: Credential) -> bool:
    life_s = credential.expires_at - credential.issued_at
    return credential.expires_at - time.time() > min(_LEFT_S, life_s / 2)


def _renewed(url: str, credential: Credential, credentials: Credentials) -> Credential:
    # Loaded only here: most calls find a token that is fresh.
    from llm_gateway.cli.subscriber.foreign_text import shown
    from llm_gateway.cli.subscriber.gateway import Gateway, OAuthError
    from llm_gateway.cli.subscriber.login import credential_of

    if credential.refresh_token is None:
        raise _signed_out(url, "your session has ended")
    with Gateway(url, credential.ca_file) as gateway:
        try:
            answer = gateway.tokens_for_refresh(credential.refresh_token)
        except OAuthError as refusal:
            if refusal.error != "invalid_grant":
                reason = shown(refusal.description or refusal.error)
                raise ProblemError(f"{url} cannot renew your token: {reason}") from None
            credentials.forget(url)
            raise _signed_out(url, "your session has ended") from None
    renewed = credential_of(answer, credential, credential.ca_file)
    credentials.put(url, renewed)
    return renewed


def _signed_out(url: str, reason: str) -> ProblemError:
    return ProblemError(f"{reason}; run `llm-gateway login --url {url}`")
