"""A server with `apis: auto` is asked once what it speaks: that passes as it is, the rest is translated."""

import json
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.servers.answers import default_answer
from tests.servers.command import llm_gateway
from tests.servers.connection import Reply, ask, chat, used
from tests.servers.gateway import FREE, Gateway, free_port, settings
from tests.servers.script import Request
from tests.servers.scripted import Answer, Gate, ScriptedUpstream, WaitFor
from tests.servers.shapes import Dialect, problem
from tests.servers.waiting import eventually

PATHS: dict[Dialect, str] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
MODELS = "/v1/models"
VLLM = {"object": "list", "data": [{"id": "qwen3-32b", "owned_by": "vllm", "max_model_len": 8192}]}
# vLLM's words for an empty object, and for a path that it does not have.
EMPTY = {"error": {"message": "Field required", "type": "Bad Request", "param": "body.messages", "code": 400}}
NOT_FOUND = {"detail": "Not Found"}


def config(url: str, **more: Any) -> dict[str, Any]:
    """Settings with the free tier at that server, which is asked."""
    made = settings(url, tiers={"free": {"quota": [{"limit": 100_000}]}})
    made["upstreams"]["internal"] = {"urls": [url], "apis": "auto", **more}
    return made


def speak(upstream: ScriptedUpstream, *apis: Dialect) -> None:
    """Makes it a vLLM with these APIs and no others."""
    upstream.forget()
    upstream.always(MODELS, Answer.json(200, VLLM))
    for api, path in PATHS.items():
        if api in apis:
            upstream.always(path, lambda request: _asked_or_answered(request))
        else:
            upstream.always(path, Answer.json(404, NOT_FOUND))


def _asked_or_answered(request: Request) -> Answer:
    return Answer.json(400, EMPTY) if request.body == b"{}" else default_answer(request)


def questions(upstream: ScriptedUpstream) -> list[tuple[str, str]]:
    """What the gateway wanted to know itself."""
    asked = [request for request in upstream.requests if request.body in (b"", b"{}")]
    return [(request.method, request.path) for request in asked]


def answered(gateway: Gateway, api: Dialect, **members: Any) -> Reply:
    return ask(gateway.port, PATHS[api], chat("qwen3-32b", **members), FREE)


def said_at_start(gateway: Gateway) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in gateway.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == "upstream_asked"]


@pytest.mark.parametrize(
    ("spoken", "called"),
    [
        (["anthropic", "openai"], {"anthropic": "anthropic", "openai": "openai"}),
        (["openai"], {"anthropic": "openai", "openai": "openai"}),
        (["anthropic"], {"anthropic": "anthropic", "openai": "anthropic"}),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, list) else "",
)
def test_what_a_server_speaks_passes_and_the_rest_is_translated(
    upstream: ScriptedUpstream, tmp_path: Path, spoken: list[Dialect], called: dict[Dialect, Dialect]
) -> None:
    speak(upstream, *spoken)
    with Gateway(tmp_path, config(upstream.url)) as gateway:
        for client, api in called.items():
            for streamed in (False, True):
                reply = answered(gateway, client, stream=streamed)
                assert reply.status == 200, reply
                assert b"hello" in reply.body
                assert upstream.requests[-1].path == PATHS[api]
        asked = questions(upstream)
        eventually(lambda: bool(said_at_start(gateway)), "a line in the log")
        (line,) = said_at_start(gateway)
    assert sorted(asked) == sorted([("GET", MODELS), *(("POST", path) for path in PATHS.values())])
    assert (line["upstream"], line["level"]) == ("internal", "info")
    assert line["speaks"] == f"{' and '.join(spoken)} (vllm, 8192 tokens)"


