"""The seed's Deployment, rendered, and its environment alone: that is enough to serve every tier."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.servers.caller import Caller
from tests.servers.gateway import Gateway
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = [pytest.mark.keycloak, pytest.mark.requires("redis-server"), pytest.mark.timeout(300)]

DEPLOYMENT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "deployment.yaml"
SECRET = {"claude-api-key": "sk-of-the-cluster-for-claude", "openai-api-key": "sk-of-the-cluster-for-openai"}


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    (found,) = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
    return dict(found)


def value(entry: dict[str, Any]) -> str:
    """What a variable of the container is set to."""
    if "value" in entry:
        return str(entry["value"])
    return SECRET[entry["valueFrom"]["secretKeyRef"]["key"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    container: dict[str, Any],
    upstream: ScriptedUpstream,
    redis_url: str,
    keycloak: Keycloak,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """The gateway in the container's environment, with this machine's hosts for the cluster's."""
    hosts = {
        "http://vllm.ai-hub.svc:8000": upstream.url,
        "redis://valkey.ai-hub.svc:6379": redis_url,
        "https://keycloak.<domain>": keycloak.base_url,
    }
    environment = {}
    for entry in container["env"]:
        text = value(entry)
        for host, here in hosts.items():
            text = text.replace(host, here)
        environment[entry["name"]] = text
    # Nothing may leave this machine.
    environment |= {"CLAUDE_API_URL": upstream.url, "OPENAI_API_URL": upstream.url}
    with Gateway(tmp_path_factory.mktemp("seed"), None, environment=environment) as running:
        yield running


@pytest.mark.parametrize(
    ("user", "tier", "asked", "path", "wire", "credential"),
    [
        ("fred", "free", "claude-3-opus", "messages", "qwen3-32b", None),
        ("paula", "pro", "claude-3-opus", "messages", "claude-haiku-5-5", SECRET["claude-api-key"]),
        ("erin", "enterprise", "claude-3-opus", "messages", "claude-opus-5-5", SECRET["claude-api-key"]),
        ("erin", "enterprise", "gpt-4", "chat/completions", "gpt-4", f"Bearer {SECRET['openai-api-key']}"),
    ],
)
def test_the_seeds_environment_alone_serves_every_tier(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    keycloak: Keycloak,
    redis_url: str,
    user: str,
    tier: str,
    asked: str,
    path: Any,
    wire: str,
    credential: str | None,
) -> None:
    upstream.forget()
    caller = Caller(gateway.url, keycloak.token(user))
    before = caller.used()
    answer = caller.ask(path, asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-tier"] == tier
    (request,) = upstream.requests
    assert (request.path, request.json()["model"]) == (f"/v1/{path}", wire)
    assert (request.header("x-api-key") or request.header("authorization")) == credential
    eventually(lambda: caller.used() == before + 1, "counted")
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        assert any(f"{{{keycloak.user_id(user)}}}" in key for key in store.scan_iter("quota:*"))


def test_the_probes_of_the_deployment_are_answered(gateway: Gateway, container: dict[str, Any]) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
        assert Caller(gateway.url, "").get(container[probe]["httpGet"]["path"]).status_code == 200
