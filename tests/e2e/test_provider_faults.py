"""An identity provider that lies, stalls and fails, as a client of the gateway sees it."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.issuer import AUDIENCE, DISCOVERY, JWKS, Signer
from tests.servers.script import Answer, CloseNow, Pause, Request, Reset
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

SIGNER, STRANGER = Signer("main"), Signer("stranger")
SECRET, CANARY = "the-clients-secret", "canary-of-the-provider"
DEVICE, TOKEN, REVOKE = "/protocol/device", "/protocol/token", "/protocol/revoke"
BEGUN = {"device_code": "code", "user_code": "ABCD", "verification_uri": "https://idp.example/device"}
UNAVAILABLE = (503, "temporarily_unavailable")
MISCONFIGURED = (500, "server_error")


@pytest.fixture(scope="module")
def scripted_provider() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def provider(scripted_provider: ScriptedUpstream) -> ScriptedUpstream:
    """The provider, in order."""
    server = scripted_provider
    server.forget()
    endpoints = {"device_authorization": DEVICE, "token": TOKEN, "revocation": REVOKE}
    named = {f"{name}_endpoint": f"{server.url}{path}" for name, path in endpoints.items()}
    document = {"issuer": server.url, "jwks_uri": f"{server.url}{JWKS}", **named}
    server.always(DISCOVERY, Answer.json(200, document))
    server.always(JWKS, Answer.json(200, {"keys": [SIGNER.jwk()]}))
    server.always(DEVICE, Answer.json(200, BEGUN))
    server.always(REVOKE, Answer.json(200, {}))
    return server


@pytest.fixture
def gateway(provider: ScriptedUpstream, tmp_path: Any) -> Iterator[Gateway]:
    auth = {"provider": "oidc", "issuer": provider.url, "client_secret": SECRET}
    with Gateway(tmp_path, sign_in_settings(provider.url, auth)) as running:
        yield running
        assert SECRET not in running.log()
        assert CANARY not in running.log()


def token(provider: ScriptedUpstream, signer: Signer = SIGNER, **claims: Any) -> str:
    known = {"iss": provider.url, "aud": AUDIENCE, "sub": "user-1", "scope": "openid", "groups": ["pro"]}
    return signer.token({**known, "exp": int(time.time()) + 300, **claims}).decode()


def begin(gateway: Gateway) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/oauth/device_authorization", data={"surface": "x"}, timeout=30, trust_env=False
    )


def renew(gateway: Gateway) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": "r"}
    return httpx.post(f"{gateway.url}/oauth/token", data=form, timeout=30, trust_env=False)


def redeem(gateway: Gateway) -> httpx.Response:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "code"}
    return httpx.post(f"{gateway.url}/oauth/token", data=form, timeout=30, trust_env=False)


def refused(answer: httpx.Response) -> tuple[int, str]:
    members = answer.json()
    assert set(members) == {"error", "error_description"}
    assert CANARY not in answer.text
    return answer.status_code, members["error"]


def text(status: int, body: str, *headers: tuple[str, str]) -> Answer:
    return Answer(
        status, [("content-type", "text/html"), *headers], [body.encode()], framing="content_length"
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (text(200, f"<html>{CANARY}"), UNAVAILABLE),
        (text(500, f"<html>{CANARY}"), UNAVAILABLE),
        (Answer.json(503, {"error": "server_error", "error_description": CANARY}), UNAVAILABLE),
        (text(302, "", ("location", "http://127.0.0.1:9/canary")), UNAVAILABLE),
        (Answer.json(200, [BEGUN]), UNAVAILABLE),
        (Answer.json(200, BEGUN | {"user_code": 7}), UNAVAILABLE),
        (Answer.json(200, BEGUN | {"verification_uri": None}), UNAVAILABLE),
        (Answer.json(200, BEGUN | {"filler": "x" * 2_000_000}), UNAVAILABLE),
        (Answer.json(200, BEGUN, [("content-encoding", "gzip")]), UNAVAILABLE),
        (Answer(before=[Reset()]), UNAVAILABLE),
        (Answer(chunks=[b'{"device_code":', CloseNow()]), UNAVAILABLE),
        (Answer.json(400, {"error": 5}), UNAVAILABLE),
        (Answer.json(400, {"error": "line\nbreak"}), UNAVAILABLE),
        (Answer.json(400, {"error": "invalid_scope"}), MISCONFIGURED),
        (Answer.json(400, {"error": "unauthorized_client"}), MISCONFIGURED),
        (Answer.json(401, {"error": "invalid_client"}), MISCONFIGURED),
        (Answer.json(400, {"error": "invalid_request"}), (400, "invalid_request")),
    ],
)
def test_what_the_provider_cannot_say_is_told_in_oauths_shape(
    gateway: Gateway, provider: ScriptedUpstream, answer: Answer, told: tuple[int, str]
) -> None:
    provider.always(DEVICE, answer)
    assert refused(begin(gateway)) == told
    provider.always(DEVICE, Answer.json(200, BEGUN))
    assert begin(gateway).status_code == 200, "nothing of it is remembered"


@pytest.mark.parametrize(
    "answer",
    [Answer.never(), Answer(chunks=[b" ", Pause(1)] * 30)],
    ids=["says nothing", "trickles"],
)
def test_a_slow_provider_is_told_of_before_the_client_gives_up(
    gateway: Gateway, provider: ScriptedUpstream, answer: Answer
) -> None:
    provider.always(DEVICE, answer)
    began = time.monotonic()
    assert refused(begin(gateway)) == UNAVAILABLE
    assert time.monotonic() - began < 10


def test_sloppy_answers_are_made_good_ones(gateway: Gateway, provider: ScriptedUpstream) -> None:
    provider.always(DEVICE, Answer.json(200, BEGUN | {"interval": "7", "expires_in": -1, "id_token": CANARY}))
    assert begin(gateway).json() == BEGUN | {"interval": 7, "expires_in": 300}
    granted = {
        "access_token": token(provider),
        "token_type": "bearer",
        "expires_in": "60",
        "id_token": CANARY,
    }
    provider.always(TOKEN, Answer.json(200, granted))
    kept = {"access_token": granted["access_token"], "token_type": "Bearer", "expires_in": 60}
    assert redeem(gateway).json() == kept
    assert renew(gateway).json() == kept | {"refresh_token": "r"}, "without a new one the old one stays good"


@pytest.mark.parametrize(
    "granted", [{}, {"access_token": ""}, {"access_token": 5}, {"access_token": CANARY, "token_type": "DPoP"}]
)
def test_an_answer_without_a_bearer_token_is_none(
    gateway: Gateway, provider: ScriptedUpstream, granted: dict[str, Any]
) -> None:
    provider.always(TOKEN, Answer.json(200, {"token_type": "Bearer"} | granted))
    assert refused(redeem(gateway)) == UNAVAILABLE


def test_a_token_that_we_would_refuse_is_given_back_and_the_operator_told(
    gateway: Gateway, provider: ScriptedUpstream
) -> None:
    stranger = {"access_token": token(provider, STRANGER), "refresh_token": "r", "token_type": "Bearer"}
    provider.always(TOKEN, Answer.json(200, stranger))
    assert refused(redeem(gateway)) == MISCONFIGURED
    assert "llm-gateway check --token" in gateway.log()
    (given_back,) = [request for request in provider.requests if request.path == REVOKE]
    assert b"token=r" in given_back.body
    assert stranger["access_token"] not in gateway.log()


@pytest.mark.parametrize(
    ("description", "shown"),
    [("Account disabled", "Account disabled"), ("a\r\nSet-Cookie: x=y\x1b[31m", "a Set-Cookie: x=y [31m")],
)
def test_the_providers_words_reach_the_client_without_control_characters(
    gateway: Gateway, provider: ScriptedUpstream, description: str, shown: str
) -> None:
    refusal = {"error": "invalid_grant", "error_description": description}
    provider.always(TOKEN, Answer.json(400, refusal))
    answer = renew(gateway)
    assert (answer.status_code, answer.json()["error_description"]) == (401, shown)


def test_a_client_that_shows_its_secret_in_the_form_only_is_found_out_once(
    gateway: Gateway, provider: ScriptedUpstream
) -> None:
    def by_form_only(request: Request) -> Answer:
        if request.header("authorization") is not None or SECRET.encode() not in request.body:
            return Answer.json(401, {"error": "invalid_client"})
        return Answer.json(200, BEGUN)

    provider.always(DEVICE, by_form_only)
    for _ in range(3):
        assert begin(gateway).status_code == 200
    asked = [request for request in provider.requests if request.path == DEVICE]
    assert len(asked) == 4
    basic = base64.b64encode(f"{AUDIENCE}:{SECRET}".encode()).decode()
    assert asked[0].header("authorization") == f"Basic {basic}"


def test_revoking_is_fine_whatever_the_provider_says(gateway: Gateway, provider: ScriptedUpstream) -> None:
    for answer in (text(200, ""), Answer.json(400, {"error": "unsupported_token_type"})):
        provider.always(REVOKE, answer)
        found = httpx.post(f"{gateway.url}/oauth/revoke", data={"token": "x"}, trust_env=False)
        assert (found.status_code, found.json()) == (200, {})


def test_many_who_wait_for_a_slow_provider_leave_the_others_their_answers(
    gateway: Gateway, provider: ScriptedUpstream
) -> None:
    provider.always(DEVICE, Answer(before=[Pause(3)], chunks=[json.dumps(BEGUN).encode()]))
    limits = httpx.Limits(max_connections=200)

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(timeout=30, limits=limits, trust_env=False) as client:
            url = f"{gateway.url}/oauth/device_authorization"
            asked = [client.post(url, data={"surface": "x"}) for _ in range(150)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(crowd())
    assert set(statuses) == {200, 503}
    # More than 64 only where a slow machine sends the last after the first were answered.
    assert statuses.count(200) >= 64
    assert httpx.get(f"{gateway.url}/health", timeout=5, trust_env=False).status_code == 200


def test_a_provider_that_comes_up_later_is_found(gateway: Gateway, provider: ScriptedUpstream) -> None:
    document = provider.take(Request("GET", DISCOVERY, [], b"", 0, 0.0))
    provider.always(DISCOVERY, text(503, ""))
    assert refused(begin(gateway)) == UNAVAILABLE
    provider.always(DISCOVERY, document)
    eventually(lambda: begin(gateway).status_code == 200, "found")
    provider.always(DISCOVERY, text(503, ""))
    assert begin(gateway).status_code == 200, "its endpoints are where they were"
