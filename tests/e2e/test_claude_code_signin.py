"""The real Claude Code signs in through the gateway at a real Keycloak, approved in a real browser."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.approval import Person
from tests.servers.browser import approve, browser, tab
from tests.servers.caller import Caller
from tests.servers.claude_signin import READY, ClaudeHome, say, sign_in_on_screen
from tests.servers.demo_upstream import demo_upstream
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.script import Answer
from tests.servers.scripted import ScriptedUpstream
from tests.servers.subscriber import ROOT
from tests.servers.terminal import ESCAPE
from tests.servers.waiting import eventually

pytestmark = [pytest.mark.keycloak, pytest.mark.claude, pytest.mark.timeout(300)]

LIMIT = 100
TELEMETRY = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
}
POLICY = {"model": "claude-haiku-4-5", "env": TELEMETRY}
TIERS = {
    "pro": {"quota": [{"unit": "requests", "period": "day", "limit": LIMIT}]},
    "enterprise": {"managed_settings": POLICY},
}


def configuration(keycloak: Keycloak, url: str, **auth: Any) -> dict[str, Any]:
    known = keycloak.auth(login_notice="Prompts are not stored.", **auth)
    return sign_in_settings(url, known, tiers=TIERS)


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    with demo_upstream() as url:
        yield url


@pytest.fixture(scope="module")
def collector() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        for signal in ("metrics", "logs"):
            server.always(f"/v1/{signal}", lambda _: Answer.json(200, {}))
        yield server


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak, demo: str, collector: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = configuration(keycloak, demo) | {"telemetry": {"url": collector.url}}
    with Gateway(tmp_path_factory.mktemp("signin"), config) as running:
        yield running


def signed_in(folder: Path, gateway: Gateway, user: str) -> ClaudeHome:
    home = ClaudeHome(folder, gateway.url)
    with Person(user) as person:
        said = home.sign_in(person.approve)
    assert said["state"] == "done", said
    return home


def set_used(gateway: Gateway, folder: Path, user_id: str, used: int) -> None:
    config = next(folder.glob("gateway-*.yaml"))
    command = [sys.executable, "-m", "llm_gateway", "quota", "set", user_id, "--config", str(config)]
    words = ["--unit", "requests", "--period", "day", "--used", str(used), "--reason", "test"]
    subprocess.run([*command, *words], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.requires("chromium")
def test_a_person_signs_in_on_screen_and_works_with_their_tiers_settings(
    keycloak: Keycloak, gateway: Gateway, collector: ScriptedUpstream, tmp_path: Path
) -> None:
    home = ClaudeHome(tmp_path, gateway.url)
    with keycloak.person("enterprise") as user, browser() as chromium, tab(chromium) as opened:
        with home.terminal() as terminal:
            account = sign_in_on_screen(terminal, home, lambda url: approve(opened.page, url, user))
            assert f"{user}@example.com" in account
            terminal.wait_for("Haiku 4.5 · Cloud gateway")
            say(terminal, "/status")
            status = terminal.wait_for(r"Gateway account:\s+\S+")
            assert f"{user}@example.com" in status
            assert gateway.url in status
            assert "Enterprise managed settings (remote)" in status
            terminal.type(ESCAPE)
            terminal.wait_for(READY)
            say(terminal, "hello")
            terminal.wait_for("No model is running")
        assert home.managed_settings() == POLICY
        token = home.credential()["jwt"]
        assert home.ask("what are you")["status"] == 0
        eventually(
            lambda: {request.path for request in collector.requests} >= {"/v1/metrics", "/v1/logs"}, "told"
        )
        assert token not in str([request.headers for request in collector.requests])
        assert token not in gateway.log()


def test_the_budget_is_shown_and_the_refusal_is_the_gateways_own_words(
    keycloak: Keycloak, demo: str, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    with (
        Gateway(folder, configuration(keycloak, demo)) as gateway,
        keycloak.person("pro") as user,
    ):
        home = signed_in(tmp_path / "claude", gateway, user)
        user_id = keycloak.user_id(user)
        set_used(gateway, folder, user_id, 81)
        with home.terminal() as terminal:
            terminal.wait_for(READY)
            say(terminal, "hello")
            terminal.wait_for(r"You've used 8\d% of your usage")
            set_used(gateway, folder, user_id, LIMIT)
            refused = Caller(gateway.url, home.credential()["jwt"], "authorization").ask()
            assert refused.status_code == 429
            message = refused.json()["error"]["message"]
            before = len(gateway.records())
            say(terminal, "hello again")
            terminal.wait_for(re.escape(message))
            asked = gateway.records()[before:]
            # The prompt and what goes beside it, each once.
            assert len([record for record in asked if record["status"] == 429]) <= 4
        result = home.ask("and again")
        assert (result["status"], result["result"]) == (1, message)


def test_short_tokens_are_renewed_on_the_way_until_the_account_is_closed(
    keycloak: Keycloak, gateway: Gateway, tmp_path: Path
) -> None:
    with (
        keycloak.client_attributes("llm-gateway", {"access.token.lifespan": "10"}),
        keycloak.person() as user,
    ):
        home = signed_in(tmp_path, gateway, user)
        first = home.credential()
        assert home.ask("hello")["status"] == 0
        renewed = home.credential()
        assert renewed["jwt"] != first["jwt"]
        keycloak.set_user_enabled(user, False)
        # The token that it has goes on until it ends; its renewal is refused at once.
        results: list[dict[str, Any]] = []

        def ended() -> bool:
            results.append(home.ask("hello"))
            return bool(results[-1]["status"] == 1)

        eventually(ended, "the session ends", timeout_s=60)
        assert "/login" in results[-1]["result"]
        assert home.credential().get("idpRefreshToken") is None


def test_with_introspection_a_closed_account_is_out_at_once_whatever_its_token_says(
    keycloak: Keycloak, demo: str, tmp_path: Path
) -> None:
    config = configuration(keycloak, demo, introspect=True, introspect_s=1)
    with Gateway(tmp_path / "gateway", config) as gateway, keycloak.person() as user:
        home = signed_in(tmp_path / "claude", gateway, user)
        assert home.ask("hello")["status"] == 0
        keycloak.set_user_enabled(user, False)
        results: list[dict[str, Any]] = []

        def ended() -> bool:
            results.append(home.ask("hello"))
            return bool(results[-1]["status"] == 1)

        eventually(ended, "refused", timeout_s=30)
        assert "sign in again" in results[-1]["result"]


def test_a_sign_in_that_is_denied_in_the_browser_ends_there(
    keycloak: Keycloak, gateway: Gateway, tmp_path: Path
) -> None:
    home = ClaudeHome(tmp_path, gateway.url)
    with keycloak.person() as user, Person(user) as person:
        said = home.sign_in(person.deny)
    assert (said["state"], "denied" in str(said)) == ("error", True), said
    assert home.credential() == {}


def test_who_has_no_subscription_is_told_at_sign_in(
    keycloak: Keycloak, gateway: Gateway, tmp_path: Path
) -> None:
    home = ClaudeHome(tmp_path, gateway.url)
    with keycloak.person(None) as user, Person(user) as person:
        said = home.sign_in(person.approve)
    assert said["state"] == "error"
    assert "no subscription" in str(said), said


def test_signing_out_ends_the_token_everywhere(keycloak: Keycloak, gateway: Gateway, tmp_path: Path) -> None:
    with keycloak.person() as user:
        home = signed_in(tmp_path, gateway, user)
        caller = Caller(gateway.url, home.credential()["jwt"], "authorization")
        assert caller.get("/quota").status_code == 200
        assert home.run("auth", "logout").returncode == 0
        assert home.credential() == {}
        eventually(lambda: caller.get("/quota").status_code == 401, "revoked", timeout_s=5)
