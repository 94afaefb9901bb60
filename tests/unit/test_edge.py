import pytest

from llm_gateway.asgi.edge import check
from llm_gateway.errors import Fault


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"application/json")],
        [(b"content-type", b"Application/JSON; charset=utf-8")],
        [(b"content-encoding", b"identity"), (b"accept", b"text/plain")],
        [(b"content-encoding", b" Identity ")],
    ],
)
def test_lets_plain_json_pass(headers: list[tuple[bytes, bytes]]) -> None:
    check(headers)


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"text/plain"),
        (b"content-type", b"text/plain; application/json"),
        (b"content-type", b"application/json5"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-type", b""),
        (b"content-encoding", b"gzip"),
        (b"content-encoding", b"identity, gzip"),
        (b"content-encoding", b""),
    ],
)
def test_refuses_everything_else_wherever_it_stands(header: tuple[bytes, bytes]) -> None:
    good = [(b"content-type", b"application/json")]
    for headers in ([header], [*good, header], [header, *good]):
        with pytest.raises(Fault) as raised:
            check(headers)
        assert raised.value.kind == "unsupported_media_type"
        assert header[0].decode() in raised.value.message
