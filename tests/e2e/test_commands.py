"""The command line, as a person meets it: what it prints, where, and its exit status."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.command import Ended, llm_gateway
from tests.servers.gateway import free_port, settings
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import Answer, ScriptedUpstream

SECRETS = ("key-of-fred-free", "upstream-anthropic-key", "upstream-openai-key", "sk-in-the-environment")


def run(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Ended:
    """What `llm-gateway` with these words printed, run in `folder`; never a traceback, never a secret."""
    ended = llm_gateway(*words, folder=folder, environment=environment)
    printed = ended.stdout + ended.stderr
    assert "\x1b" not in printed
    assert not any(secret in printed for secret in SECRETS), printed
    return ended


def configured(folder: Path, config: dict[str, Any] | str) -> Path:
    """A file with this content in `folder`."""
    path = folder / "gateway.yaml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return path


def check(folder: Path, config: dict[str, Any]) -> tuple[dict[str, tuple[str, str]], int]:
    """What `check` says of each thing, as its mark and its words, and the exit status."""
    ended = run(
        folder, "check", "--config", str(configured(folder, {"data_dir": str(folder / "data"), **config}))
    )
    rows = {}
    for line in ended.stdout.splitlines():
        name, _, words = line[2:].partition("  ")
        rows[name] = (line[0], words.strip())
    return rows, ended.returncode


@pytest.mark.keycloak
@pytest.mark.requires("redis-server")
@pytest.mark.timeout(300)
def test_check_names_all_that_works(
    keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    auth = {"provider": "keycloak", "issuer": keycloak.issuer}
    rows, status = check(tmp_path, settings(upstream.url, quota={"redis_url": redis_url}, auth=auth))
    assert rows == {
        "settings": ("✓", "ok"),
        "auth": ("✓", f"ok ({keycloak.issuer})"),
        "sign-in": ("✓", "not in use: the provider wants the client's secret; set OIDC_CLIENT_SECRET"),
        "quota store": ("✓", "ok"),
        "upstream internal": ("✓", f"ok ({upstream.url})"),
        "upstream anthropic": ("✓", f"ok ({upstream.url})"),
        "upstream openai": ("✓", f"ok ({upstream.url})"),
        "personal keys": (
            "✓",
            "not in use: with Redis they need LLM_GATEWAY_KEY_PEPPER; make one with `openssl rand -hex 32`",
        ),
    }
    assert status == 0


def test_check_asks_each_upstream_with_its_own_key(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    _, status = check(tmp_path, settings(upstream.url))
    assert status == 0
    keys = {(request.header("x-api-key"), request.header("authorization")) for request in upstream.requests}
    assert keys == {("upstream-anthropic-key", None), (None, "Bearer upstream-openai-key"), (None, None)}


def test_check_names_a_store_that_is_down(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    quota = {"redis_url": f"redis://127.0.0.1:{free_port()}"}
    rows, status = check(tmp_path, settings(upstream.url, quota=quota))
    mark, words = rows.pop("quota store")
    assert mark == "✗"
    assert words.startswith("unreachable: ")
    assert {mark for mark, _ in rows.values()} == {"✓"}
    assert status == 1


def test_check_names_an_issuer_that_is_down(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    issuer = f"http://127.0.0.1:{free_port()}/realms/ai-hub"
    auth = {"provider": "keycloak", "issuer": issuer}
    rows, status = check(tmp_path, settings(upstream.url, auth=auth))
    assert rows.pop("auth") == ("✗", f"jwks unavailable ({issuer})")
    mark, words = rows.pop("sign-in")
    assert (mark, words.startswith("the provider's discovery document cannot be used")) == ("✗", True)
    assert {mark for mark, _ in rows.values()} == {"✓"}
    assert status == 1


def test_check_names_each_upstream_that_is_down(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    lost = f"http://127.0.0.1:{free_port()}"
    config = settings(upstream.url)
    config["upstreams"]["internal"]["urls"] = [upstream.url, lost]
    config["upstreams"]["openai"]["urls"] = [lost]
    rows, status = check(tmp_path, config)
    down = f"{lost} cannot be reached: ConnectError"
    assert rows["upstream internal"] == rows["upstream openai"] == ("✗", down)
    assert rows["upstream anthropic"] == ("✓", f"ok ({upstream.url})")
    assert status == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [(401, "refuses the key"), (403, "refuses the key"), (503, "answers with status 503")],
)
def test_check_tells_an_upstream_that_answers_from_one_that_works(
    upstream: ScriptedUpstream, tmp_path: Path, answer: int, words: str
) -> None:
    with ScriptedUpstream() as refusing:
        refusing.always("/v1/models", Answer.json(answer, {}))
        config = settings(upstream.url)
        config["upstreams"]["openai"]["urls"] = [refusing.url]
        rows, status = check(tmp_path, config)
        assert rows["upstream openai"] == ("✗", f"{refusing.url} {words}")
    assert status == 1


def test_check_leaves_out_what_has_no_key(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    config = settings(upstream.url)
    config["upstreams"] = {"internal": {"urls": [upstream.url]}}
    rows, status = check(tmp_path, config)
    assert rows["upstream anthropic"][1].startswith("not in use")
    assert status == 0


def explain(folder: Path, tier: str, model: str, *more: str) -> Ended:
    environment = {"INTERNAL_LLM_URL": "http://vllm:8000/v1", "CLAUDE_API_KEY": "sk-in-the-environment"}
    config = str(configured(folder, {"subscribers": settings("")["subscribers"]}))
    words = ("explain", "--config", config, "--tier", tier, "--model", model, *more)
    return run(folder, *words, environment=environment)


def test_explain_tells_what_serves_a_name_and_why(tmp_path: Path) -> None:
    ended = explain(tmp_path, "pro", "claude-opus-5-5")
    rows = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines() if line[0] != " ")
    assert rows["asked"] == "claude-opus-5-5 on the pro tier"
    assert rows["model"] == "claude-3-haiku"
    assert rows["upstream"] == "anthropic (api.anthropic.com)"
    assert rows["quota"] == "1,000 requests per day"
    assert rows["why"]
    assert ended.returncode == 0


def test_explain_tells_it_in_json(tmp_path: Path) -> None:
    ended = explain(tmp_path, "free", "claude-3-opus", "--json")
    answer = json.loads(ended.stdout)
    assert (answer["served"], answer["model"], answer["upstream"]) == (True, "qwen3-32b", "internal")
    assert answer["hosts"] == ["vllm:8000"]
    assert answer["windows"] == [{"unit": "requests", "period": "day", "limit": 10}]
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("tier", "model", "words"),
    [
        ("gold", "claude-3-opus", "unknown tier 'gold'; configured: free, pro, enterprise"),
        ("pro", "a-model-nobody-knows", "model 'a-model-nobody-knows' is not available on the pro tier"),
        ("enterprise", "gpt-4", "model 'gpt-4' is not available on the enterprise tier"),
    ],
)
def test_explain_fails_where_a_request_would(tmp_path: Path, tier: str, model: str, words: str) -> None:
    ended = explain(tmp_path, tier, model)
    assert words in ended.stdout
    assert ended.returncode == 1
    ended = explain(tmp_path, tier, model, "--json")
    answer = json.loads(ended.stdout)
    assert (answer["served"], ended.returncode) == (False, 1)
    assert words in answer["message"]


@pytest.mark.parametrize("command", ["serve", "check", "explain"])
def test_every_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, command: str) -> None:
    text = """\
