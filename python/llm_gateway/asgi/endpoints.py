"""Raw path → endpoint. Matching is on exact bytes: nothing is decoded, so nothing is smuggled past a rule."""

from typing import Literal, NamedTuple

from llm_gateway.config.schema import Dialect
from llm_gateway.errors import Fault

Operation = Literal["messages", "count_tokens", "chat_completions"]
View = Literal["models", "model", "quota", "health", "ready", "metrics", "page"]


class Endpoint(NamedTuple):
    """Where a request goes: to the relay (`operation`) or to a view (`view`)."""

    dialect: Dialect | None
    operation: Operation | None = None
    view: View | None = None
    argument: str = ""


_POSTS: dict[bytes, Endpoint] = {
    b"/v1/messages": Endpoint("anthropic", "messages"),
    b"/v1/messages/count_tokens": Endpoint("anthropic", "count_tokens"),
    b"/v1/chat/completions": Endpoint("openai", "chat_completions"),
}
_GETS: dict[bytes, Endpoint] = {
    b"/v1/models": Endpoint(None, view="models"),
    b"/quota": Endpoint(None, view="quota"),
    b"/health": Endpoint(None, view="health"),
    b"/health/ready": Endpoint(None, view="ready"),
    b"/metrics": Endpoint(None, view="metrics"),
    b"/": Endpoint(None, view="page"),
    b"/style.css": Endpoint(None, view="page"),
}
_MODEL = b"/v1/models/"


def find(method: str, raw_path: bytes) -> Endpoint:
    """The endpoint for a request line.

    A base URL that already ends in `/v1` makes clients ask for `/v1/v1/…`: repeats collapse.

    Raises:
        Fault: `not_found`, or `method_not_allowed` where the path has another method.
    """
    path = collapse(raw_path)
    if method == "POST" and (found := _POSTS.get(path)):
        return found
    if method in {"GET", "HEAD"} and (found := _GETS.get(path) or _model(path)):
        return found
    if path in _POSTS:
        raise Fault("method_not_allowed", "this path answers POST only")
    if path in _GETS or _model(path):
        raise Fault("method_not_allowed", "this path answers GET only")
    raise Fault("not_found", "no such path; see / for those that this gateway serves")


def _model(path: bytes) -> Endpoint | None:
    name = path.removeprefix(_MODEL)
    return Endpoint(None, view="model", argument=name.decode("latin-1")) if name not in (path, b"") else None


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
