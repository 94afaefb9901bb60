from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.asgi.endpoints import Endpoint, collapse, dialect_of, find
from llm_gateway.errors import Fault

POSTS = {
    b"/v1/messages": Endpoint("anthropic", "messages"),
    b"/v1/messages/count_tokens": Endpoint("anthropic", "count_tokens"),
    b"/v1/chat/completions": Endpoint("openai", "chat_completions"),
}
GETS: dict[bytes, Any] = {
    b"/v1/models": "models",
    b"/quota": "quota",
    b"/health": "health",
    b"/health/ready": "ready",
    b"/metrics": "metrics",
    b"/": "page",
    b"/style.css": "asset",
    b"/icon.svg": "asset",
    b"/page.js": "asset",
    b"/signin": "sign_in",
    b"/signin/callback": "sign_in_callback",
    b"/.well-known/oauth-authorization-server": "oauth_metadata",
    b"/managed/settings": "managed_settings",
}
POST_VIEWS: dict[bytes, Any] = {
    b"/oauth/device_authorization": "oauth_device",
    b"/oauth/token": "oauth_token",
    b"/oauth/revoke": "oauth_revoke",
    b"/v1/metrics": "telemetry",
    b"/v1/logs": "telemetry",
    b"/v1/traces": "telemetry",
    b"/signout": "sign_out",
    b"/page/keys": "page_key_create",
    b"/page/keys/revoke": "page_key_revoke",
}


def refusal(method: str, path: bytes) -> str:
    with pytest.raises(Fault) as raised:
        find(method, path)
    return raised.value.kind


@pytest.mark.parametrize("path", POSTS)
def test_api_paths_answer_post_alone(path: bytes) -> None:
    assert find("POST", path) == POSTS[path]
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "post"):
        assert refusal(method, path) == "method_not_allowed"


@pytest.mark.parametrize("path", GETS)
def test_views_answer_get_and_head_alone(path: bytes) -> None:
    for method in ("GET", "HEAD"):
        assert find(method, path).view == GETS[path]
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert refusal(method, path) == "method_not_allowed"


@pytest.mark.parametrize("path", POST_VIEWS)
def test_what_changes_something_answers_post_alone(path: bytes) -> None:
    assert find("POST", path).view == POST_VIEWS[path]
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert refusal(method, path) == "method_not_allowed"


def test_keys_are_listed_made_and_revoked() -> None:
    assert find("GET", b"/keys").view == "keys"
    assert find("POST", b"/keys").view == "key_create"
    assert find("DELETE", b"/keys/abc%20") == Endpoint(None, view="key_revoke", argument="abc%20")
    assert refusal("GET", b"/keys/abc") == "method_not_allowed"
    assert refusal("DELETE", b"/keys") == "method_not_allowed"
    assert refusal("DELETE", b"/keys/") == "not_found"


def test_the_refusal_of_a_method_names_those_that_are_answered() -> None:
    with pytest.raises(Fault, match="answers GET and POST only"):
        find("DELETE", b"/keys")


def test_a_model_is_named_by_the_rest_of_the_path() -> None:
    assert find("GET", b"/v1/models/a/b%20c") == Endpoint(None, view="model", argument="a/b%20c")
    assert refusal("DELETE", b"/v1/models/a") == "method_not_allowed"
    assert refusal("GET", b"/v1/models/") == "not_found"


@pytest.mark.parametrize(
    ("path", "collapsed"),
    [
        (b"/v1/v1/messages", b"/v1/messages"),
        (b"/v1/v1/v1/v1/models", b"/v1/models"),
        (b"/v1/messages/v1/v1/x", b"/v1/messages/v1/v1/x"),
        (b"/v1/v1", b"/v1/v1"),
        (b"//v1/v1/messages", b"//v1/v1/messages"),
    ],
)
def test_a_repeated_v1_counts_once_and_only_at_the_front(path: bytes, collapsed: bytes) -> None:
    assert collapse(path) == collapsed


@given(st.binary(max_size=40), st.sampled_from(["GET", "POST"]))
def test_no_other_bytes_lead_anywhere(path: bytes, method: str) -> None:
    known = {*POSTS, *GETS, *POST_VIEWS, b"/keys"}
    if collapse(path) not in known and not path.startswith((b"/v1/", b"/keys/")):
        assert refusal(method, path) == "not_found"


@given(
    st.sampled_from([*POSTS]),
    st.integers(0, 30),
    st.sampled_from([b"/", b"%2f", b";x", b"\0", b"?", b"%00", b"."]),
)
def test_an_api_path_with_anything_in_it_is_another_path(path: bytes, at: int, more: bytes) -> None:
    changed = path[:at] + more + path[at:]
    assert refusal("POST", changed) == "not_found"


def test_errors_are_told_in_the_dialect_of_the_path_or_of_the_headers() -> None:
    version = [(b"anthropic-version", b"2023-06-01")]
    assert dialect_of(b"/v1/messages/nonsense", []) == "anthropic"
    assert dialect_of(b"/v1/v1/messages", []) == "anthropic"
    assert dialect_of(b"/v1/chat/nonsense", version) == "openai"
    assert dialect_of(b"/nonsense", version) == "anthropic"
    assert dialect_of(b"/nonsense", []) == "openai"
