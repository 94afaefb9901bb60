"""The environment variables of the gateway: their names, and which setting each one is."""

from collections.abc import Mapping
from typing import NamedTuple

from llm_gateway.config.convert import Path

CONFIG_FILE = "LLM_GATEWAY_CONFIG"

_APIS = ("openai", "anthropic", "auto")


class Variable(NamedTuple):
    """One variable and the setting it sets. A `secret` can also be given as `<name>_FILE`."""

    name: str
    path: Path
    secret: bool = False


VARIABLES = (
    Variable("INTERNAL_LLM_URL", ("upstreams", "internal", "urls")),
    Variable("INTERNAL_LLM_API_KEY", ("upstreams", "internal", "api_key"), secret=True),
    Variable("INTERNAL_LLM_API", ("upstreams", "internal", "apis")),
    Variable("INTERNAL_LLM_MODEL", ("internal_model",)),
    Variable("CLAUDE_API_URL", ("upstreams", "anthropic", "urls")),
    Variable("CLAUDE_API_KEY", ("upstreams", "anthropic", "api_key"), secret=True),
    Variable("OPENAI_API_URL", ("upstreams", "openai", "urls")),
    Variable("OPENAI_API_KEY", ("upstreams", "openai", "api_key"), secret=True),
    Variable("QUOTA_REDIS_URL", ("quota", "redis_url"), secret=True),
    Variable("AUTH_PROVIDER", ("auth", "provider")),
    Variable("KEYCLOAK_URL", ("auth", "issuer")),
    Variable("OIDC_AUDIENCE", ("auth", "audience")),
    Variable("OIDC_CLIENT_ID", ("auth", "client_id")),
    Variable("OIDC_CLIENT_SECRET", ("auth", "client_secret"), secret=True),
    Variable("LLM_GATEWAY_KEY_PEPPER", ("keys", "pepper"), secret=True),
    Variable("LLM_GATEWAY_DATA_DIR", ("data_dir",)),
    Variable("LLM_GATEWAY_PUBLIC_URL", ("server", "public_url")),
    Variable("LLM_GATEWAY_LOG_LEVEL", ("server", "log_level")),
)


class Overrides(NamedTuple):
    """What the environment sets: `values` and the variable's name, both by the path of the setting."""

    values: dict[Path, object]
    names: dict[Path, str]

    def name_of(self, path: Path) -> str | None:
        """The variable that set what stands at `path`, or what is around it."""
        around = (path[:end] for end in range(len(path), 0, -1))
        return next((self.names[part] for part in around if part in self.names), None)


def read(environ: Mapping[str, str], mistakes: list[str]) -> Overrides:
    """The settings in `environ`; an empty variable counts as unset. Adds a line per mistake to `mistakes`."""
    overrides = Overrides({}, {})
    for variable in VARIABLES:
        name, text = _text(environ, variable, mistakes)
        if not text:
            continue
        overrides.names[variable.path] = name
        if variable.path[-1] == "apis" and text not in _APIS:
            mistakes.append(f'{name}: expected one of {", ".join(_APIS)}, found "{text[:60]}"')
            continue
        overrides.values[variable.path] = _parts(text) if variable.path[-1] == "urls" else text
    return overrides


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _text(environ: Mapping[str, str], variable: Variable, mistakes: list[str]) -> tuple[str, str]:
    """The name under which `variable` is set, and its value."""
    value = environ.get(variable.name, "").strip()
    file_variable = f"{variable.name}_FILE"
    file_name = environ.get(file_variable, "") if variable.secret else ""
    if not file_name:
        return variable.name, value
    if value:
        mistakes.append(f"{variable.name}: set together with {file_variable}; unset one of them")
        return variable.name, value
    try:
        with open(file_name, encoding="utf-8") as file:
            value = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        mistakes.append(f"{file_variable}: {file_name} cannot be read: {reason}")
        return file_variable, ""
    if not value:
        mistakes.append(f"{file_variable}: {file_name} is empty; write the secret into it")
    return file_variable, value