subscribers:
  - {user: alice, tier: gold, key: key-of-fred-free}
tiers:
  free: {quota: [{unit: requests, period: day, limit: ten}]}
upstreams:
  internal:
    urls: ["ftp://vllm:8000"]
    ca_file: missing.pem
servr: {}
"""
    more = ("--tier", "free", "--model", "m") if command == "explain" else ()
    ended = run(tmp_path, command, "--config", str(configured(tmp_path, text)), *more)
    assert (ended.returncode, ended.stdout) == (2, "")
    file = tmp_path / "gateway.yaml"
    told = [
        (2, "subscribers[0].tier", "gold"),
        (4, "tiers.free.quota[0].limit", "ten"),
        (7, "upstreams.internal.urls[0]", "ftp"),
        (8, "upstreams.internal.ca_file", "missing.pem"),
        (9, "servr", "unknown section"),
    ]
    lines = ended.stderr.splitlines()
    assert len(lines) == len(told), lines
    for line, (number, setting, word) in zip(lines, told, strict=True):
        assert line.startswith(f"{file}:{number}: {setting}: ")
        assert word in line


def test_every_mistake_in_the_environment_is_told_with_its_variable(tmp_path: Path) -> None:
    environment = {
        "AUTH_PROVIDER": "ldap",
        "KEYCLOAK_URL": "keycloak.example.org",
        "QUOTA_REDIS_URL": "http://valkey:6379",
        "INTERNAL_LLM_URL": "vllm:8000",
        "INTERNAL_LLM_API": "grpc",
        "CLAUDE_API_KEY": "sk-in-the-environment",
        "CLAUDE_API_KEY_FILE": "claude-key",
        "OPENAI_API_KEY_FILE": "missing",
    }
    ended = run(tmp_path, "serve", environment=environment)
    assert (ended.returncode, ended.stdout) == (2, "")
    named = {line.partition(":")[0] for line in ended.stderr.splitlines()}
    expected = set(environment) - {"CLAUDE_API_KEY_FILE"}
    # A provider that is none says nothing about what it would need.
    assert named >= expected - {"KEYCLOAK_URL"}, ended.stderr
    assert "expected one of" in ended.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subscribers: [", ":1: "),
        ("a: 1\na: 2\n", ":2: a: already set on line 1"),
        ("- 1", ":1: expected a mapping of sections"),
        (None, ": cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_none_is_told_so(tmp_path: Path, text: str | None, words: str) -> None:
    file = configured(tmp_path, text) if text is not None else tmp_path / "missing.yaml"
    ended = run(tmp_path, "serve", "--config", str(file))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{file}{words}")


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "99999"), ("--port", "-1"), ("--workers", "0"), ("--workers", "1000")]
)
def test_options_obey_the_limits_of_the_settings(tmp_path: Path, option: str, value: str) -> None:
    file = configured(tmp_path, settings("http://127.0.0.1:1"))
    ended = run(tmp_path, "serve", "--config", str(file), f"{option}={value}")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{option}: expected an integer")
    assert value in ended.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    ended = run(tmp_path, "--help")
    assert ended.returncode == 0
    for command in ("serve", "demo", "check", "explain"):
        assert command in ended.stdout
        assert run(tmp_path, command, "--help").returncode == 0


@pytest.mark.parametrize(
    "words", [(), ("fly",), ("explain",), ("serve", "--port", "eighty"), ("check", "--fast")]
)
def test_unknown_words_are_answered_with_the_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = run(tmp_path, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: llm-gateway")
