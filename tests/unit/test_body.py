import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.asgi import body
from llm_gateway.asgi.types import Headers, Message
from llm_gateway.config.schema import Limits
from llm_gateway.errors import Fault

LIMITS = Limits(body_bytes=100, body_base_s=0.05, body_bytes_per_s=10_000)
LEFT: Message = {"type": "http.disconnect"}
NOTHING: Headers = []


class Received:
    """A server that hands out these messages, and then nothing."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.calls = 0

    async def __call__(self) -> Message:
        self.calls += 1
        if self.messages:
            return self.messages.pop(0)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def part(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def length(bytes_: int) -> Headers:
    return [(b"content-type", b"application/json"), (b"content-length", str(bytes_).encode())]


def read(received: Received, headers: Headers = NOTHING, **limits: Any) -> bytes:
    settings = Limits(**{name: getattr(LIMITS, name) for name in LIMITS.__struct_fields__} | limits)
    return asyncio.run(body.read(headers, received, settings))


def refusal(received: Received, headers: Headers = NOTHING) -> str:
    with pytest.raises(Fault) as raised:
        read(received, headers)
    return raised.value.kind


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=8))
def test_joins_parts_however_they_are_cut(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    messages = [part(data) for data in parts]
    assert read(Received(*messages, part(b"", False))) == whole
    if whole:
        assert read(Received(*messages), length(len(whole))) == whole


def test_stops_at_the_declared_length_without_another_round_trip() -> None:
    received = Received(part(b"abc"), part(b"", False))
    assert read(received, length(3)) == b"abc"
    assert received.calls == 1


def test_asks_for_nothing_where_nothing_was_declared() -> None:
    received = Received()
    assert read(received, length(0)) == b""
    assert received.calls == 0


def test_admits_exactly_the_limit() -> None:
    assert len(read(Received(part(b"x" * 100, False)))) == 100
    assert len(read(Received(part(b"x" * 100)), length(100))) == 100


def test_refuses_a_declared_length_above_the_limit_before_reading() -> None:
    received = Received(part(b"x" * 101))
    assert refusal(received, length(101)) == "too_large"
    assert received.calls == 0


@pytest.mark.parametrize("parts", [[101], [50, 51], [99, 1, 1]])
@pytest.mark.parametrize("is_last", [True, False])
def test_refuses_a_chunked_body_as_soon_as_it_is_above_the_limit(parts: list[int], is_last: bool) -> None:
    messages = [part(b"x" * size) for size in parts]
    messages[-1]["more_body"] = not is_last
    received = Received(*messages, part(b"never read"))
    assert refusal(received) == "too_large"
    assert received.calls == len(parts)


@pytest.mark.parametrize("headers", [NOTHING, length(50)])
@pytest.mark.parametrize("before", [[], [part(b"x" * 10)]])
def test_a_body_that_is_cut_off_is_a_client_that_left(headers: Headers, before: list[Message]) -> None:
    assert refusal(Received(*before, LEFT), headers) == "canceled"


@pytest.mark.parametrize("before", [[], [part(b"x" * 10)]])
def test_a_body_that_does_not_arrive_is_given_up(before: list[Message]) -> None:
    assert refusal(Received(*before), length(50)) == "request_timeout"
    assert refusal(Received(*before)) == "request_timeout"


def test_a_larger_body_may_take_longer() -> None:
    assert body._deadline_s(LIMITS, 100) == pytest.approx(0.06)
    assert body._deadline_s(LIMITS, None) == pytest.approx(0.06)
    assert body._deadline_s(LIMITS, 0) == pytest.approx(0.05)


def test_discards_a_refused_body_so_that_the_connection_can_go_on() -> None:
    received = Received(part(b"abc"), part(b"def"), part(b"", False))
    asyncio.run(body.discard(length(6), received))
    assert received.calls == 2


def test_discards_within_bounds() -> None:
    for headers in (NOTHING, length(0), length(body.DISCARD_BYTES + 1)):
        received = Received(part(b"abc"))
        asyncio.run(body.discard(headers, received))
        assert received.calls == 0
    asyncio.run(body.discard(length(6), Received(part(b"abc"), LEFT)))


def test_gives_up_discarding_what_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "DISCARD_S", 0.01)
    asyncio.run(body.discard(length(6), Received(part(b"abc"))))
