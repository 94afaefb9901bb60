"""Managed settings and telemetry over HTTP, for those who may use the gateway."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.script import Answer
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

POLICY = {"model": "claude-haiku-4-5", "env": {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1"}}
SIGNALS = ("metrics", "logs", "traces")


@pytest.fixture(scope="module")
def collector() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    shared_upstream: ScriptedUpstream, collector: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    telemetry = {"url": f"{collector.url}/otel", "headers": {"x-collector-key": "collector-secret"}}
    tiers = {"pro": {"managed_settings": POLICY}}
    config = settings(shared_upstream.url, tiers=tiers, telemetry=telemetry)
    with Gateway(tmp_path_factory.mktemp("clients"), config) as running:
        yield running


def get(gateway: Gateway, key: str, **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {key}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return httpx.get(f"{gateway.url}/managed/settings", headers=sent, trust_env=False)


def tell(gateway: Gateway, signal: str, content: bytes, key: str = PRO, **headers: str) -> httpx.Response:
    known = {"content_type": "application/x-protobuf", "authorization": f"Bearer {key}"}
    sent = {name.replace("_", "-"): value for name, value in (known | headers).items()}
    return httpx.post(f"{gateway.url}/v1/{signal}", content=content, headers=sent, trust_env=False)


def test_a_tiers_settings_come_once_and_then_by_their_tag(gateway: Gateway) -> None:
    first = get(gateway, PRO)
    assert (first.status_code, first.json()["settings"]) == (200, POLICY)
    assert first.headers["etag"] == f'"{first.json()["checksum"]}"'
    again = get(gateway, PRO, if_none_match=first.headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    for other in ("*", '"sha256:0"'):
        assert get(gateway, PRO, if_none_match=other).status_code == 200


@pytest.mark.parametrize("key", [FREE, ENTERPRISE])
def test_a_tier_without_policy_has_none(gateway: Gateway, key: str) -> None:
    assert get(gateway, key).status_code == 404


def test_strangers_get_no_settings_and_leave_no_telemetry(
    gateway: Gateway, collector: ScriptedUpstream
) -> None:
    collector.forget()
    assert get(gateway, "a-stranger").status_code == 401
    for signal in SIGNALS:
        assert tell(gateway, signal, b"x", key="a-stranger").status_code == 401
    assert collector.requests == []


@pytest.mark.parametrize("signal", SIGNALS)
def test_telemetry_is_passed_on_as_it_came_but_for_the_credential(
    gateway: Gateway, collector: ScriptedUpstream, signal: str
) -> None:
    collector.forget()
    path = f"/otel/v1/{signal}"
    collector.always(path, lambda _: Answer.json(200, {}))
    content = gzip.compress(b"\x0a\x00 what a client tells")
    answer = tell(gateway, signal, content, content_encoding="gzip")
    assert (answer.status_code, answer.content) == (200, b"")
    assert tell(gateway, signal, b"{}", content_type="application/json").json() == {}
    eventually(lambda: len(collector.requests) == 2, "passed on")
    packed, plain = collector.requests
    assert (packed.path, packed.body) == (path, content)
    headers = {name.lower(): value for name, value in packed.headers}
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-collector-key"] == "collector-secret"
    assert PRO not in str(packed.headers)
    assert plain.body == b"{}"


def test_a_collector_that_fails_delays_nobody_and_is_logged_once(
    gateway: Gateway, collector: ScriptedUpstream
) -> None:
    collector.forget()
    collector.always("/otel/v1/logs", lambda _: Answer.json(503, {}))
    for _ in range(20):
        answer = tell(gateway, "logs", b"x")
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() < 1
    eventually(lambda: "telemetry of clients was dropped" in gateway.log(), "logged")
    assert gateway.log().count("telemetry of clients was dropped") == 1
    assert "collector-secret" not in gateway.log()


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [({"content_type": "text/plain"}, b"x", 415), ({}, b"x" * (4 * 1024 * 1024 + 1), 413)],
)
def test_what_is_no_telemetry_is_refused(
    gateway: Gateway, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = tell(gateway, "traces", content, **headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_without_a_collector_telemetry_is_taken_and_dropped(
    shared_upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config: dict[str, Any] = settings(shared_upstream.url)
    with Gateway(tmp_path, config) as plain:
        for signal in SIGNALS:
            assert tell(plain, signal, b"x").status_code == 200
