"""What is seen from outside: health, pages, and metrics that are right over all workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.answers import anthropic_stream
from tests.servers.connection import Connection, ask, chat, get, head
from tests.servers.gateway import FREE, PRO, Gateway, settings
from tests.servers.prometheus import Samples, parse
from tests.servers.scripted import Answer, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

MESSAGES, COMPLETIONS = "/v1/messages", "/v1/chat/completions"
WORKERS = 3


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(shared_upstream.url, tiers={"pro": {"quota": [{"limit": 100_000}]}})
    with Gateway(tmp_path_factory.mktemp("observability"), config, workers=WORKERS) as running:
        yield running


def metrics(gateway: Gateway) -> Samples:
    reply = get(gateway.port, "/metrics")
    assert reply.status == 200
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return parse(reply.body.decode())


def grown(gateway: Gateway, before: Samples, name: str, **labels: str) -> float:
    return metrics(gateway).sum(name, **labels) - before.sum(name, **labels)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/health", {"status": "ok"}),
        ("/health/ready", {"status": "ok", "checks": {"store": "ok", "auth": "ok"}}),
    ],
)
def test_health_needs_no_credential(gateway: Gateway, path: str, value: object) -> None:
    reply = get(gateway.port, path)
    assert (reply.status, reply.header("content-type"), reply.json()) == (200, "application/json", value)
    assert reply.header("content-length") == str(len(reply.body))


@pytest.mark.parametrize("path", ["/", "/style.css", "/health", "/health/ready", "/metrics"])
def test_head_is_get_without_the_body(gateway: Gateway, path: str) -> None:
    with Connection(gateway.port) as connection:
        for _ in range(2):
            connection.send(head("HEAD", path, []))
            reply = connection.reply("HEAD")
            assert (reply.status, reply.body) == (200, b"")
            assert reply.header("content-type") == get(gateway.port, path).header("content-type")
            assert int(reply.header("content-length") or 0) > 0


@pytest.mark.parametrize(("path", "kind"), [("/", "text/html"), ("/style.css", "text/css")])
def test_pages_are_fenced_in(gateway: Gateway, path: str, kind: str) -> None:
    reply = get(gateway.port, path, ("host", "llm.corp.test"))
    assert reply.status == 200
    assert (reply.header("content-type") or "").startswith(kind)
    assert reply.header("x-content-type-options") == "nosniff"
    # Not "no-referrer": browsers then say `Origin: null` with the page's own forms.
    assert reply.header("referrer-policy") == "same-origin"
    if path == "/":
        assert "default-src 'none'" in (reply.header("content-security-policy") or "")
        assert "frame-ancestors 'none'" in (reply.header("content-security-policy") or "")
        assert b"http://llm.corp.test" in reply.body


def test_no_answer_lets_other_sites_read_it(gateway: Gateway) -> None:
    for path in ("/", "/quota", "/v1/models", "/health", "/metrics"):
        for origin in ("https://evil.example", "null"):
            reply = get(gateway.port, path, ("origin", origin), ("x-api-key", PRO))
            assert not any(name.startswith("access-control-") for name, _ in reply.headers)


def test_sums_over_workers_are_exact(gateway: Gateway) -> None:
    before, requests = metrics(gateway), 120
    with ThreadPoolExecutor(12) as pool:
        replies = list(
            pool.map(lambda n: ask(gateway.port, MESSAGES, chat(stream=n % 2 == 0), PRO), range(requests))
        )
    assert {reply.status for reply in replies} == {200}
    assert grown(gateway, before, "gateway_requests_total", tier="pro") == requests
    assert grown(gateway, before, "gateway_request_duration_seconds_count", tier="pro") == requests
    route = {"from": "claude-3-haiku", "to": "claude-3-haiku"}
    assert grown(gateway, before, "gateway_model_routes_total", **route) == requests
    assert (
        grown(gateway, before, "gateway_tokens_total", kind="input", model="claude-3-haiku") == 11 * requests
    )
    assert (
        grown(gateway, before, "gateway_tokens_total", kind="output", model="claude-3-haiku") == 7 * requests
    )
    assert grown(gateway, before, "gateway_time_to_first_token_seconds_count") == requests
    assert grown(gateway, before, "gateway_overhead_seconds_count") == requests
    assert len({metrics(gateway).sum("gateway_requests_total") for _ in range(20)}) == 1, (
        "every worker knows all"
    )


def test_the_seeds_four_metrics_and_the_hot_paths_own_are_there(gateway: Gateway) -> None:
    assert ask(gateway.port, MESSAGES, chat("claude-3-opus"), PRO).status == 200
    page = metrics(gateway)
    assert page.types.items() >= {
        ("gateway_requests_total", "counter"),
        ("gateway_quota_used", "gauge"),
        ("gateway_model_routes_total", "counter"),
        ("gateway_request_duration_seconds", "histogram"),
        ("gateway_time_to_first_token_seconds", "histogram"),
        ("gateway_time_between_tokens_seconds", "histogram"),
        ("gateway_overhead_seconds", "histogram"),
        ("gateway_tokens_total", "counter"),
        ("gateway_active_streams", "gauge"),
        ("gateway_quota_refusals_total", "counter"),
        ("gateway_upstream_errors_total", "counter"),
        ("gateway_store_mode", "gauge"),
        ("gateway_store_latency_seconds", "histogram"),
    }
    assert all(
        {"tier", "api", "status", "outcome"} == set(s.labels) for s in page.of("gateway_requests_total")
    )
    assert page.sum("gateway_model_routes_total", **{"from": "claude-3-opus", "to": "claude-3-haiku"}) >= 1
    assert page.of("gateway_quota_used")
    assert all("user" in sample.labels for sample in page.of("gateway_quota_used"))


def test_streams_in_flight_are_seen(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.respond(MESSAGES, Answer(chunks=[*anthropic_stream("a")[:3], WaitFor()]))
    with Connection(gateway.port) as connection:
        connection.post(MESSAGES, chat(stream=True), PRO)
        assert connection.answer().read(10)
        eventually(lambda: metrics(gateway).sum("gateway_active_streams") == 1, "one stream in flight")
    eventually(lambda: metrics(gateway).sum("gateway_active_streams") == 0, "no stream in flight")


ODD_NAMES = [
    'x"} 1\nfake 1',
    "x\\",
    "a{b}",
    "🦀",
    "../../x",
    "gpt-4\u2028",
    "claude-opus-9-9",
    "gpt-99",
    "o" * 256,
]


def test_odd_names_do_not_grow_nor_break_the_metrics(gateway: Gateway) -> None:
    def series() -> set[str]:
        page = metrics(gateway)
        named = [*page.of("gateway_model_routes_total"), *page.of("gateway_tokens_total")]
        return {value for sample in named for value in sample.labels.values()}

    for name in ODD_NAMES:
        ask(gateway.port, MESSAGES, chat(name), FREE)
    before = series()
    for number in range(300):
        ask(gateway.port, COMPLETIONS, chat(f"nonsense-{number}"), FREE)
        ask(gateway.port, f"/v1/{number}", chat(), FREE)
    assert series() <= before | {"other"}
    assert not any(name in before for name in ODD_NAMES[:6])
