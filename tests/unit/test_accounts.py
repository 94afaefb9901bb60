"""Whether people still have their account: what Keycloak is asked, how often, and what it means by that."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llm_gateway.auth.accounts import Accounts
from llm_gateway.auth.provider import Provider
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.config.schema import Auth, TrustedIssuer
from llm_gateway.errors import Fault

pytestmark = pytest.mark.anyio

ISSUER = "https://keycloak.example/auth/realms/ai-hub"
USERS = "https://keycloak.example/auth/admin/realms/ai-hub/users"
EVERY_S = 10.0


class Keycloak(Provider):
    """Answers as the test wants and remembers what it was asked."""

    def __init__(self, auth: Auth) -> None:
        super().__init__(auth)
        self.status = 200
        self.body = b'{"id":"a","enabled":true}'
        self.failure: Exception | None = None
        self.asked: list[str] = []
        self.free = asyncio.Event()
        self.free.set()

    async def service_token(self) -> str:
        return "the-token-of-the-service"

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer the-token-of-the-service"
        self.asked.append(str(request.url))
        await self.free.wait()
        if self.failure is not None:
            raise self.failure
        return httpx.Response(self.status, stream=httpx.ByteStream(self.body))


class Asking(Accounts):
    """Accounts at a Keycloak of the test's, with a clock of its own."""

    def __init__(self, **auth: Any) -> None:
        settings = Auth(
            **{"provider": "keycloak", "issuer": ISSUER, "introspect": True, "introspect_s": EVERY_S, **auth}
        )
        self.now = 0.0
        self.keycloak = Keycloak(settings)
        super().__init__(settings, self.keycloak, lambda: self.now)
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(self.keycloak.answer))

    async def is_refused(self, user: str = "alice") -> bool:
        try:
            await self.check(user)
        except Fault as fault:
            return (fault.kind, fault.message) == ("unauthenticated", MESSAGE)
        return False

    async def settled(self) -> None:
        while self._asking:
            await asyncio.wait([*self._asking.values()])


@pytest.fixture
async def accounts() -> AsyncIterator[Asking]:
    asking = Asking()
    yield asking
    await asking.stop()
    await asking.keycloak.stop()


async def test_somebody_is_asked_about_beside_the_requests_and_not_more_often_than_the_settings_say(
    accounts: Asking,
) -> None:
    for _ in range(100):
        assert not await accounts.is_refused()
    assert accounts.keycloak.asked == [f"{USERS}/alice"]

    accounts.keycloak.free.clear()
    accounts.keycloak.body = b'{"enabled":false}'
    accounts.now += EVERY_S
    for _ in range(100):
        assert not await asyncio.wait_for(accounts.is_refused(), 1)
    accounts.keycloak.free.set()
    await accounts.settled()

    assert await accounts.is_refused()
    assert len(accounts.keycloak.asked) == 2


async def test_who_was_not_seen_for_long_waits_for_the_answer(accounts: Asking) -> None:
    accounts.keycloak.body = b'{"enabled":false}'
    assert await accounts.is_refused()
    accounts.keycloak.body = b'{"enabled":true}'
    accounts.now += 2 * EVERY_S
    assert not await accounts.is_refused()
    accounts.keycloak.body = b'{"enabled":false}'
    accounts.now += 2 * EVERY_S
    assert await accounts.is_refused()


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (200, b'{"id":"a","enabled":true,"username":"alice"}', False),
        (200, b'{"id":"a","enabled":false}', True),
        (404, b'{"error":"User not found","error_description":"For more on this error"}', True),
        # Not about the user.
        (404, b'{"error":"Realm not found."}', False),
        (404, b"<html>not found</html>", False),
        (401, b'{"error":"HTTP 401 Unauthorized"}', False),
        (403, b'{"error":"HTTP 403 Forbidden"}', False),
        (302, b"", False),
        (500, b'{"enabled":false}', False),
        (200, b"", False),
        (200, b"{}", False),
        (200, b"[" * 100_000, False),
        (200, b"{}" + b" " * (1024 * 1024), False),
    ],
)
async def test_only_keycloaks_word_on_the_user_ends_a_key(
    accounts: Asking, status: int, body: bytes, refused: bool
) -> None:
    accounts.keycloak.status, accounts.keycloak.body = status, body

    assert await accounts.is_refused() == refused


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("late")])
async def test_while_keycloak_does_not_answer_its_last_word_holds(
    accounts: Asking, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await accounts.is_refused("alice")
    accounts.keycloak.body = b'{"enabled":false}'
    assert await accounts.is_refused("bob")
    accounts.keycloak.failure = failure
    for _ in range(3):
        accounts.now += 3 * EVERY_S
        assert not await accounts.is_refused("alice")
        assert await accounts.is_refused("bob")
    assert len(caplog.records) == 1


async def test_a_missing_role_is_named_once(accounts: Asking, caplog: pytest.LogCaptureFixture) -> None:
    accounts.keycloak.status = 403
    for number in range(5):
        assert not await accounts.is_refused(f"user-{number}")

    (line,) = caplog.records
    assert "view-users" in line.message


async def test_an_id_cannot_lead_to_another_path(accounts: Asking) -> None:
    await accounts.check("../../master/users/a?b#c")

    assert accounts.keycloak.asked == [f"{USERS}/..%2F..%2Fmaster%2Fusers%2Fa%3Fb%23c"]


@pytest.mark.parametrize(
    ("claim", "asked"),
    [
        ("preferred_username", f"{USERS}?username=a%2Bb%40example.com&exact=true"),
        ("email", f"{USERS}?email=a%2Bb%40example.com&exact=true"),
    ],
)
async def test_people_are_searched_by_the_claim_that_names_them(claim: str, asked: str) -> None:
    accounts = Asking(user_claim=claim)
    accounts.keycloak.body = b'[{"enabled":true}]'
    assert not await accounts.is_refused("a+b@example.com")
    assert accounts.keycloak.asked == [asked]
    for gone in (b"[]", b'[{"enabled":false}]'):
        accounts.now += 2 * EVERY_S
        accounts.keycloak.body = gone
        assert await accounts.is_refused("a+b@example.com")
    await accounts.stop()
    await accounts.keycloak.stop()


async def test_nobody_is_asked_about_by_a_claim_that_keycloak_cannot_search(
    caplog: pytest.LogCaptureFixture,
) -> None:
    accounts = Asking(user_claim="employee_number")
    for _ in range(3):
        assert not await accounts.is_refused()
    assert accounts.keycloak.asked == []
    assert len(caplog.records) == 1
    await accounts.stop()


async def test_people_of_other_issuers_are_not_asked_about() -> None:
    accounts = Asking(issuers={"partner": TrustedIssuer(issuer="https://partner.example")})
    await accounts.check("partner:alice")
    await accounts.check("f:storage:alice")
    assert accounts.keycloak.asked == [f"{USERS}/f%3Astorage%3Aalice"]
    await accounts.stop()
    await accounts.keycloak.stop()
