"""Authorization Code with PKCE: what goes to the provider, and what is believed of what comes back."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.config.schema import Auth
from llm_gateway.signin.code_flow import CodeFlow, SignInError

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example/realms/ai-hub"
BACK = "https://llm.example/signin/callback"
TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 300}


class Recording(Provider):
    """A provider that remembers what it was asked for."""

    def __init__(self, auth: Auth) -> None:
        super().__init__(auth)
        self.forms: list[Mapping[str, str]] = []
        self.refuses = False

    async def _endpoint(self, name: str) -> str | None:
        return f"https://login.example/{name}?theme=dark"

    async def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        self.forms.append(form)
        if self.refuses:
            raise ProviderRefusalError(400, "invalid_grant", "Code not valid")
        return TOKENS


@pytest.fixture
def provider() -> Recording:
    return Recording(Auth(provider="oidc", issuer=ISSUER, client_id="our-client", scopes="openid email"))


@pytest.fixture
def flow(provider: Recording) -> CodeFlow:
    return CodeFlow(provider._auth, provider)


def asked(url: str) -> dict[str, str]:
    """The parameters of an authorization request, each of which is there once."""
    found = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


async def test_the_browser_is_sent_with_a_challenge_whose_verifier_it_never_shows(flow: CodeFlow) -> None:
    begun = await flow.begin(BACK)
    sent = asked(begun.url)
    state, verifier = begun.cookie.split(".")
    assert begun.url.startswith("https://login.example/authorization_endpoint?theme=dark&")
    assert sent["response_type"] == "code"
    assert (sent["client_id"], sent["scope"], sent["redirect_uri"]) == ("our-client", "openid email", BACK)
    assert sent["state"] == state
    assert sent["code_challenge_method"] == "S256"
    digest = hashlib.sha256(verifier.encode()).digest()
    assert sent["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    # Source: RFC 7636 section 4.1.
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier)
    assert verifier not in begun.url


async def test_no_two_sign_ins_are_alike(flow: CodeFlow) -> None:
    begun = [await flow.begin(BACK) for _ in range(3)]
    words = [word for one in begun for word in one.cookie.split(".")]
    assert len(set(words)) == 6


async def test_the_code_is_exchanged_with_the_verifier_of_the_cookie(
    flow: CodeFlow, provider: Recording
) -> None:
    state, verifier = (await flow.begin(BACK)).cookie.split(".")
    query = {"state": state, "code": "the-code", "iss": ISSUER, "session_state": "x"}
    assert await flow.finish(BACK, query, f"{state}.{verifier}") == TOKENS
    assert provider.forms == [
        {
            "grant_type": "authorization_code",
            "code": "the-code",
            "redirect_uri": BACK,
            "code_verifier": verifier,
        }
    ]


@pytest.mark.parametrize(
    ("query", "cookie", "words"),
    [
        ({"state": "s", "code": "c"}, None, "begun somewhere else"),
        ({"state": "s", "code": "c"}, "", "begun somewhere else"),
        ({"state": "", "code": "c"}, ".v", "begun somewhere else"),
        ({"code": "c"}, ".v", "begun somewhere else"),
        ({"code": "c"}, "s.v", "begun somewhere else"),
        ({"state": "S", "code": "c"}, "s.v", "begun somewhere else"),
        ({"state": "s.v", "code": "c"}, "s.v", "begun somewhere else"),
        ({"state": "\ufffd\u0000ä", "code": "c"}, "s.v", "begun somewhere else"),
        ({"error": "access_denied"}, "s.v", "begun somewhere else"),
        ({"state": "s", "code": "c", "iss": "https://evil.example"}, "s.v", "another identity provider"),
        ({"state": "s", "code": "c", "iss": ISSUER + "/"}, "s.v", "another identity provider"),
        ({"state": "s", "code": "c", "iss": ""}, "s.v", "another identity provider"),
        ({"state": "s", "error": "access_denied"}, "s.v", "cancelled"),
        ({"state": "s", "error": "server_error", "error_description": "<b>gone</b>"}, "s.v", "refused"),
        ({"state": "s", "error": "temporarily_unavailable", "code": ""}, "s.v", "refused"),
        ({"state": "s"}, "s.v", "refused"),
    ],
)
async def test_what_does_not_belong_to_a_sign_in_of_this_browser_is_not_exchanged(
    flow: CodeFlow, provider: Recording, query: dict[str, str], cookie: str | None, words: str
) -> None:
    with pytest.raises(SignInError, match=words) as refusal:
        await flow.finish(BACK, query, cookie)
    assert "gone" not in str(refusal.value)
    assert provider.forms == []


async def test_a_code_that_the_provider_refuses_is_told_as_used_or_too_old(
    flow: CodeFlow, provider: Recording
) -> None:
    provider.refuses = True
    with pytest.raises(SignInError, match="used already, or took too long"):
        await flow.finish(BACK, {"state": "s", "code": "c"}, "s.v")
