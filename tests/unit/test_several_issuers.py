"""Tokens of several issuers, each with keys, audience and people of its own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.config.schema import Auth, Tier, TrustedIssuer
from llm_gateway.errors import Fault
from tests.servers.issuer import JWKS, ScriptedIssuer, Signer

pytestmark = pytest.mark.anyio

TIERS = {"free": Tier(rank=1), "pro": Tier(rank=2)}
OURS = Signer("key")
THEIRS = Signer("key", "ES256", ec.generate_private_key(ec.SECP256R1()))


class World:
    """Our issuer, a partner's, and who trusts both."""

    def __init__(self, ours: ScriptedIssuer, theirs: ScriptedIssuer, **partner: Any) -> None:
        self.ours, self.theirs = ours, theirs
        other = TrustedIssuer(issuer=theirs.url, audience="shared", client_id="their-app", **partner)
        auth = Auth(provider="oidc", issuer=ours.url, issuers={"partner": other})
        self.tokens = OidcTokens(auth, TIERS)

    def partner_token(self, **claims: Any) -> bytes:
        known = {"aud": "shared", "azp": "their-app", "plan": "pro", "resource_access": None}
        return THEIRS.token(self.theirs.claims(**known | claims))

    async def is_refused(self, token: bytes) -> bool:
        with pytest.raises(Fault) as raised:
            await self.tokens.authenticate(token)
        return (raised.value.kind, raised.value.message) == ("unauthenticated", MESSAGE)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ScriptedIssuer() as ours, ScriptedIssuer() as theirs:
        ours.keys, theirs.keys = [OURS.jwk()], [THEIRS.jwk()]
        made = World(ours, theirs, claims=("plan",))
        await made.tokens.start()
        yield made
        await made.tokens.stop()


async def test_each_issuers_people_are_known_by_its_own_rules(world: World) -> None:
    ours = await world.tokens.authenticate(OURS.token(world.ours.claims(email="a@example.com")))
    theirs = await world.tokens.authenticate(world.partner_token())
    assert (ours.user, ours.tier, ours.email, ours.means) == ("user-1", "pro", "a@example.com", "token")
    assert (theirs.user, theirs.tier) == ("partner:user-1", "pro")


async def test_an_issuers_key_signs_for_nobody_else(world: World) -> None:
    assert await world.is_refused(THEIRS.token(world.ours.claims()))
    assert await world.is_refused(OURS.token(world.theirs.claims(aud="shared", azp="their-app")))


async def test_an_issuers_audience_and_client_are_for_nobody_else(world: World) -> None:
    assert await world.is_refused(OURS.token(world.ours.claims(aud="shared")))
    assert await world.is_refused(world.partner_token(aud="llm-gateway"))
    assert await world.is_refused(world.partner_token(azp="llm-gateway"))


async def test_nobody_of_one_issuer_can_be_somebody_of_another(world: World) -> None:
    assert await world.is_refused(OURS.token(world.ours.claims(sub="partner:user-1")))
    assert (await world.tokens.authenticate(OURS.token(world.ours.claims(sub="partner")))).user == "partner"


async def test_a_name_that_is_too_long_with_its_issuers_is_refused(world: World) -> None:
    assert (await world.tokens.authenticate(world.partner_token(sub="u" * 247))).user.endswith("u" * 247)
    assert await world.is_refused(world.partner_token(sub="u" * 248))


@pytest.mark.parametrize("iss", ["https://stranger.example", "", None, 7, ["{ours}"], "{ours}/"])
async def test_no_other_issuer_is_asked_for_keys(world: World, iss: object) -> None:
    before = world.ours.requests[JWKS] + world.theirs.requests[JWKS]
    value = iss.replace("{ours}", world.ours.url) if isinstance(iss, str) else iss
    claims = world.ours.claims() | {"iss": value}
    assert await world.is_refused(OURS.token(claims, kid="unknown"))
    assert world.ours.requests[JWKS] + world.theirs.requests[JWKS] == before


async def test_one_issuer_that_is_down_stops_nobody_elses_people() -> None:
    async with ScriptedIssuer() as ours, ScriptedIssuer() as theirs:
        ours.keys, theirs.keys = [OURS.jwk()], [THEIRS.jwk()]
        await theirs.hang_up()
        world = World(ours, theirs)
        await world.tokens.start()
        assert (await world.tokens.authenticate(OURS.token(ours.claims()))).user == "user-1"
        assert world.tokens.state() == f"jwks unavailable: {theirs.url}"
        await world.tokens.stop()
