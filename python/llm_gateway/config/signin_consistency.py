"""What no single setting of signing in shows: as `consistency.py`, for `auth`, `keys`, `telemetry`."""

import ipaddress
import re
from collections.abc import Mapping

import msgspec

from llm_gateway.config.consistency import check_ca_file, check_url
from llm_gateway.config.convert import Mistakes, Path
from llm_gateway.config.schema import Auth, PersonalKeys, Server, Telemetry, Tier, TrustedIssuer

_PEPPER_CHARACTERS = 32
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def check_auth(auth: Auth, mistakes: Mistakes) -> None:
    """A provider that verifies tokens knows whose, and no issuer is there twice."""
    if auth.provider != "keys" and auth.issuer is None:
        text = f"needed for the provider {auth.provider}; set KEYCLOAK_URL to the realm's URL"
        mistakes.append((("auth", "issuer"), text))
    _check_issuer(("auth",), auth, mistakes)
    # Source: RFC 6749 appendix A.2; it is escaped where it is sent.
    if auth.client_secret is not None and not _PRINTABLE.fullmatch(auth.client_secret):
        mistakes.append(
            (("auth", "client_secret"), "expected printable ASCII characters, found others (hidden)")
        )
    if auth.provider == "keys" and auth.issuers:
        mistakes.append((("auth", "issuers"), "are for the providers keycloak and oidc; leave them out"))
    if auth.introspect and auth.client_secret is None:
        text = "needs the client's secret, by which the issuer knows who asks; set OIDC_CLIENT_SECRET"
        mistakes.append((("auth", "introspect"), text))
    owners = {auth.issuer: "auth.issuer"}
    for name, other in auth.issuers.items():
        path: Path = ("auth", "issuers", name)
        if other.issuer is None:
            mistakes.append(((*path, "issuer"), "needed; the URL that its tokens name as `iss`"))
        elif other.issuer in owners:
            mistakes.append(((*path, "issuer"), f"is that of {owners[other.issuer]}; keep one"))
        owners.setdefault(other.issuer, f"auth.issuers.{name}")
        _check_issuer(path, other, mistakes)
    if auth.login_notice is not None and not auth.login_notice.isprintable():
        mistakes.append((("auth", "login_notice"), "expected one line of printable characters"))


def check_server(server: Server, mistakes: Mistakes) -> None:
    """Trusted proxies are addresses or networks."""
    for index, network in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            text = f'expected an address or a network like 10.0.0.0/8, found "{network[:60]}"'
            mistakes.append((("server", "trusted_proxies", index), text))


def check_keys(keys: PersonalKeys, mistakes: Mistakes) -> None:
    """Peppers cannot be guessed, and a key may live as long as it does by default."""
    if keys.pepper is not None and any(len(one) < _PEPPER_CHARACTERS for one in peppers(keys)):
        text = (
            f"expected {_PEPPER_CHARACTERS} characters or more in each of those between commas, found fewer "
            "(hidden); make one with `openssl rand -hex 32`"
        )
        mistakes.append((("keys", "pepper"), text))
    if keys.default_days > keys.max_days:
        text = f"expected at most max_days, which is {keys.max_days}, found {keys.default_days}"
        mistakes.append((("keys", "default_days"), text))


def peppers(keys: PersonalKeys) -> tuple[str, ...]:
    """The configured peppers, the one for new keys first."""
    return tuple(one.strip() for one in (keys.pepper or "").split(",")) if keys.pepper else ()


def check_telemetry(telemetry: Telemetry, mistakes: Mistakes) -> None:
    """The collector can be reached by its URL, with headers that can be sent."""
    if telemetry.url is not None:
        check_url(("telemetry", "url"), telemetry.url, mistakes)
    check_ca_file(("telemetry", "ca_file"), telemetry.ca_file, mistakes)
    for name, value in telemetry.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _PRINTABLE.fullmatch(value):
            text = "expected a header's name and a value of visible ASCII characters, found others (hidden)"
            mistakes.append((("telemetry", "headers", name), text))


def check_managed_settings(tiers: Mapping[str, Tier], mistakes: Mistakes) -> None:
    """Managed settings can be sent as JSON."""
    for name, tier in tiers.items():
        if tier.managed_settings is None:
            continue
        try:
            same = msgspec.json.decode(msgspec.json.encode(tier.managed_settings)) == tier.managed_settings
        except (TypeError, ValueError, OverflowError, RecursionError):
            same = False
        if not same:
            text = "expected what JSON can say (text, numbers, booleans, lists, mappings by text), found more"
            mistakes.append((("tiers", name, "managed_settings"), text))


def _check_issuer(path: Path, issuer: TrustedIssuer, mistakes: Mistakes) -> None:
    if issuer.issuer is not None:
        check_url((*path, "issuer"), issuer.issuer, mistakes)
    if issuer.jwks_url is not None:
        check_url((*path, "jwks_url"), issuer.jwks_url, mistakes, query=True)
    for name, value in (("audience", issuer.audience), ("client_id", issuer.client_id)):
        if not value.strip():
            mistakes.append(((*path, name), "expected a name, found none: tokens for anybody would count"))
    check_ca_file((*path, "ca_file"), issuer.ca_file, mistakes)
