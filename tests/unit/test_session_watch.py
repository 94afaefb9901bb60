"""Whether a token still holds: the word of the feed and of the issuer, and what a request waits for."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from llm_gateway.auth.provider import Provider
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.auth.revocations import Revocations
from llm_gateway.auth.session_watch import SessionWatch
from llm_gateway.auth.token_cache import Admission
from llm_gateway.config.schema import Auth
from llm_gateway.errors import Fault
from llm_gateway.subscriber import Subscriber

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.example"
NOW = time.time() - 1


class Issuer(Provider):
    """Says what the test wants, and counts how often it is asked."""

    def __init__(self) -> None:
        self.says: Callable[[], bool] = lambda: True
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()

    async def is_active(self, token: str) -> bool:
        self.asked += 1
        await self.free.wait()
        return self.says()


class NoRecords:
    """Takes whatever is put and has nothing."""

    def __init__(self) -> None:
        self.put: list[tuple[str, float]] = []

    async def record_put(self, shelf: str, name: str, value: bytes, life_s: float, *more: Any) -> bool:
        self.put.append((name, life_s))
        return True


class Desk:
    def __init__(self, **auth: Any) -> None:
        self.now = NOW
        self.issuer = Issuer()
        self.records = NoRecords()
        self.revocations = Revocations(cast("Any", self.records))
        settings = Auth(provider="oidc", issuer=ISSUER, introspect_s=10, **{"introspect": True, **auth})
        self.watch = SessionWatch(settings, self.revocations, self.issuer, lambda: self.now)

    async def holds(self, admission: Admission) -> bool:
        try:
            await self.watch.check(b"token", admission)
        except Fault as fault:
            return (fault.kind, fault.message) != ("unauthenticated", MESSAGE)
        return True

    async def rest(self) -> None:
        """Lets what was begun beside the requests end."""
        for _ in range(5):
            await asyncio.sleep(0)


def admission(issuer: str = ISSUER, **claims: Any) -> Admission:
    subscriber = Subscriber(user="u", tier="pro", expires_at=NOW + 300)
    return Admission(subscriber, NOW + 300, issuer, {"iat": NOW, "jti": "j", "sid": "s", **claims})


async def test_a_token_that_was_never_seen_waits_for_the_issuers_word() -> None:
    desk = Desk()
    desk.issuer.says = lambda: False
    ended = admission()
    assert not await desk.holds(ended)
    assert not await desk.holds(ended)
    assert desk.issuer.asked == 1, "what has ended is not asked about again"


async def test_the_issuer_is_asked_once_in_a_while_whatever_is_asked_here() -> None:
    desk = Desk()
    token = admission()
    for _ in range(100):
        assert await desk.holds(token)
    assert desk.issuer.asked == 1
    desk.now += 10
    for _ in range(100):
        assert await desk.holds(token)
    await desk.rest()
    assert desk.issuer.asked == 2


async def test_a_token_in_use_waits_for_nobody() -> None:
    desk = Desk()
    token = admission()
    assert await desk.holds(token)
    desk.issuer.free.clear()
    desk.now += 15
    assert await asyncio.wait_for(desk.holds(token), 0.5)
    desk.issuer.says = lambda: False
    desk.issuer.free.set()
    await desk.rest()
    assert not await desk.holds(token), "the answer is for the next request"


async def test_an_idle_token_is_asked_about_before_it_is_let_in() -> None:
    desk = Desk()
    token = admission()
    assert await desk.holds(token)
    desk.now += 20
    desk.issuer.says = lambda: False
    assert not await desk.holds(token)


async def test_requests_at_once_share_one_question() -> None:
    desk = Desk()
    token = admission()
    desk.issuer.free.clear()
    waiting = [asyncio.create_task(desk.holds(token)) for _ in range(50)]
    await desk.rest()
    desk.issuer.free.set()
    assert all(await asyncio.gather(*waiting))
    assert desk.issuer.asked == 1


async def test_tokens_go_on_while_the_issuer_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    def down() -> bool:
        raise Fault("overloaded", "sign-in cannot be reached")

    desk.issuer.says = down
    token = admission()
    for _ in range(3):
        assert await desk.holds(token)
        desk.now += 30
    assert desk.issuer.asked == 3
    assert len([line for line in caplog.records if "cannot be asked" in line.message]) == 1


async def test_nobody_is_asked_where_introspection_is_off_or_the_issuer_is_another() -> None:
    off = Desk(introspect=False)
    assert await off.holds(admission())
    on = Desk()
    assert await on.holds(admission("https://partner.example"))
    assert (off.issuer.asked, on.issuer.asked) == (0, 0)


async def test_a_revoked_token_ends_with_those_of_its_session_that_were_issued_before() -> None:
    desk = Desk(introspect=False)
    revoked = admission()
    await desk.watch.revoke(revoked)
    assert not await desk.holds(revoked)
    assert not await desk.holds(admission(jti="of the same session"))
    assert await desk.holds(admission(jti="other", sid="another session"))
    at = desk.revocations.revoked_at(f"sid:{ISSUER}:s")
    assert at is not None
    assert await desk.holds(admission(jti="signed in again", iat=at + 1))
    assert await desk.holds(admission("https://partner.example")), "ids are of one issuer"


async def test_a_revocation_outlives_every_token_of_the_session() -> None:
    desk = Desk()
    desk.now = NOW + 200
    await desk.watch.revoke(admission())
    assert {name for name, _ in desk.records.put} == {f"jti:{ISSUER}:j", f"sid:{ISSUER}:s"}
    assert all(life_s >= 300 for _, life_s in desk.records.put)


async def test_a_token_without_ids_cannot_be_revoked_and_harms_nobody() -> None:
    desk = Desk(introspect=False)
    nameless = admission(jti=None, sid=7, iat="now")
    await desk.watch.revoke(nameless)
    assert desk.records.put == []
    assert await desk.holds(nameless)
