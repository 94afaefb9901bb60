"""The official SDKs through the gateway: what they parse, and which exception each failure becomes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic.types import MessageParam
from openai.types.chat import ChatCompletionUserMessageParam

from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, Reset, ScriptedUpstream, anthropic_stream, openai_stream

LIMIT = 3
BODY_BYTES = 64 * 1024
SETTINGS: dict[str, Any] = {
    "tiers": {"free": {"quota": [{"unit": "requests", "period": "day", "limit": LIMIT}]}},
    "limits": {"body_bytes": BODY_BYTES},
}
CLAUDE_ASK: list[MessageParam] = [{"role": "user", "content": "hi"}]
CHAT_ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, ScriptedUpstream]]:
    folder = tmp_path_factory.mktemp("sdks")
    with ScriptedUpstream() as upstream, Gateway(folder, settings(upstream.url, **SETTINGS)) as gateway:
        yield gateway, upstream


@pytest.fixture
def upstream(servers: tuple[Gateway, ScriptedUpstream]) -> ScriptedUpstream:
    servers[1].forget()
    return servers[1]


@pytest.fixture
def gateway(servers: tuple[Gateway, ScriptedUpstream], upstream: ScriptedUpstream) -> Gateway:
    return servers[0]


@pytest.fixture
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    """With the SDK's own number of retries, as people use it."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=ENTERPRISE) as client:
        yield client


@pytest.fixture
def chat(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ENTERPRISE) as client:
        yield client


@contextmanager
def _counted_claude(gateway: Gateway, key: str) -> Iterator[tuple[anthropic.Anthropic, list[httpx.Request]]]:
    """The SDK as people use it, retries and all, and every request that it makes."""
    attempts: list[httpx.Request] = []
    http_client = anthropic.DefaultHttpxClient(event_hooks={"request": [attempts.append]})
    with anthropic.Anthropic(base_url=gateway.url, api_key=key, http_client=http_client) as client:
        yield client, attempts


@contextmanager
def _counted_chat(gateway: Gateway, key: str) -> Iterator[tuple[openai.OpenAI, list[httpx.Request]]]:
    attempts: list[httpx.Request] = []
    http_client = openai.DefaultHttpxClient(event_hooks={"request": [attempts.append]})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, http_client=http_client) as client:
        yield client, attempts


def _ask_claude(client: anthropic.Anthropic, model: str = "claude-opus-5-5") -> anthropic.types.Message:
    return client.messages.create(model=model, max_tokens=100, messages=CLAUDE_ASK)


def _ask_chat(client: openai.OpenAI, model: str = "gpt-4") -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model=model, messages=CHAT_ASK)


def test_anthropic_answers_whole_and_streamed(claude: anthropic.Anthropic) -> None:
    message = _ask_claude(claude)
    assert message.content[0].type == "text"
    assert message.content[0].text == "hello there"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)
    assert message._request_id
    assert message._request_id.startswith("req_")
    with claude.messages.stream(model="claude-opus-5-5", max_tokens=100, messages=CLAUDE_ASK) as stream:
        assert list(stream.text_stream) == ["hello", " there"]
        assert stream.get_final_message().usage.output_tokens == 7
    events = claude.messages.create(model="claude-opus-5-5", max_tokens=100, messages=CLAUDE_ASK, stream=True)
    assert [event.type for event in events][-1] == "message_stop"


def test_anthropic_counts_tokens(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="claude-opus-5-5", messages=CLAUDE_ASK).input_tokens == 11


def test_openai_answers_whole_and_streamed(chat: openai.OpenAI) -> None:
    completion = _ask_chat(chat)
    assert completion.choices[0].message.content == "hello there"
    assert completion.usage
    assert completion.usage.total_tokens == 18
    assert completion._request_id
    chunks = list(
        chat.chat.completions.create(
            model="gpt-4", messages=CHAT_ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(word or "" for word in words) == "hello there"
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 18


def test_models_are_those_of_the_tier_in_both_shapes(gateway: Gateway) -> None:
    internal = ["qwen3-32b", "claude-internal-qwen3-32b"]
    for key, expected in [(FREE, internal), (PRO, [*internal, "claude-3-haiku"])]:
        claude = anthropic.Anthropic(base_url=gateway.url, api_key=key)
        chat = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key)
        with claude, chat:
            assert [model.id for model in claude.models.list()] == expected
            assert [model.id for model in chat.models.list()] == expected
            assert claude.models.retrieve(expected[-1]).type == "model"
            assert chat.models.retrieve(expected[-1]).object == "model"
            with pytest.raises(anthropic.NotFoundError, match="no such model on the"):
                claude.models.retrieve("claude-3-opus")
            with pytest.raises(openai.NotFoundError, match="no such model on the"):
                chat.models.retrieve("claude-3-opus")


def test_an_unknown_token_is_an_authentication_error_at_once(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    told = "the credential is not valid"
    with _counted_claude(gateway, "nobodys") as (claude, attempts):
        with pytest.raises(anthropic.AuthenticationError, match=told) as refused:
            _ask_claude(claude)
        assert refused.value.type == "authentication_error"
        assert len(attempts) == 1
    with _counted_chat(gateway, "nobodys") as (chat, attempts):
        with pytest.raises(openai.AuthenticationError, match=told) as refused_chat:
            _ask_chat(chat)
        assert refused_chat.value.code == "invalid_api_key"
        assert len(attempts) == 1
    assert not upstream.requests


@pytest.mark.parametrize("model", ["mystery-9000", "x" * 200, "claude 3"])
def test_a_model_that_the_tier_lacks_is_a_bad_request_that_names_those_it_has(
    gateway: Gateway, upstream: ScriptedUpstream, model: str
) -> None:
    told = r"not available on the pro tier; available: qwen3-32b, claude-3-haiku"
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=PRO) as claude,
        pytest.raises(anthropic.BadRequestError, match=told) as refused,
    ):
        _ask_claude(claude, model)
    assert refused.value.type == "invalid_request_error"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=PRO) as chat,
        pytest.raises(openai.BadRequestError, match=told) as refused_chat,
    ):
        _ask_chat(chat, model)
    assert refused_chat.value.param == "model"
    assert not upstream.requests


