"""What no single setting shows: names that point nowhere, URLs that lead nowhere, two that claim the same.

Every function adds its findings to `mistakes`, as the path of the setting and a sentence.
"""

import hashlib
import re
import ssl
import zoneinfo
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from llm_gateway.config import redis_url
from llm_gateway.config.convert import Mistakes, Path
from llm_gateway.config.schema import (
    ITSELF,
    ConfiguredSubscriber,
    Model,
    Quota,
    Route,
    Tier,
    Upstream,
)
from llm_gateway.subscriber import USER_BYTES

PlacedModel = tuple[Path, Model]
PlacedRoute = tuple[Path, Route]

_SECRET = re.compile(r"[\x21-\x7e]+")


def check_url(path: Path, url: str, mistakes: Mistakes, *, query: bool = False) -> None:
    """Find what keeps `url` from being the base of requests; never shows it, since it may hold a password."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        mistakes.append((path, "expected a URL like http://host:8000, found one that cannot be read"))
        return
    if parts.username is not None or parts.password is not None:
        mistakes.append((path, "expected a URL without user name and password; set the key beside it"))
    elif parts.scheme not in ("http", "https"):
        mistakes.append((path, f'expected a URL with http or https, found the scheme "{parts.scheme[:20]}"'))
    elif not parts.hostname or not port_is_valid or re.search(r"[\s\x00-\x1f\x7f]", url):
        mistakes.append((path, "expected a URL with a host and no spaces, like http://host:8000"))
    elif (parts.query and not query) or parts.fragment:
        mistakes.append((path, "expected a URL without query and fragment"))


def check_secret(path: Path, secret: str | None, mistakes: Mistakes) -> None:
    """Find a secret that cannot be sent in a header."""
    if secret is not None and not _SECRET.fullmatch(secret):
        mistakes.append((path, "expected visible ASCII characters without spaces, found others (hidden)"))


def check_ca_file(path: Path, name: str | None, mistakes: Mistakes) -> None:
    """Find why the certificates in the file `name` cannot be trusted."""
    if name is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(name)
    except ssl.SSLError:
        mistakes.append((path, f'expected a file with PEM certificates, found none in "{name}"'))
    except OSError as error:
        mistakes.append((path, f'"{name}" cannot be read: {error.strerror}'))


def check_readable(path: Path, name: str | None, mistakes: Mistakes) -> None:
    """Find why the file `name` cannot be read."""
    if name is None:
        return
    try:
        with open(name, "rb"):
            return
    except OSError as error:
        mistakes.append((path, f'"{name}" cannot be read: {error.strerror}'))


def check_upstreams(upstreams: Mapping[str, Upstream], mistakes: Mistakes) -> None:
    """Check URLs, keys and certificates of every upstream."""
    for name, upstream in upstreams.items():
        for index, url in enumerate(upstream.urls):
            check_url(("upstreams", name, "urls", index), url, mistakes)
        check_secret(("upstreams", name, "api_key"), upstream.api_key, mistakes)
        check_ca_file(("upstreams", name, "ca_file"), upstream.ca_file, mistakes)


def check_models(models: Sequence[PlacedModel], upstreams: Collection[str], mistakes: Mistakes) -> None:
    """Every model has an upstream and its files, and every name means one model."""
    owners: dict[str, str] = {}
    for path, model in models:
        # Built-in models stay in the catalogue, unused, where their backend is not set up.
        if len(path) > 1 and model.upstream not in upstreams:
            mistakes.append(((*path, "upstream"), _unknown("upstream", model.upstream, upstreams)))
        check_readable((*path, "tokenizer_file"), model.tokenizer_file, mistakes)
        if model.id == ITSELF:
            mistakes.append(((*path, "id"), f'"{ITSELF}" has a meaning in routes; choose another id'))
        for name in (model.id, *model.aliases):
            if name in owners:
                mistakes.append((path, f'"{name}" already means "{owners[name]}"; use another name'))
            owners.setdefault(name, model.id)


def check_targets(
    targets: Iterable[tuple[Path, str]], models: Sequence[PlacedModel], mistakes: Mistakes
) -> None:
    """What routes lead to is in the catalogue."""
    ids = [model.id for _, model in models]
    classes = sorted({model.model_class for _, model in models})
    for path, target in targets:
        if target not in {*ids, *classes, ITSELF}:
            allowed = ", ".join([ITSELF, *ids, *classes])
            mistakes.append((path, f'unknown model or class "{target}"; allowed: {allowed}'))


def check_tier_names(names: Iterable[tuple[Path, str]], tiers: Collection[str], mistakes: Mistakes) -> None:
    """Every name stands for a tier."""
    mistakes.extend((path, _unknown("tier", name, tiers)) for path, name in names if name not in tiers)


def check_windows(tiers: Mapping[str, Tier], mistakes: Mistakes) -> None:
    """Every window of a tier counts something of its own, for a period if it can have one."""
    for name, tier in tiers.items():
        places: dict[tuple[str, str | None], int] = {}
        for index, window in enumerate(tier.quota):
            path: Path = ("tiers", name, "quota", index)
            if window.unit == "concurrent" and window.period is not None:
                text = "requests in flight are counted at this moment; leave the period of `concurrent` out"
                mistakes.append(((*path, "period"), text))
                continue
            first = places.setdefault((window.unit, window.period), index)
            if first != index:
                what = f"{window.unit} per {window.period}" if window.period else window.unit
                mistakes.append((path, f"counts {what}, as quota[{first}] does; keep one"))


def check_subscribers(subscribers: Sequence[ConfiguredSubscriber], mistakes: Mistakes) -> None:
    """Every subscriber has one key, and no two share a name or a key."""
    users: dict[str, int] = {}
    keys: dict[str, int] = {}
    for index, subscriber in enumerate(subscribers):
        path: Path = ("subscribers", index)
        if (subscriber.key is None) == (subscriber.key_hash is None):
            mistakes.append((path, f'give "{subscriber.user}" either `key` or `key_hash`, and not both'))
            continue
        check_secret((*path, "key"), subscriber.key, mistakes)
        if len(subscriber.user.encode(errors="surrogatepass")) > USER_BYTES:
            mistakes.append(((*path, "user"), f"expected at most {USER_BYTES} bytes of UTF-8, found more"))
        key = subscriber.key_hash or f"sha256:{hashlib.sha256((subscriber.key or '').encode()).hexdigest()}"
        if subscriber.user in users:
            text = f'"{subscriber.user}" is already subscribers[{users[subscriber.user]}]; keep one'
            mistakes.append(((*path, "user"), text))
        elif key in keys:
            mistakes.append((path, f"has the key of subscribers[{keys[key]}]; give each a key of its own"))
        users.setdefault(subscriber.user, index)
        keys.setdefault(key, index)


def check_quota(quota: Quota, mistakes: Mistakes) -> None:
    """The time zone exists, the store's URL is one of Redis, and its certificates can be trusted."""
    if not _is_time_zone(quota.timezone):
        text = f'unknown time zone "{quota.timezone}"; use a name like Europe/Berlin'
        mistakes.append((("quota", "timezone"), text))
    if quota.redis_url is not None and (problem := redis_url.problem_with(quota.redis_url)):
        mistakes.append((("quota", "redis_url"), problem))
    if quota.redis_ca_file and quota.redis_url and not redis_url.is_encrypted(quota.redis_url):
        text = (
            "the store's URL is not one of TLS, so nothing shows a certificate; use rediss:// or leave it out"
        )
        mistakes.append((("quota", "redis_ca_file"), text))
    check_ca_file(("quota", "redis_ca_file"), quota.redis_ca_file, mistakes)


def _is_time_zone(name: str) -> bool:
    try:
        return name == "UTC" or bool(zoneinfo.ZoneInfo(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    return f'unknown {what} "{name}"; configured: {", ".join(sorted(known))}'
