"""What becomes of a request that was meant for another model, or carries what another upstream wrote."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.servers.gateway import ENTERPRISE, PRO, Gateway, settings
from tests.servers.scripted import Request, ScriptedUpstream

CAPABILITIES = {
    "thinking": "budget",
    "effort": False,
    "sampling": True,
    "max_output_tokens": 16_000,
    "refused_betas": ["context-1m-*", "effort-2025-11-24"],
}
ASKED = {
    "max_tokens": 32_000,
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low"},
    "messages": [{"role": "user", "content": "hello"}],
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_upstream: ScriptedUpstream) -> Iterator[Gateway]:
    """A gateway whose smaller model thinks by a budget only."""
    haiku = {
        "id": "claude-3-haiku",
        "class": "haiku",
        "upstream": "anthropic",
        "wire": "claude-haiku-4-5",
        "capabilities": CAPABILITIES,
    }
    config = settings(shared_upstream.url, models=[haiku])
    with Gateway(tmp_path_factory.mktemp("adaptation"), config) as running:
        yield running


def _ask(gateway: Gateway, key: str, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    common = {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    return httpx.post(f"{gateway.url}/v1/messages", content=body, headers=common | named, timeout=20)


def _body(model: str, **members: Any) -> bytes:
    return json.dumps({"model": model, **ASKED, **members}).encode()


def _sent(upstream: ScriptedUpstream) -> Request:
    (request,) = upstream.requests
    return request


def test_a_request_for_a_larger_model_is_fitted_to_the_smaller_one(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    betas = "context-1m-2025-08-07, interleaved-thinking-2025-05-14,effort-2025-11-24"
    answer = _ask(gateway, PRO, _body("claude-opus-5-5"), anthropic_beta=betas)
    assert answer.status_code == 200, answer.text
    sent = _sent(upstream)
    assert sent.json() == {
        "model": "claude-haiku-4-5",
        "max_tokens": 16_000,
        "thinking": {"type": "enabled", "budget_tokens": 4096},
        "messages": ASKED["messages"],
    }
    assert sent.header("anthropic-beta") == "interleaved-thinking-2025-05-14"
    dropped = answer.headers["x-gateway-dropped"].split(", ")
    assert {"max_tokens>16000", "output_config.effort"} <= set(dropped)


def test_a_request_for_the_model_itself_passes_byte_for_byte(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    body = (
        b'{ "model" : "claude-haiku-4-5","thinking":{"type":"adaptive"}, "max_tokens":64000,"messages":[] }'
    )
    answer = _ask(gateway, PRO, body, anthropic_beta="context-1m-2025-08-07")
    assert answer.status_code == 200, answer.text
    assert _sent(upstream).body == body
    assert _sent(upstream).header("anthropic-beta") == "context-1m-2025-08-07"
    assert "x-gateway-dropped" not in answer.headers


def test_thinking_that_this_gateway_signed_does_not_reach_anthropic(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    def thought(text: str, signature: str) -> dict[str, str]:
        return {"type": "thinking", "thinking": text, "signature": signature}

    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [thought("ours", "gw1.abc"), {"type": "text", "text": "two"}]},
        {"role": "user", "content": 'three, quoting "gw1.'},
        {"role": "assistant", "content": [thought("theirs", "EqoB"), {"type": "text", "text": "four"}]},
        {"role": "user", "content": "five"},
    ]
    answer = _ask(gateway, ENTERPRISE, _body("claude-opus-5-5", messages=messages))
    assert answer.status_code == 200, answer.text
    expected = json.loads(json.dumps(messages))
    del expected[1]["content"][0]
    assert _sent(upstream).json()["messages"] == expected