def test_a_used_up_quota_is_a_rate_limit_error_that_no_sdk_repeats(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    told = f"the free tier's quota of {LIMIT} requests per day is used up"
    with _counted_claude(gateway, FREE) as (claude, attempts):
        for _ in range(LIMIT):
            _ask_claude(claude)
        with pytest.raises(anthropic.RateLimitError, match=told) as refused:
            _ask_claude(claude)
        assert 0 < int(refused.value.response.headers["retry-after"]) <= 24 * 3600
        assert len(attempts) == LIMIT + 1
        assert claude.messages.count_tokens(model="claude-opus-5-5", messages=CLAUDE_ASK).input_tokens == 11
    with _counted_chat(gateway, FREE) as (chat, attempts):
        with pytest.raises(openai.RateLimitError, match=told) as refused_chat:
            _ask_chat(chat)
        assert refused_chat.value.code == "insufficient_quota"
        assert len(attempts) == 1
    assert [request.path for request in upstream.requests] == ["/v1/messages"] * LIMIT + [
        "/v1/messages/count_tokens"
    ]


def test_a_path_that_is_not_there_is_a_not_found_error(
    claude: anthropic.Anthropic, chat: openai.OpenAI
) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.post("/v1/nothing", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        chat.post("/nothing", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        chat.embeddings.create(model="m", input="hi")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"body": {"model": "claude-opus-5-5", "pad": "x" * BODY_BYTES}}, 413),
        ({"body": {"model": "claude-opus-5-5"}, "options": {"headers": {"content-type": "text/plain"}}}, 415),
    ],
)
def test_a_body_that_is_not_taken_is_told_by_its_status(
    claude: anthropic.Anthropic,
    chat: openai.OpenAI,
    upstream: ScriptedUpstream,
    options: dict[str, Any],
    status: int,
) -> None:
    with pytest.raises(anthropic.APIStatusError) as refused:
        claude.post("/v1/messages", cast_to=object, **options)
    assert refused.value.status_code == status
    assert refused.value.type in {"request_too_large", "invalid_request_error"}
    with pytest.raises(openai.APIStatusError) as refused_chat:
        chat.post("/chat/completions", cast_to=object, **options)
    assert refused_chat.value.status_code == status
    assert not upstream.requests


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
def test_what_the_upstream_says_of_an_error_arrives_unchanged(
    claude: anthropic.Anthropic,
    upstream: ScriptedUpstream,
    status: int,
    kind: str,
    expected: type[anthropic.APIStatusError],
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": "its own words"}, "request_id": "req_up"}
    upstream.always("/v1/messages", Answer.json(status, body, [("retry-after-ms", "1")]))
    with pytest.raises(expected, match="its own words") as failed:
        _ask_claude(claude)
    assert failed.value.status_code == status
    assert failed.value.body == body
    repeated = status in {429, 500, 529}
    assert len(upstream.requests) == (3 if repeated else 1)


def test_what_an_openai_upstream_says_of_an_error_arrives_unchanged(
    chat: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    error = {"message": "its own words", "type": "invalid_request_error", "param": "tools", "code": "bad"}
    upstream.respond("/v1/chat/completions", Answer.json(400, {"error": error}))
    with pytest.raises(openai.BadRequestError, match="its own words") as failed:
        _ask_chat(chat)
    assert failed.value.body == error
    assert (failed.value.param, failed.value.code) == ("tools", "bad")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_of_the_gateways_own_is_not_the_subscribers_fault(
    claude: anthropic.Anthropic, upstream: ScriptedUpstream, status: int
) -> None:
    error = {"type": "authentication_error", "message": "invalid x-api-key sk-ant-canary"}
    upstream.always("/v1/messages", Answer.json(status, {"type": "error", "error": error}))
    with pytest.raises(anthropic.APIStatusError) as failed:
        _ask_claude(claude.with_options(max_retries=0))
    assert failed.value.status_code >= 500
    assert "canary" not in str(failed.value)


def test_an_upstream_that_is_not_there_is_an_internal_server_error(tmp_path: Path) -> None:
    with (
        Gateway(tmp_path, settings("http://127.0.0.1:9")) as gateway,
        anthropic.Anthropic(base_url=gateway.url, api_key=ENTERPRISE, max_retries=0) as claude,
        pytest.raises(anthropic.InternalServerError, match="cannot be reached") as failed,
    ):
        _ask_claude(claude)
    assert failed.value.status_code == 502


def test_a_stream_that_breaks_raises_and_never_looks_whole(
    claude: anthropic.Anthropic, chat: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    upstream.respond("/v1/messages", Answer(chunks=[*anthropic_stream("half")[:3], Reset()]))
    upstream.respond("/v1/chat/completions", Answer(chunks=[*openai_stream("half")[:2], Reset()]))
    with (
        pytest.raises(anthropic.APIStatusError, match="broke"),
        claude.messages.stream(model="claude-opus-5-5", max_tokens=100, messages=CLAUDE_ASK) as stream,
    ):
        stream.until_done()
    with pytest.raises(openai.APIError, match="broke"):
        list(chat.chat.completions.create(model="gpt-4", messages=CHAT_ASK, stream=True))
