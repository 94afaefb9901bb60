from typing import Any

import pytest

from llm_gateway.asgi.request import FORM_BYTES, Request
from llm_gateway.asgi.types import Message
from llm_gateway.config.schema import Limits, Server
from llm_gateway.errors import Fault

pytestmark = pytest.mark.anyio

FORM = (b"content-type", b"application/x-www-form-urlencoded")


def request(
    body: bytes = b"",
    *headers: tuple[bytes, bytes],
    query: bytes = b"",
    client: str = "10.1.2.3",
    server: Server | None = None,
) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    length = (b"content-length", str(len(body)).encode())
    scope: dict[str, Any] = {
        "headers": [*headers, length],
        "scheme": "http",
        "query_string": query,
        "client": (client, 4711),
    }
    return Request(scope, receive, server or Server())


async def refusal(of: Request) -> str:
    with pytest.raises(Fault) as raised:
        await of.form(Limits())
    return raised.value.kind


async def test_a_form_is_its_fields() -> None:
    fields = await request(b"a=1&b=%C3%BC+x&c=", FORM).form(Limits())
    assert fields == {"a": "1", "b": "ü x", "c": ""}


@pytest.mark.parametrize(
    "body", [b"a=1&a=2", b"a=%ff", b"\xff=1", b"&".join(b"f%d=" % number for number in range(65))]
)
async def test_a_form_that_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    assert await refusal(request(body, FORM)) == "invalid_request"


@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=x", b"text/plain"])
async def test_another_body_is_no_form(kind: bytes) -> None:
    assert await refusal(request(b"a=1", (b"content-type", kind))) == "unsupported_media_type"


async def test_a_form_is_small() -> None:
    assert await refusal(request(b"a=" + b"x" * FORM_BYTES, FORM)) == "too_large"


def test_a_query_is_decoded() -> None:
    assert request(query=b"code=a%2Fb&state=c&empty=").query() == {"code": "a/b", "state": "c", "empty": ""}


HOST = (b"host", b"gateway.example:8443")
FORWARDED = [(b"x-forwarded-host", b"public.example"), (b"x-forwarded-proto", b"https")]


def test_the_configured_address_beats_all_others() -> None:
    server = Server(public_url="https://llm.example", trusted_proxies=("10.0.0.0/8",))
    assert request(b"", HOST, *FORWARDED, server=server).base_url() == "https://llm.example"


def test_the_address_is_the_one_that_was_asked_for() -> None:
    assert request(b"", HOST).base_url() == "http://gateway.example:8443"
    assert request().base_url() == "http://localhost:8000"


@pytest.mark.parametrize("networks", [(), ("192.168.0.0/16",), ("10.1.2.4",)])
def test_a_stranger_cannot_say_what_the_address_is(networks: tuple[str, ...]) -> None:
    asked = request(b"", HOST, *FORWARDED, server=Server(trusted_proxies=networks))
    assert asked.base_url() == "http://gateway.example:8443"


@pytest.mark.parametrize("networks", [("10.0.0.0/8",), ("192.168.0.0/16", "10.1.2.3")])
def test_a_trusted_proxy_says_what_the_address_is(networks: tuple[str, ...]) -> None:
    asked = request(b"", HOST, *FORWARDED, server=Server(trusted_proxies=networks))
    assert asked.base_url() == "https://public.example"


def test_a_trusted_proxy_can_name_no_other_scheme() -> None:
    server = Server(trusted_proxies=("10.0.0.0/8",))
    asked = request(b"", HOST, (b"x-forwarded-proto", b"javascript"), server=server)
    assert asked.base_url() == "http://gateway.example:8443"


def cookies(asked: Request, sent: str) -> Request:
    return Request(
        {**asked.scope, "headers": [*asked.headers, (b"cookie", sent.encode())]}, asked.receive, asked.server
    )


def test_a_cookie_comes_back_as_it_was_set() -> None:
    for server in (Server(), Server(public_url="https://llm.example")):
        asked = request(b"", HOST, server=server)
        name, value = asked.set_cookie("session", "a.b-c_d", 60)
        pair = value.decode().partition(";")[0]
        assert name == b"set-cookie"
        assert cookies(asked, f"other=1; {pair}; session2=x").cookie("session") == "a.b-c_d"
        assert cookies(asked, "other=1; xsession=2").cookie("session") is None
        assert asked.cookie("session") is None


def test_a_cookie_is_for_this_host_this_site_and_no_script() -> None:
    encrypted = request(b"", HOST, server=Server(public_url="https://llm.example"))
    value = encrypted.set_cookie("session", "x", 60)[1]
    assert value == b"__Host-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    # Without TLS there is neither the prefix nor the promise.
    assert request(b"", HOST).set_cookie("session", "", 0)[1] == (
        b"session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    )


def test_a_cookie_of_a_connection_in_clear_is_none_where_there_is_tls() -> None:
    encrypted = request(b"", HOST, server=Server(public_url="https://llm.example"))
    assert cookies(encrypted, "session=x").cookie("session") is None
