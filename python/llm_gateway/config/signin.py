"""Settings of signing in: who issues tokens, personal keys, the page, what clients tell of themselves."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llm_gateway.config.section import Name, Seconds, Section


class TrustedIssuer(Section, frozen=True, kw_only=True):
    """An OIDC issuer and what its tokens must say.

    A token must be for `audience`, and issued to `client_id` or one of `authorized_parties` if it names a
    client. `claims` are the places a tier is looked for, in order: dotted paths in which `<client>` stands
    for `client_id`, or JSON pointers. `tier_names` maps names found there to tiers; a tier's own name always
    counts. `default_tier` is that of people in whose token none is found; without one they have no
    subscription.
    """

    issuer: str | None = None
    jwks_url: str | None = None
    ca_file: str | None = None
    audience: str = "llm-gateway"
    client_id: str = "llm-gateway"
    authorized_parties: tuple[str, ...] = ()
    claims: tuple[str, ...] = ("resource_access.<client>.roles", "realm_access.roles", "groups")
    tier_names: dict[str, Name] = msgspec.field(default_factory=dict)
    default_tier: Name | None = None
    user_claim: str = "sub"


class Auth(TrustedIssuer, frozen=True, kw_only=True):
    """Who asks.

    `provider: keys` knows the configured subscribers; `keycloak` and `oidc` verify JWTs of `issuer` locally,
    and people sign in there through the client `client_id`, with `scopes`. `issuers` are others whose tokens
    count too; their users are called `<name of the issuer>:<user>`.

    With `introspect` the issuer is asked whether a token still holds, at most every `introspect_s` while it
    is used and beside the requests. `login_notice` is a line that Claude Code shows to people who sign in.
    """

    provider: Literal["keycloak", "oidc", "keys"] = "keys"
    client_secret: str | None = None
    scopes: str = "openid profile email"
    issuers: dict[Name, TrustedIssuer] = msgspec.field(default_factory=dict)
    leeway_s: Annotated[float, Meta(ge=0, le=60)] = 30.0
    jwks_max_age_s: Seconds = 600.0
    jwks_cooldown_s: Seconds = 10.0
    introspect: bool = False
    introspect_s: Annotated[float, Meta(ge=1, le=15)] = 15.0
    login_notice: Annotated[str, Meta(max_length=500)] | None = None


class PersonalKeys(Section, frozen=True, kw_only=True):
    """Long-lived credentials of people who cannot refresh a token: `ogw_...`.

    `pepper` is the secret under which they are hashed, 32 characters or more; of several, separated by
    commas, the first is for new keys and all are tried. Without it one is made in the data directory, if the
    store is there too; else there are no personal keys. A key lives `default_days` unless its owner says
    otherwise, and `max_days` at most.
    """

    enabled: bool = True
    pepper: str | None = None
    max_per_user: Annotated[int, Meta(ge=1, le=1000)] = 20
    default_days: Annotated[int, Meta(ge=1)] = 90
    max_days: Annotated[int, Meta(ge=1)] = 365


class Page(Section, frozen=True, kw_only=True):
    """The subscriber's page at `/`. Who signed in there is signed out after `session_s`, used or not."""

    session_s: Seconds = 8 * 3600.0


class Telemetry(Section, frozen=True, kw_only=True):
    """Where the OTLP that clients send goes: a collector's base URL; `/v1/metrics` and so on is added.

    Without `url` it is dropped. `headers` are sent along, for a collector that wants a key.
    """

    url: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    ca_file: str | None = None
