"""What `llm-gateway check` says of signing in, personal keys and telemetry, where providers behave oddly."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.cli import check_sign_in
from llm_gateway.config.load import load
from llm_gateway.config.schema import Auth, Telemetry
from tests.servers.gateway import free_port
from tests.servers.issuer import DISCOVERY, ScriptedIssuer, reply

pytestmark = pytest.mark.anyio

DEVICE, TOKEN, COLLECTOR = "/device", "/token", "/v1/metrics"


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedIssuer]:
    """A provider that lets the client begin a sign-in."""
    async with ScriptedIssuer() as scripted:
        discovered(scripted)
        scripted.scripts[DEVICE] = reply('{"device_code": "code", "user_code": "user"}')
        scripted.scripts[TOKEN] = reply('{"access_token": "token"}')
        yield scripted


def discovered(provider: ScriptedIssuer, *without: str) -> None:
    """Makes the provider's discovery document name all endpoints but these."""
    document = {
        "issuer": provider.url,
        "device_authorization_endpoint": provider.url + DEVICE,
        "token_endpoint": provider.url + TOKEN,
        "revocation_endpoint": f"{provider.url}/revoke",
        "introspection_endpoint": f"{provider.url}/introspect",
    }
    found = {name: url for name, url in document.items() if name not in without}
    provider.scripts[DISCOVERY] = reply(json.dumps(found))


def refusing(provider: ScriptedIssuer, path: str, error: str, status: str = "400 Bad Request") -> None:
    provider.scripts[path] = reply(json.dumps({"error": error, "error_description": "No."}), status=status)


async def said(provider: ScriptedIssuer, **auth: Any) -> tuple[bool, str]:
    return await check_sign_in.sign_in(
        Auth(**{"provider": "keycloak", "issuer": provider.url, "client_secret": "s", **auth})
    )


async def test_a_client_that_may_begin_a_sign_in_is_well(provider: ScriptedIssuer) -> None:
    assert await said(provider) == (True, "ok (the client llm-gateway may begin a sign-in)")
    assert provider.requests[TOKEN] == 0


async def test_says_which_endpoints_there_are_not(provider: ScriptedIssuer) -> None:
    discovered(provider, "revocation_endpoint", "introspection_endpoint")
    well, text = await said(provider)
    assert well
    assert text.endswith("the provider has no revocation and no introspection endpoint)")
    assert await said(provider, introspect=True) == (
        False,
        "the provider has no introspection endpoint; set auth.introspect to false",
    )


async def test_a_provider_without_device_grants_is_only_not_in_use(provider: ScriptedIssuer) -> None:
    discovered(provider, "device_authorization_endpoint")
    well, text = await said(provider)
    assert (well, text.startswith("not in use")) == (True, True)
    discovered(provider, "token_endpoint")
    assert (await said(provider))[0] is False


@pytest.mark.parametrize(
    ("error", "status", "advice"),
    [
        ("invalid_client", "401 Unauthorized", "look at OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"),
        ("unauthorized_client", "401 Unauthorized", "look at OIDC_CLIENT_SECRET"),
        ("unauthorized_client", "400 Bad Request", "let the client begin device grants"),
        ("invalid_scope", "400 Bad Request", "take them out of auth.scopes"),
        ("invalid_request", "400 Bad Request", "do not make PKCE compulsory"),
        ("something_else", "400 Bad Request", "look at the client there"),
    ],
)
async def test_a_refused_client_is_not_well_and_the_words_say_where_to_look(
    error: str, status: str, advice: str, provider: ScriptedIssuer
) -> None:
    refusing(provider, DEVICE, error, status)
    well, text = await said(provider)
    assert not well
    assert f"({error}: No); " in text
    assert advice in text


async def test_without_a_secret_tokens_are_checked_and_nobody_signs_in(provider: ScriptedIssuer) -> None:
    refusing(provider, DEVICE, "invalid_client", "401 Unauthorized")
    well, text = await said(provider, client_secret=None)
    assert well
    assert text.endswith("set OIDC_CLIENT_SECRET")


async def test_owners_of_keys_are_looked_after_by_a_service_account_only(provider: ScriptedIssuer) -> None:
    assert await said(provider, introspect=True) == (True, "ok (the client llm-gateway may begin a sign-in)")
    refusing(provider, TOKEN, "unauthorized_client")
    well, text = await said(provider, introspect=True)
    assert well
    assert "the client has no service account" in text


@pytest.mark.parametrize("path", [DISCOVERY, DEVICE])
async def test_what_cannot_be_understood_is_not_well(path: str, provider: ScriptedIssuer) -> None:
    provider.scripts[path] = reply("<html>")
    well, text = await said(provider)
    assert not well
    assert "<html>" not in text


async def test_the_collector_is_sent_nothing_with_its_headers() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        await reply("")(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        telemetry = Telemetry(url=f"{url}/", headers={"x-key": "collector-key"})
        assert await check_sign_in.telemetry(telemetry) == (True, f"ok ({url}/)")

    (head,) = heads
    assert head.startswith("post /v1/metrics http/1.1\r\n")
    lines = head.split("\r\n")
    assert {"x-key: collector-key", "content-type: application/x-protobuf", "content-length: 0"} <= {*lines}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 Unauthorized", "look at telemetry.headers"),
        ("404 Not Found", "answers with status 404; look at telemetry.url"),
        ("503 Service Unavailable", "answers with status 503"),
    ],
)
async def test_a_collector_that_takes_nothing_is_not_well(
    status: str, words: str, provider: ScriptedIssuer
) -> None:
    provider.scripts[COLLECTOR] = reply("", status=status)
    well, text = await check_sign_in.telemetry(
        Telemetry(url=provider.url, headers={"x-key": "collector-key"})
    )
    assert not well
    assert words in text
    assert "collector-key" not in text


async def test_a_collector_that_is_down_is_not_well() -> None:
    lost = f"http://127.0.0.1:{free_port()}"
    assert await check_sign_in.telemetry(Telemetry(url=lost)) == (
        False,
        f"{lost} cannot be reached: ConnectError",
    )


def keys(folder: Path, redis: bool = False, **section: Any) -> tuple[bool, str]:
    file = folder / "gateway.yaml"
    subscribers = [{"user": "alice", "tier": "free", "key": "a-long-random-key"}]
    quota = {"redis_url": "redis://127.0.0.1:6379"} if redis else {}
    config = {"data_dir": str(folder), "subscribers": subscribers, "quota": quota, "keys": section}
    file.write_text(json.dumps(config))
    return check_sign_in.personal_keys(load({}, str(file)))


def test_says_under_which_pepper_personal_keys_are_kept(tmp_path: Path) -> None:
    assert keys(tmp_path, enabled=False) == (True, "not in use: keys.enabled is false")
    assert keys(tmp_path, pepper="p" * 32) == (True, "ok")
    assert keys(tmp_path, pepper=f"{'p' * 32},{'q' * 32}") == (True, "ok (2 peppers, the first for new keys)")
    place = tmp_path / "key-pepper"
    assert keys(tmp_path) == (True, f"ok (their pepper is made at start, in {place})")
    assert not place.exists()
    place.write_text("too short")
    well, text = keys(tmp_path)
    assert (well, f"{place} cannot be used" in text) == (False, True)
    place.write_text("p" * 64)
    assert keys(tmp_path) == (True, f"ok (their pepper was made here, in {place})")
    assert keys(tmp_path, redis=True) == (
        True,
        "not in use: with Redis they need LLM_GATEWAY_KEY_PEPPER; make one with `openssl rand -hex 32`",
    )
