"""The subscriber's commands, over a real gateway and a real Keycloak."""

import json
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.servers.caller import Caller
from tests.servers.claude_code import BINARY
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.script import Answer
from tests.servers.scripted import ScriptedUpstream
from tests.servers.subscriber import Subscriber

pytestmark = [pytest.mark.keycloak, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = sign_in_settings(shared_upstream.url, keycloak.auth(login_notice="Prompts are not stored."))
    with Gateway(tmp_path_factory.mktemp("commands"), config) as running:
        yield running


@pytest.fixture(scope="module")
def paula(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Subscriber:
    """Somebody who signed in."""
    subscriber = Subscriber(tmp_path_factory.mktemp("paula"))
    status, printed = subscriber.sign_in(gateway.url, "paula")
    assert status == 0, printed
    assert "signed in as paula@example.com, on the pro tier" in printed
    assert "Notice: Prompts are not stored." in printed
    assert "eyJ" not in printed
    return subscriber


@pytest.fixture
def stranger(tmp_path: Path) -> Subscriber:
    return Subscriber(tmp_path)


def test_a_token_is_printed_alone_and_works(gateway: Gateway, paula: Subscriber) -> None:
    printed = paula.run("token", "--url", gateway.url)
    assert (printed.returncode, printed.stderr) == (0, "")
    (token,) = printed.stdout.splitlines()
    assert Caller(gateway.url, token).quota()["tier"] == "pro"
    # The gateway that was signed in to last needs no name.
    assert paula.run("token").stdout == printed.stdout


def test_tokens_are_kept_from_others(paula: Subscriber) -> None:
    assert stat.S_IMODE(paula.credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(paula.credentials.parent.stat().st_mode) == 0o700
    paula.credentials.chmod(0o640)
    try:
        refused = paula.run("token")
        assert refused.returncode == 1
        assert f"chmod 600 {paula.credentials}" in refused.stderr
    finally:
        paula.credentials.chmod(0o600)


def test_status_shows_tier_quota_and_models(gateway: Gateway, paula: Subscriber) -> None:
    shown = paula.run("status")
    assert shown.returncode == 0
    for words in ("pro tier", "of 1,000 requests per day", "again in ", "qwen3-32b", "░"):
        assert words in shown.stdout
    assert "\x1b" not in shown.stdout
    told = json.loads(paula.run("status", "--json").stdout)
    assert (told["tier"], told["windows"][0]["limit"]) == ("pro", 1000)


def aged(subscriber: Subscriber, url: str, left_s: float) -> str:
    """Makes the kept token one that ends in `left_s`; its refresh token."""
    data = json.loads(subscriber.credentials.read_text())
    kept = data["gateways"][url]
    kept |= {"issued_at": time.time() - 300, "expires_at": time.time() + left_s}
    subscriber.credentials.write_text(json.dumps(data))
    return str(kept["refresh_token"])


def test_twenty_commands_at_once_renew_a_token_once(gateway: Gateway, paula: Subscriber) -> None:
    before = paula.run("token").stdout
    aged(paula, gateway.url, 30)
    running = [paula.start("token") for _ in range(20)]
    printed = {process.communicate(timeout=60)[0] for process in running}
    assert len(printed) == 1
    (token,) = printed
    assert token != before
    assert jwt.decode(token.strip(), options={"verify_signature": False})["iat"] > time.time() - 60


def test_a_token_with_enough_left_is_not_renewed(gateway: Gateway, paula: Subscriber) -> None:
    aged(paula, gateway.url, 90)
    assert paula.run("token").stdout == paula.run("token").stdout


def test_a_disabled_persons_session_ends_and_the_command_says_what_to_do(
    keycloak: Keycloak, gateway: Gateway, stranger: Subscriber
) -> None:
    with keycloak.person("free") as user:
        assert stranger.sign_in(gateway.url, user)[0] == 0
        keycloak.set_user_enabled(user, False)
        aged(stranger, gateway.url, 0)
        for words in ("your session has ended", "you are not signed in"):
            refused = stranger.run("token")
            assert (refused.returncode, refused.stdout) == (1, "")
            assert refused.stderr == f"{words}; run `llm-gateway login --url {gateway.url}`\n"


def test_a_refused_sign_in_says_so(gateway: Gateway, stranger: Subscriber) -> None:
    status, printed = stranger.sign_in(gateway.url, "paula", approve=False)
    assert status == 1
    assert "you are not signed in: the sign-in was refused in the browser" in printed
    assert not stranger.credentials.exists()


def test_somebody_without_a_subscription_is_told_so(gateway: Gateway, stranger: Subscriber) -> None:
    status, printed = stranger.sign_in(gateway.url, "nora")
    assert status == 1
    assert "no subscription" in printed


def test_tokens_are_kept_in_the_key_ring_where_there_is_one(gateway: Gateway, tmp_path: Path) -> None:
    ring = tmp_path / "ring.json"
    backend = "tests.servers.key_ring.FileRing"
    subscriber = Subscriber(tmp_path, PYTHON_KEYRING_BACKEND=backend, KEY_RING_FILE=str(ring))
    assert subscriber.sign_in(gateway.url, "fred")[0] == 0
    assert "eyJ" in ring.read_text()
    assert "eyJ" not in subscriber.credentials.read_text()
    assert Caller(gateway.url, subscriber.run("token").stdout.strip()).quota()["tier"] == "free"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("token",), "which gateway? give its address with --url"),
        (("status", "--url", "https://127.0.0.1:9"), "cannot be reached"),
        (("login", "--url", "http://gateway.example"), "use https"),
        (("login", "--url", "ftp://gateway.example"), "expected a URL like https://gateway.example"),
        (("login", "--url", "http://user:secret@127.0.0.1"), "expected a URL like"),
        (("setup", "--url", "http://127.0.0.1:9"), "nobody is there to agree"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    stranger: Subscriber, words: tuple[str, ...], complaint: str
) -> None:
    if words[0] == "status":
        stranger.credentials.parent.mkdir(parents=True)
        now = time.time()
        kept = {"access_token": "x", "refresh_token": None, "issued_at": now, "expires_at": now + 300}
        stranger.credentials.touch(mode=0o600)
        stranger.credentials.write_text(json.dumps({"gateways": {words[2]: kept}}))
    refused = stranger.run(*words)
    assert refused.returncode in (1, 2)
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr.replace("user:secret", "")


@pytest.mark.parametrize("path", ["/html", "/elsewhere", "/v1"])
def test_what_is_no_gateway_is_told_so(upstream: ScriptedUpstream, stranger: Subscriber, path: str) -> None:
    html = Answer(headers=[("content-type", "text/html")], chunks=[b"<html>hello</html>"])
    moved = Answer(status=302, headers=[("location", "https://evil.example/")], chunks=[])
    for place in ("/.well-known/oauth-authorization-server", "/oauth/device_authorization"):
        upstream.always(f"/html{place}", lambda _: html)
        upstream.always(f"/elsewhere{place}", lambda _: moved)
    refused = stranger.run("login", "--url", f"{upstream.url}{path}")
    assert refused.returncode == 1
    assert any(
        words in refused.stderr
        for words in ("does not answer as an LLM gateway", "sends elsewhere", "status 404")
    )


class TestSetup:
    def test_shows_the_change_makes_it_and_takes_it_back(
        self, gateway: Gateway, stranger: Subscriber
    ) -> None:
        file = stranger.claude / "settings.json"
        stranger.claude.mkdir()
        before = '{\n  "theme": "dark",\n  "env": {"MINE": "ü"}\n}\n'
        file.write_text(before)
        asked = stranger.run("setup", "--url", gateway.url)
        assert asked.returncode == 1
        assert f'+  "forceLoginGatewayUrl": "{gateway.url}"' in asked.stdout
        assert file.read_text() == before
        assert stranger.run("setup", "--url", gateway.url, "--yes").returncode == 0
        after = json.loads(file.read_text())
        assert after == {
            "theme": "dark",
            "env": {"MINE": "ü"},
            "forceLoginMethod": "gateway",
            "forceLoginGatewayUrl": gateway.url,
        }
        again = stranger.run("setup", "--url", gateway.url)
        assert (again.returncode, "nothing to change" in again.stdout) == (0, True)
        assert stranger.run("setup", "--url", gateway.url, "--undo", "--yes").returncode == 0
        assert json.loads(file.read_text()) == json.loads(before)
        assert (stranger.claude / "settings.json.before-llm-gateway").exists()

    def test_one_way_takes_the_place_of_the_other(self, gateway: Gateway, stranger: Subscriber) -> None:
        file = stranger.claude / "settings.json"
        for words, there, gone in (
            ((), "forceLoginMethod", "apiKeyHelper"),
            (("--helper",), "apiKeyHelper", "forceLoginMethod"),
            ((), "forceLoginMethod", "apiKeyHelper"),
        ):
            assert stranger.run("setup", "--url", gateway.url, "--yes", *words).returncode == 0
            assert there in file.read_text()
            assert gone not in file.read_text()

    @pytest.mark.parametrize("text", ["{", "[]", "// a comment\n{}", "\xff"])
    def test_settings_that_cannot_be_read_are_left_alone(
        self, gateway: Gateway, stranger: Subscriber, text: str
    ) -> None:
        stranger.claude.mkdir()
        file = stranger.claude / "settings.json"
        file.write_bytes(text.encode("latin-1"))
        refused = stranger.run("setup", "--url", gateway.url, "--yes")
        assert refused.returncode == 1
        assert "settings.json" in refused.stderr
        assert file.read_bytes() == text.encode("latin-1")

    def test_a_link_stays_one(self, gateway: Gateway, stranger: Subscriber) -> None:
        stranger.claude.mkdir()
        real = stranger.home / "elsewhere.json"
        real.write_text("{}")
        (stranger.claude / "settings.json").symlink_to(real)
        assert stranger.run("setup", "--url", gateway.url, "--yes").returncode == 0
        assert (stranger.claude / "settings.json").is_symlink()
        assert "forceLoginMethod" in real.read_text()

    def test_lines_for_openai_clients_come_and_go_with_their_marks(
        self, gateway: Gateway, stranger: Subscriber
    ) -> None:
        printed = stranger.run("setup", "--url", gateway.url, "--openai")
        assert f'export OPENAI_BASE_URL="{gateway.url}/v1"' in printed.stdout
        profile = stranger.home / "profile"
        profile.write_text("umask 022")
        for url in (gateway.url, "https://other.example"):
            assert stranger.run("setup", "--url", url, "--write", str(profile), "--yes").returncode == 0
            text = profile.read_text()
            assert text.startswith("umask 022\n# >>> llm-gateway >>>\n")
            assert text.count("OPENAI_BASE_URL") == 1
            assert url in text
        words = ("setup", "--url", gateway.url, "--write", str(profile), "--undo", "--yes")
        assert stranger.run(*words).returncode == 0
        assert profile.read_text() == "umask 022\n"


@pytest.mark.claude
def test_claude_code_gets_its_tokens_from_the_command(
    gateway: Gateway, paula: Subscriber, upstream: ScriptedUpstream
) -> None:
    assert paula.run("setup", "--url", gateway.url, "--helper", "--yes").returncode == 0
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    unwanted = ("CLAUDECODE", "ANTHROPIC_")
    kept = {name: value for name, value in paula.environment.items() if not name.startswith(unwanted)}
    ran = subprocess.run(
        [BINARY, "-p", "hello"],
        env=kept | quiet,
        cwd=paula.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {record["tier"] for record in gateway.records()[-2:]} == {"pro"}
