"""What Python does for every request costs: `pytest tests/unit/test_request_cost.py --benchmark-enable`.

Without that each case runs once, and only has to be right.
"""

import asyncio
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from llm_gateway.asgi import body, edge, endpoints
from llm_gateway.auth.credential import credential
from llm_gateway.config.load import load
from llm_gateway.config.schema import Limits
from llm_gateway.policy.plan import Policy

HEADERS = [
    (b"host", b"gateway.example"),
    (b"authorization", b"Bearer ogw_4f1d7c02a95e90c3ee61b7d227ab5d80f41c"),
    (b"content-type", b"application/json"),
    (b"content-length", b"1024"),
    (b"anthropic-version", b"2023-06-01"),
    *((b"x-stainless-%d" % number, b"value") for number in range(8)),
]


def test_a_plan_that_was_made_before(benchmark: BenchmarkFixture) -> None:
    keycloak = {"AUTH_PROVIDER": "keycloak", "KEYCLOAK_URL": "https://keycloak.example.org/realms/r"}
    policy = Policy(load({"INTERNAL_LLM_URL": "http://127.0.0.1:1/v1", **keycloak}))
    planned = benchmark(policy.plan, "free", "claude-opus-5-5")
    assert planned is policy.plan("free", "claude-opus-5-5")


def test_the_look_at_the_headers(benchmark: BenchmarkFixture) -> None:
    def look() -> bytes:
        endpoints.find("POST", b"/v1/messages")
        edge.check(HEADERS)
        return credential(HEADERS)

    assert benchmark(look).startswith(b"ogw_")


def test_a_thousand_bodies_that_are_there_at_once(benchmark: BenchmarkFixture) -> None:
    limits = Limits()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 1024, "more_body": True}

    async def read() -> int:
        return sum([len(await body.read(HEADERS, receive, limits)) for _ in range(1000)])

    with asyncio.Runner() as runner:
        assert benchmark(lambda: runner.run(read())) == 1024 * 1000
