"""What an authenticator does, and which one the settings ask for."""

import time
from typing import NamedTuple, Protocol, assert_never

from llm_gateway.auth.keys import ConfiguredKeys
from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.auth.personal_keys import PREFIX, PersonalKeys
from llm_gateway.auth.provider import Provider
from llm_gateway.auth.revocations import Revocations
from llm_gateway.auth.session_watch import SessionWatch
from llm_gateway.config.schema import Settings
from llm_gateway.subscriber import Subscriber

_PERSONAL = PREFIX.encode()


class People(NamedTuple):
    """What a worker knows of those who sign in. `provider` is None with configured keys only, `keys` where
    personal keys are off or cannot be kept."""

    provider: Provider | None
    keys: PersonalKeys | None
    revocations: Revocations


class Authenticator(Protocol):
    """Tells whose credential it is."""

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns the subscriber.

        Raises: `unauthenticated` for anything wrong with the credential, always with the same message;
        `forbidden` if it is good but gives no tier; `overloaded` if it cannot be judged at the moment.
        """
        ...

    async def revoke(self, credential: bytes) -> None:
        """Revokes an access token, here and on all replicas; nothing else is revoked by showing it.

        Raises: `overloaded` if the store does not answer.
        """
        ...

    async def start(self) -> None:
        """Returns when ready to authenticate, or after a short time if what it needs is down."""
        ...

    async def stop(self) -> None:
        """Returns when its connections and tasks are closed."""
        ...

    def state(self) -> str:
        """Returns `ok`, or for people what is missing."""
        ...

    def jwks_age_s(self) -> float | None:
        """Returns the seconds since the issuer's keys were last fetched; None without such keys."""
        ...


def build(settings: Settings, people: People | None = None) -> Authenticator:
    """Returns the authenticator for `auth.provider`, not started.

    `people` is what it shares with those who sign in; without it, tokens and configured keys alone are known.

    Raises: ConfigError if the settings cannot be used.
    """
    issued = _issued(settings, people)
    return issued if people is None else AllCredentials(issued, people)


def _issued(settings: Settings, people: People | None) -> Authenticator:
    match settings.auth.provider:
        case "keys":
            return ConfiguredKeys(settings.subscribers)
        case "keycloak" | "oidc":
            watch = None
            if people is not None:
                watch = SessionWatch(settings.auth, people.revocations, people.provider, time.time)
            return OidcTokens(settings.auth, settings.tiers, watch)
        case unknown:
            assert_never(unknown)


class AllCredentials:
    """Personal keys beside what the provider issues; revocations are read while it runs."""

    def __init__(self, issued: Authenticator, people: People) -> None:
        self._issued = issued
        self._people = people

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns the subscriber. Raises: as `Authenticator` says."""
        if self._people.keys is not None and credential.startswith(_PERSONAL):
            return await self._people.keys.authenticate(credential)
        return await self._issued.authenticate(credential)

    async def revoke(self, credential: bytes) -> None:
        """Revokes an access token, here and on all replicas; nothing else is revoked by showing it.

        Raises: `overloaded` if the store does not answer.
        """
        await self._issued.revoke(credential)

    async def start(self) -> None:
        """Returns when ready to authenticate, or after a short time if what it needs is down."""
        await self._people.revocations.start()
        await self._issued.start()

    async def stop(self) -> None:
        """Returns when its connections and tasks are closed."""
        if self._people.keys is not None:
            await self._people.keys.stop()
        await self._issued.stop()
        await self._people.revocations.stop()

    def state(self) -> str:
        """Returns `ok`, or for people what is missing."""
        return self._issued.state()

    def jwks_age_s(self) -> float | None:
        """Returns the seconds since the issuer's keys were last fetched; None without such keys."""
        return self._issued.jwks_age_s()
