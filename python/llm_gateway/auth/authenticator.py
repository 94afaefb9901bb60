"""What an authenticator does, and which one the settings ask for."""

from typing import Protocol, assert_never

from llm_gateway.auth.keys import ConfiguredKeys
from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.config.schema import Settings
from llm_gateway.subscriber import Subscriber


class Authenticator(Protocol):
    """Tells whose credential it is."""

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns the subscriber.

        Raises: `unauthenticated` for anything wrong with the credential, always with the same message;
        `forbidden` if it is good but gives no tier; `overloaded` if it cannot be judged at the moment.
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


def build(settings: Settings) -> Authenticator:
    """Returns the authenticator for `auth.provider`, not started.

    Raises: ConfigError if the settings cannot be used.
    """
    match settings.auth.provider:
        case "keys":
            return ConfiguredKeys(settings.subscribers)
        case "keycloak" | "oidc":
            return OidcTokens(settings.auth, settings.tiers)
        case unknown:
            assert_never(unknown)