def test_the_window_that_a_server_told_is_kept_to(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    speak(upstream, "openai")
    with Gateway(tmp_path, config(upstream.url)) as gateway:
        for asked, sent in [(8191, 8191), (8192, None), (128_000, None)]:
            assert answered(gateway, "anthropic", max_tokens=asked).status == 200
            assert upstream.requests[-1].json().get("max_tokens") == sent


def test_no_more_is_asked_of_a_server_in_its_own_api_than_its_window_holds(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    speak(upstream, "anthropic", "openai")
    with Gateway(tmp_path, config(upstream.url)) as gateway:
        reply = answered(gateway, "anthropic", max_tokens=128_000)
        assert reply.status == 200
        sent = upstream.requests[-1]
        assert sent.path == PATHS["anthropic"]
        assert 7000 < sent.json()["max_tokens"] < 8192
        assert reply.header("x-gateway-dropped") == f"max_tokens>{sent.json()['max_tokens']}"


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_server_whose_api_is_configured_is_asked_for_its_window_when_it_matters(
    upstream: ScriptedUpstream, tmp_path: Path, api: Dialect
) -> None:
    speak(upstream, api)
    with Gateway(tmp_path, config(upstream.url, apis=[api])) as gateway:
        assert answered(gateway, "anthropic", max_tokens=1000).status == 200
        assert questions(upstream) == []
        for _ in range(2):
            assert answered(gateway, "anthropic", max_tokens=128_000).status == 200
            assert upstream.requests[-1].json().get("max_tokens", 0) < 8192
        assert questions(upstream) == [("GET", MODELS)]


def test_twenty_first_requests_ask_once(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    speak(upstream, "openai")
    gate = Gate()
    held = Answer(404, [("content-length", "0")], framing="content_length", before=[WaitFor(gate)])
    upstream.respond(PATHS["anthropic"], held)
    with Gateway(tmp_path, config(upstream.url)) as gateway, ThreadPoolExecutor(20) as pool:
        replies = [pool.submit(answered, gateway, "anthropic") for _ in range(20)]
        upstream.wait_for_requests(1)
        assert questions(upstream) == [("POST", PATHS["anthropic"])]
        gate.open()
        assert {reply.result().status for reply in replies} == {200}
        assert len(questions(upstream)) == 3
        assert used(gateway.port, FREE) == 20


def test_a_server_that_is_not_ready_is_asked_again(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    speak(upstream, "openai")
    upstream.always(PATHS["anthropic"], Answer.json(503, {"error": "loading the model"}))
    with Gateway(tmp_path, config(upstream.url)) as gateway:
        eventually(lambda: bool(said_at_start(gateway)), "a line in the log")
        refused = answered(gateway, "anthropic")
        assert refused.status == 529
        assert problem(refused, "anthropic").kind == "overloaded_error"
        assert int(refused.header("retry-after") or 0) > 0
        (line,) = said_at_start(gateway)
        assert line["level"] == "warning"
        assert "503" in line["problem"]
        speak(upstream, "openai")
        eventually(lambda: answered(gateway, "anthropic").status == 200, "an answer")
        assert len(questions(upstream)) == 3
        assert used(gateway.port, FREE) == 1


def test_a_server_that_comes_up_late_is_served(tmp_path: Path) -> None:
    port = free_port()
    with Gateway(tmp_path, config(f"http://127.0.0.1:{port}")) as gateway:
        refused = answered(gateway, "anthropic")
        assert refused.status == 502
        assert "cannot be reached" in problem(refused, "anthropic").message
        server = ThreadingHTTPServer(("127.0.0.1", port), _ChatOnly)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            eventually(lambda: answered(gateway, "anthropic").status == 200, "an answer")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert used(gateway.port, FREE) == 1


class _ChatOnly(BaseHTTPRequestHandler):
    """A server of the OpenAI API alone."""

    # It keeps connections, as the heads of its answers say.
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = Request("POST", self.path, list(self.headers.items()), body, 1, 0.0)
        here = self.path == PATHS["openai"]
        answer = _asked_or_answered(request) if here else Answer.json(404, NOT_FOUND)
        self.wfile.write(answer.head() + b"".join(part for part in answer.chunks if isinstance(part, bytes)))

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize(
    ("spoken", "words"),
    [
        (["anthropic", "openai"], "speaks anthropic and openai (vllm, 8192 tokens)"),
        (["openai"], "speaks openai (vllm, 8192 tokens)"),
        ([], "the upstream speaks neither the Anthropic nor the OpenAI API"),
    ],
    ids=["both", "one", "none"],
)
def test_check_says_what_a_server_speaks(
    upstream: ScriptedUpstream, tmp_path: Path, spoken: list[Dialect], words: str
) -> None:
    speak(upstream, *spoken)
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), **config(upstream.url)}))
    ended = llm_gateway("check", "--config", str(file))
    (line,) = [line for line in ended.stdout.splitlines() if "upstream internal" in line]
    assert words in line
    assert line[0] == ("✓" if spoken else "✗")
    assert ended.returncode == (0 if spoken else 1)
