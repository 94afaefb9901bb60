"""The manifests keep what the requirement and the platform ask of a Deployment."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_gateway.asgi import endpoints
from llm_gateway.config.environment import VARIABLES
from llm_gateway.config.load import load
from llm_gateway.config.schema import Server

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
SECRET = {"claude-api-key": "claude-secret", "openai-api-key": "openai-secret"}
PLACEHOLDER = "<domain>"


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return loaded


@pytest.fixture
def deployment() -> dict[str, Any]:
    return manifest("deployment")


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture
def environ(container: dict[str, Any]) -> dict[str, str]:
    """The environment that the container gets, its secrets resolved."""
    values = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            assert reference["name"] == "gateway-secrets"
        values[variable["name"]] = SECRET[reference["key"]] if reference else variable["value"]
    return values


def test_the_deployment_is_the_required_one(deployment: dict[str, Any], container: dict[str, Any]) -> None:
    assert (deployment["metadata"]["name"], deployment["metadata"]["namespace"]) == ("llm-gateway", "ai-hub")
    assert deployment["spec"]["replicas"] == 2
    assert [port["containerPort"] for port in container["ports"]] == [8000]


def test_its_environment_is_the_required_one(environ: dict[str, str]) -> None:
    assert environ == {
        "INTERNAL_LLM_URL": "http://vllm.ai-hub.svc:8000/v1",
        "CLAUDE_API_KEY": "claude-secret",
        "OPENAI_API_KEY": "openai-secret",
        "QUOTA_REDIS_URL": "redis://valkey.ai-hub.svc:6379",
        "AUTH_PROVIDER": "keycloak",
        "KEYCLOAK_URL": "https://keycloak.<domain>/realms/ai-hub",
    }


def test_the_gateway_accepts_that_environment(environ: dict[str, str]) -> None:
    assert environ.keys() <= {variable.name for variable in VARIABLES}
    settings = load({name: value.replace(PLACEHOLDER, "example.org") for name, value in environ.items()})
    assert settings.auth.issuer == "https://keycloak.example.org/realms/ai-hub"
    assert settings.quota.redis_url == "redis://valkey.ai-hub.svc:6379"
    assert settings.upstreams["anthropic"].api_key == "claude-secret"
    assert settings.server.port == 8000


def test_the_secret_has_the_keys_that_are_referred_to() -> None:
    secret = manifest("secret.example")
    assert secret["metadata"] == {"name": "gateway-secrets", "namespace": "ai-hub"}
    assert secret["stringData"] == dict.fromkeys(SECRET, "")


@pytest.mark.parametrize(
    ("probe", "path", "view"),
    [
        ("startupProbe", "/health", "health"),
        ("livenessProbe", "/health", "health"),
        ("readinessProbe", "/health/ready", "ready"),
    ],
)
def test_probes_ask_for_what_the_gateway_answers(
    container: dict[str, Any], probe: str, path: str, view: str
) -> None:
    assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    assert endpoints.find("GET", path.encode()).view == view


def test_a_pod_outlives_its_drain(pod: dict[str, Any], container: dict[str, Any]) -> None:
    before_stop_s = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > before_stop_s + Server().drain_s


def test_the_container_may_do_nothing_it_need_not(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 65534
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_is_written_goes_to_empty_folders(pod: dict[str, Any], container: dict[str, Any]) -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {"/data", "/tmp"}  # noqa: S108 - the container's own
    assert {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume} == set(mounts.values())
    dockerfile = (FOLDER.parent / "Dockerfile").read_text()
    assert "LLM_GATEWAY_DATA_DIR=/data" in dockerfile


def test_no_cpu_limit_makes_tokens_stutter(container: dict[str, Any]) -> None:
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", ["service", "poddisruptionbudget"])
def test_selectors_find_the_pods(deployment: dict[str, Any], name: str) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = manifest(name)["spec"]["selector"]
    assert selector.get("matchLabels", selector).items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_everything_applied_lies_in_the_folder() -> None:
    resources = manifest("kustomization")["resources"]
    assert set(resources) == {path.name for path in FOLDER.iterdir()} - {
        "kustomization.yaml",
        "secret.example.yaml",
    }
