"""Raw path → endpoint. Matching is on exact bytes: nothing is decoded, so nothing is smuggled past a rule."""

from typing import Literal, NamedTuple

from llm_gateway.config.schema import Dialect
from llm_gateway.errors import Fault

Operation = Literal["messages", "count_tokens", "chat_completions"]
View = Literal[
    "models",
    "model",
    "quota",
    "health",
    "ready",
    "metrics",
    "page",
    "asset",
    "sign_in",
    "sign_in_callback",
    "sign_out",
    "page_key_create",
    "page_key_revoke",
    "oauth_metadata",
    "oauth_device",
    "oauth_token",
    "oauth_revoke",
    "managed_settings",
    "telemetry",
    "keys",
    "key_create",
    "key_revoke",
]


class Endpoint(NamedTuple):
    """Where a request goes: to the relay (`operation`) or to a view (`view`)."""

    dialect: Dialect | None
    operation: Operation | None = None
    view: View | None = None
    argument: str = ""


def _view(view: View, argument: str = "") -> Endpoint:
    return Endpoint(None, view=view, argument=argument)


# HEAD is GET: the server leaves the body out.
_ENDPOINTS: dict[bytes, dict[str, Endpoint]] = {
    b"/v1/messages": {"POST": Endpoint("anthropic", "messages")},
    b"/v1/messages/count_tokens": {"POST": Endpoint("anthropic", "count_tokens")},
    b"/v1/chat/completions": {"POST": Endpoint("openai", "chat_completions")},
    b"/v1/models": {"GET": _view("models")},
    b"/quota": {"GET": _view("quota")},
    b"/keys": {"GET": _view("keys"), "POST": _view("key_create")},
    b"/health": {"GET": _view("health")},
    b"/health/ready": {"GET": _view("ready")},
    b"/metrics": {"GET": _view("metrics")},
    # The gateway protocol of Claude Code.
    b"/.well-known/oauth-authorization-server": {"GET": _view("oauth_metadata")},
    b"/oauth/device_authorization": {"POST": _view("oauth_device")},
    b"/oauth/token": {"POST": _view("oauth_token")},
    b"/oauth/revoke": {"POST": _view("oauth_revoke")},
    b"/managed/settings": {"GET": _view("managed_settings")},
    b"/v1/metrics": {"POST": _view("telemetry", "metrics")},
    b"/v1/logs": {"POST": _view("telemetry", "logs")},
    b"/v1/traces": {"POST": _view("telemetry", "traces")},
    # The subscriber's page.
    b"/": {"GET": _view("page")},
    b"/style.css": {"GET": _view("asset", "style.css")},
    b"/icon.svg": {"GET": _view("asset", "icon.svg")},
    b"/page.js": {"GET": _view("asset", "page.js")},
    b"/signin": {"GET": _view("sign_in")},
    b"/signin/callback": {"GET": _view("sign_in_callback")},
    b"/signout": {"POST": _view("sign_out")},
    b"/page/keys": {"POST": _view("page_key_create")},
    b"/page/keys/revoke": {"POST": _view("page_key_revoke")},
}
# Paths whose last segment is an argument.
_WITH_ARGUMENT: dict[bytes, dict[str, View]] = {
    b"/v1/models/": {"GET": "model"},
    b"/keys/": {"DELETE": "key_revoke"},
}


def find(method: str, raw_path: bytes) -> Endpoint:
    """The endpoint for a request line.

    A base URL that already ends in `/v1` makes clients ask for `/v1/v1/…`: repeats collapse.

    Raises:
        Fault: `not_found`, or `method_not_allowed` where the path has another method.
    """
    path = collapse(raw_path)
    methods = _ENDPOINTS.get(path) or _with_argument(path)
    if methods is None:
        raise Fault("not_found", "no such path; see / for those that this gateway serves")
    endpoint = methods.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        raise Fault("method_not_allowed", f"this path answers {' and '.join(methods)} only")
    return endpoint


def _with_argument(path: bytes) -> dict[str, Endpoint] | None:
    for prefix, views in _WITH_ARGUMENT.items():
        argument = path.removeprefix(prefix)
        if argument not in (path, b""):
            return {method: _view(view, argument.decode("latin-1")) for method, view in views.items()}
    return None


def collapse(raw_path: bytes) -> bytes:
    """The path with a repeated leading `/v1` taken once."""
    while raw_path.startswith(b"/v1/v1/"):
        raw_path = raw_path[3:]
    return raw_path


def dialect_of(raw_path: bytes, headers: list[tuple[bytes, bytes]]) -> Dialect:
    """The dialect in which to tell a caller of this path that something is wrong."""
    path = collapse(raw_path)
    if path.startswith(b"/v1/messages"):
        return "anthropic"
    if path.startswith(b"/v1/chat/"):
        return "openai"
    return "anthropic" if any(name == b"anthropic-version" for name, _ in headers) else "openai"
