"""Whose certificates an upstream may show; nothing turns the checks off."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers.certificates import Authority
from tests.servers.connection import ask, chat
from tests.servers.gateway import ENTERPRISE, Gateway, settings
from tests.servers.scripted import ScriptedUpstream
from tests.servers.shapes import problem

MESSAGES = "/v1/messages"


class Tls:
    """Upstreams whose certificates are right, or wrong in one way each."""

    def __init__(self, folder: Path) -> None:
        trusted, stranger = Authority(folder / "trusted"), Authority(folder / "stranger")
        contexts = {
            "good": trusted.certify("127.0.0.1"),
            "stranger": stranger.certify("127.0.0.1"),
            "other-name": trusted.certify("other.example"),
            "expired": trusted.certify("127.0.0.1", is_expired=True),
        }
        self.upstreams = {name: ScriptedUpstream(ssl_context=context) for name, context in contexts.items()}
        self.ca_file = str(trusted.ca_file)

    def config(self) -> dict[str, Any]:
        config = settings("http://127.0.0.1:9")
        for name, upstream in self.upstreams.items():
            one = {
                "urls": [upstream.url],
                "apis": ["anthropic"],
                "api_key": "upstream-key",
                "ca_file": self.ca_file,
            }
            config["upstreams"][name] = one
        config["upstreams"]["system-roots"] = {"urls": [self.upstreams["good"].url], "apis": ["anthropic"]}
        names = [*self.upstreams, "system-roots"]
        config["models"] = [{"id": name, "class": "tls", "upstream": name} for name in names]
        return config


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tls, Gateway]]:
    folder = tmp_path_factory.mktemp("tls")
    tls = Tls(folder)
    with ExitStack() as stack:
        for upstream in tls.upstreams.values():
            stack.enter_context(upstream)
        yield tls, stack.enter_context(Gateway(folder, tls.config()))


def test_a_certificate_of_a_configured_authority_is_accepted(tls: tuple[Tls, Gateway]) -> None:
    servers, gateway = tls
    for streamed in (True, False):
        assert ask(gateway.port, MESSAGES, chat("good", streamed), ENTERPRISE).status == 200
    assert len(servers.upstreams["good"].requests) == 2
    assert servers.upstreams["good"].connections == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("stranger", "UnknownIssuer"),
        ("system-roots", "UnknownIssuer"),
        ("other-name", "not valid for name"),
        ("expired", "Expired"),
    ],
)
def test_a_certificate_that_is_not_right_gets_no_byte_of_a_request(
    tls: tuple[Tls, Gateway], name: str, why: str
) -> None:
    servers, gateway = tls
    upstream = servers.upstreams.get(name, servers.upstreams["good"])
    upstream.forget()
    reply = ask(gateway.port, MESSAGES, chat(name), ENTERPRISE)
    assert reply.status == 502
    assert "cannot be reached" in problem(reply, "anthropic").message
    assert upstream.requests == []
    assert why.lower() in gateway.wait_for_record(reply.header("request-id"))["detail"].lower()
