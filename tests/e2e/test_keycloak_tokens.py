"""The authenticator against a real Keycloak: the tokens that it really makes, and what they may do."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.config.schema import Auth, Tier
from llm_gateway.errors import Fault
from tests.servers.issuer import Signer
from tests.servers.keycloak import Keycloak, UnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak, pytest.mark.timeout(300)]

TIERS = {"free": Tier(rank=1), "pro": Tier(rank=2), "enterprise": Tier(rank=3)}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def tokens(keycloak: Keycloak) -> AsyncIterator[OidcTokens]:
    made = authenticator(keycloak)
    await made.start()
    yield made
    await made.stop()


def authenticator(keycloak: Keycloak, **auth: Any) -> OidcTokens:
    return OidcTokens(Auth(provider="keycloak", issuer=keycloak.issuer, **auth), TIERS)


async def refusal(tokens: OidcTokens, token: str) -> Fault:
    with pytest.raises(Fault) as caught:
        await tokens.authenticate(token.encode())
    return caught.value


async def is_refused(tokens: OidcTokens, token: str) -> bool:
    fault = await refusal(tokens, token)
    assert (fault.kind, fault.message, fault.should_retry) == ("unauthenticated", MESSAGE, False)
    return True


@pytest.mark.parametrize(("user", "tier"), [("fred", "free"), ("paula", "pro"), ("erin", "enterprise")])
async def test_each_role_gives_its_tier(keycloak: Keycloak, tokens: OidcTokens, user: str, tier: str) -> None:
    subscriber = await tokens.authenticate(keycloak.token(user).encode())
    assert (subscriber.user, subscriber.tier) == (keycloak.user_id(user), tier)


async def test_a_user_without_a_role_has_no_subscription(keycloak: Keycloak, tokens: OidcTokens) -> None:
    fault = await refusal(tokens, keycloak.token("nora"))
    assert (fault.kind, fault.should_retry) == ("forbidden", False)


async def test_refuses_a_token_of_another_audience(keycloak: Keycloak, tokens: OidcTokens) -> None:
    assert await is_refused(tokens, keycloak.token("paula", client_id="other-app"))


async def test_refuses_a_token_of_another_issuer_though_its_signature_is_right(keycloak: Keycloak) -> None:
    keys = f"{keycloak.issuer}/protocol/openid-connect/certs"
    token = keycloak.token("paula")
    right = authenticator(keycloak, jwks_url=keys)
    other = OidcTokens(Auth(provider="oidc", issuer=f"{keycloak.issuer}-2", jwks_url=keys), TIERS)
    for made in (right, other):
        await made.start()
    try:
        assert (await right.authenticate(token.encode())).tier == "pro"
        assert await is_refused(other, token)
    finally:
        for made in (right, other):
            await made.stop()


@pytest.mark.parametrize("kind", ["id_token", "refresh_token"])
async def test_refuses_tokens_that_are_no_access_tokens(
    keycloak: Keycloak, tokens: OidcTokens, kind: str
) -> None:
    granted = keycloak.grant("erin")
    assert await tokens.authenticate(granted["access_token"].encode())
    assert await is_refused(tokens, granted[kind])


async def test_refuses_a_token_with_another_users_claims(keycloak: Keycloak, tokens: OidcTokens) -> None:
    fred, erin = keycloak.token("fred").split("."), keycloak.token("erin").split(".")
    assert await is_refused(tokens, ".".join([fred[0], erin[1], fred[2]]))


async def test_refuses_an_expired_token(keycloak: Keycloak) -> None:
    # The token's own time, whatever the machine's is by then.
    now: list[float] = []
    auth = Auth(
        provider="keycloak", issuer=keycloak.issuer, authorized_parties=("short-lived",), leeway_s=0.0
    )
    tokens = OidcTokens(auth, TIERS, clock=lambda: now[0] if now else time.time())
    await tokens.start()
    token = keycloak.token("paula", client_id="short-lived").encode()
    subscriber = await tokens.authenticate(token)
    assert subscriber.expires_at is not None
    now.append(subscriber.expires_at)
    assert await is_refused(tokens, token.decode())
    await tokens.stop()


async def test_a_rotated_key_works_at_once_and_a_withdrawn_one_no_more(keycloak: Keycloak) -> None:
    tokens = authenticator(keycloak, jwks_cooldown_s=0.001)
    await tokens.start()
    before = keycloak.token("paula").encode()
    await tokens.authenticate(before)
    rotated = keycloak.rotate_key()
    during = keycloak.token("paula").encode()
    assert (await tokens.authenticate(during)).tier == "pro"
    assert (await tokens.authenticate(before)).tier == "pro"
    keycloak.withdraw_key(rotated)
    again = keycloak.rotate_key()
    assert (await tokens.authenticate(keycloak.token("paula").encode())).tier == "pro"
    assert await is_refused(tokens, during.decode())
    assert (await tokens.authenticate(before)).tier == "pro"
    keycloak.withdraw_key(again)
    await tokens.stop()


async def test_a_disabled_user_gets_no_new_token(keycloak: Keycloak) -> None:
    keycloak.set_user_enabled("fred", False)
    try:
        with pytest.raises(httpx.HTTPStatusError):
            keycloak.token("fred")
    finally:
        keycloak.set_user_enabled("fred", True)


async def test_tokens_go_on_while_keycloak_hangs(keycloak: Keycloak, tokens: OidcTokens) -> None:
    known, unseen = keycloak.token("paula").encode(), keycloak.token("fred").encode()
    await tokens.authenticate(known)
    with keycloak.frozen():
        assert (await tokens.authenticate(known)).tier == "pro"
        assert (await tokens.authenticate(unseen)).tier == "free"


async def test_without_keys_the_answer_is_to_try_again(keycloak: Keycloak) -> None:
    token = keycloak.token("paula")
    tokens = authenticator(keycloak)
    with keycloak.frozen():
        await tokens.start()
        assert tokens.state() == "jwks unavailable"
        fault = await refusal(tokens, token)
        assert (fault.kind, fault.retry_after_s) == ("overloaded", 5)
    await tokens.stop()


async def test_tokens_go_on_after_keycloak_stopped() -> None:
    try:
        with Keycloak.start() as keycloak:
            tokens = authenticator(keycloak)
            await tokens.start()
            known, unseen = keycloak.token("paula").encode(), keycloak.token("fred").encode()
            await tokens.authenticate(known)
    except UnavailableError as cause:
        pytest.skip(str(cause))
    assert (await tokens.authenticate(known)).tier == "pro"
    assert (await tokens.authenticate(unseen)).tier == "free"
    assert (
        await refusal(tokens, Signer("unknown").token({"iss": keycloak.issuer}).decode())
    ).kind == "overloaded"
    await tokens.stop()
