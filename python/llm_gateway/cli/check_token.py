"""`llm-gateway check --token -`: whether a token is admitted, which claim gives which tier, or why none."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt

from llm_gateway.auth.claims import ClaimRules, lookup, pointer
from llm_gateway.auth.credential import MAX_CREDENTIAL_BYTES
from llm_gateway.auth.personal_keys import PREFIX
from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.auth.refusal import Refused
from llm_gateway.auth.verifier import Verified, Verifier
from llm_gateway.cli import console
from llm_gateway.config.schema import Settings, Tier, TrustedIssuer
from llm_gateway.errors import Fault

_SHOWN_CHARACTERS = 200
_Row = tuple[str, str]


def run(settings: Settings, token: bytes) -> int:
    """Prints what becomes of the token, and what it says; 0 if it is admitted, 1 if it is not.

    The token itself is not printed.
    """
    hindrance = _hindrance(settings, token)
    if hindrance is not None:
        console.say(f"{console.bad('✗')} {hindrance}")
        return 1
    verdict = asyncio.run(_verdict(settings, token))
    head, claims = _unverified(token)
    issuer, place = _trusted(settings, claims)
    rows = []
    if claims:
        rows += _facts(head, claims, issuer, place, settings.auth.leeway_s)
        rows += _tier_rows(claims, issuer, settings.tiers)
    _show(verdict, rows)
    return 0 if isinstance(verdict, Verified) else 1


def _show(verdict: Verified | str, rows: list[_Row]) -> None:
    if isinstance(verdict, Verified):
        subscriber = verdict.subscriber
        text = f"admitted as {_printable(subscriber.user)}, on the tier {subscriber.tier}"
        console.say(f"{console.good('✓')} {text}")
    else:
        console.say(f"{console.bad('✗')} refused: {verdict}")
    width = max((len(label) for label, _ in rows), default=0)
    for label, text in rows:
        console.say(f"  {label:<{width}}  {text}")


def _hindrance(settings: Settings, token: bytes) -> str | None:
    """Why the token need not be looked at."""
    if settings.auth.provider == "keys":
        return "refused: auth.provider is keys, so no token is admitted; set AUTH_PROVIDER=keycloak"
    if len(token) > MAX_CREDENTIAL_BYTES:
        return f"refused: longer than {MAX_CREDENTIAL_BYTES} bytes, which no request may send"
    if token.startswith(PREFIX.encode()):
        return "this is a personal key, no token; `llm-gateway keys list USER` shows what is known of it"
    return None


async def _verdict(settings: Settings, token: bytes) -> Verified | str:
    """What the gateway makes of the token: whose it is, or why it is refused."""
    verifier = Verifier(settings.auth, settings.tiers, on_change=lambda: None)
    await verifier.start()
    try:
        verified = await verifier.verify(token)
    except Refused as refused:
        return refused.reason
    except Fault as fault:
        return fault.message
    finally:
        await verifier.stop()
    if settings.auth.introspect and verified.issuer == settings.auth.issuer:
        return await _still_active(settings, token) or verified
    return verified


async def _still_active(settings: Settings, token: bytes) -> str | None:
    """Why the token holds no more although it was good when it was issued, or None."""
    provider = Provider(settings.auth)
    try:
        if await provider.is_active(token.decode("ascii")):
            return None
    except (Fault, ProviderRefusalError):
        # As for requests: while the issuer cannot be asked, the signature decides. `check` names the cause.
        return None
    finally:
        await provider.stop()
    return "the issuer says that it holds no more: it was revoked, or its owner disabled or signed out"


def _unverified(token: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What header and payload say, whoever wrote them; nothing if it is no token."""
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}, {}
    return found["header"], found["payload"]


def _trusted(settings: Settings, claims: Mapping[str, Any]) -> tuple[TrustedIssuer, str]:
    """The issuer that the token names, or `auth.issuer`; and where its settings are."""
    for name, issuer in settings.auth.issuers.items():
        if issuer.issuer == claims.get("iss"):
            return issuer, f"auth.issuers.{name}"
    return settings.auth, "auth"


def _facts(
    head: Mapping[str, Any], claims: Mapping[str, Any], issuer: TrustedIssuer, place: str, leeway_s: float
) -> list[_Row]:
    """What the token says beside what the settings want; the verdict is not made here."""
    user = lookup(claims, pointer(issuer.user_claim, issuer.client_id))
    parties = (issuer.client_id, *issuer.authorized_parties)
    kind = f"{_said(head, 'typ')} in the header, {_said(claims, 'typ')} in the claims"
    return [
        ("issuer", _beside(_said(claims, "iss"), issuer.issuer or "none", f"{place}.issuer")),
        ("key", f"{_said(head, 'kid')}, for {_said(head, 'alg')}"),
        ("audience", _beside(_said(claims, "aud"), issuer.audience, f"{place}.audience")),
        ("issued to", _beside(_said(claims, "azp"), ", ".join(parties), f"{place}.client_id")),
        ("kind", kind),
        ("issued", _moment(claims.get("iat"))),
        ("expires", f"{_moment(claims.get('exp'))}; {leeway_s:g} s of leeway"),
        ("user", f"{_words(user)} ({place}.user_claim: {issuer.user_claim})"),
    ]


def _beside(said: str, wanted: str, setting: str) -> str:
    return said if said == wanted else f"{said}; {setting} wants {wanted}"


def _said(members: Mapping[str, Any], name: str) -> str:
    return _words(members.get(name))


def _words(value: object) -> str:
    if isinstance(value, list):
        return _printable(", ".join(map(str, value))) or "none"
    return "none" if value is None else _printable(str(value))


def _moment(value: object) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "never said"
    try:
        when = datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return "at no time that there is"
    away_s = value - time.time()
    distance = f"in {away_s:.0f} s" if away_s >= 0 else f"{-away_s:.0f} s ago"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC ({distance})"


def _tier_rows(claims: Mapping[str, Any], issuer: TrustedIssuer, tiers: Mapping[str, Tier]) -> list[_Row]:
    """Which names were found where, which tier each means, and which tier wins."""
    findings = ClaimRules(issuer, tiers).explained(claims)
    rows = []
    for finding in findings:
        names = [f"{_printable(name)} → {tier or 'no tier'}" for name, tier in finding.names]
        place = finding.place.replace("<client>", issuer.client_id)
        rows.append(("tier", f"{place}: {', '.join(names) or 'nothing'}"))
    found = {tier: tiers[tier].rank for finding in findings for _, tier in finding.names if tier is not None}
    ranked = sorted(found, key=found.__getitem__, reverse=True)
    if ranked:
        ranks = ", ".join(f"{tier} (rank {found[tier]})" for tier in ranked)
        rows.append(("", f"{ranked[0]} wins: {ranks}" if len(ranked) > 1 else ranks))
    elif issuer.default_tier is not None:
        rows.append(("", f"{issuer.default_tier}: the default_tier, since no name means a tier"))
    else:
        known = ", ".join(tiers)
        rows.append(
            ("", f"no name means a tier: give a role called {known}, or set tier_names or default_tier")
        )
    return [rows[0], *(("", text) for _, text in rows[1:])]


def _printable(text: str) -> str:
    # What strangers wrote must not steer a terminal.
    return "".join(one if one.isprintable() else "�" for one in text)[:_SHOWN_CHARACTERS]
