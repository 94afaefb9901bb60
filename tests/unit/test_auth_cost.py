"""What authenticating costs: `pytest tests/unit/test_auth_cost.py --benchmark-enable`.

Without that each case runs once, and only has to be right.
"""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_benchmark.fixture import BenchmarkFixture

from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.config.schema import Auth, Tier
from llm_gateway.subscriber import Subscriber
from tests.servers.issuer import ScriptedIssuer, Signer

RSA = Signer("rsa")
EC = Signer("ec", "ES256", ec.generate_private_key(ec.SECP256R1()))
TIERS = {"pro": Tier(rank=1)}


class Desk:
    """An authenticator that has its issuer's keys."""

    def __init__(self, issuer: ScriptedIssuer, tokens: OidcTokens) -> None:
        self.issuer = issuer
        self._tokens = tokens
        self._numbers = count()

    def token(self, signer: Signer) -> bytes:
        """One that nobody has seen."""
        return signer.token(self.issuer.claims(sub=f"user-{next(self._numbers)}"))

    def authenticate(self, token: bytes) -> Subscriber:
        """Neither a known token nor a known key waits for anything: no loop is in what is measured."""
        try:
            self._tokens.authenticate(token).send(None)
        except StopIteration as found:
            return cast("Subscriber", found.value)
        raise AssertionError("it waits")


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        issuer = ScriptedIssuer()
        issuer.keys = [RSA.jwk(), EC.jwk()]
        runner.run(issuer.listen())
        tokens = OidcTokens(Auth(provider="oidc", issuer=issuer.url), TIERS)
        runner.run(tokens.start())
        yield Desk(issuer, tokens)
        runner.run(tokens.stop())
        runner.run(issuer.hang_up())


@pytest.mark.parametrize("signer", [RSA, EC], ids=["RS256", "ES256"])
def test_a_token_seen_for_the_first_time(benchmark: BenchmarkFixture, desk: Desk, signer: Signer) -> None:
    found = benchmark.pedantic(
        desk.authenticate, setup=lambda: ((desk.token(signer),), {}), rounds=500, warmup_rounds=50
    )
    assert found.tier == "pro"


def test_a_known_token(benchmark: BenchmarkFixture, desk: Desk) -> None:
    token = desk.token(RSA)
    first = desk.authenticate(token)
    assert benchmark(desk.authenticate, token) is first
