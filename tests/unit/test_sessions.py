"""The page's sessions over a real store: two cores on one file are two workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_gateway._core import Core
from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.signin.sessions import Sessions
from tests.servers.cores import two_cores

pytestmark = pytest.mark.anyio

LIFE_S = 8 * 3600.0


class Rotating(Provider):
    """A provider whose refresh tokens are good once: a used one that comes again ends everything."""

    def __init__(self) -> None:
        self.grants = 0
        self.revoked: list[str] = []
        self.is_open = True
        self.is_up = True
        self.lets_go = asyncio.Event()
        self.lets_go.set()
        self.life_s = 300

    def tokens(self) -> dict[str, Any]:
        return {
            "access_token": f"access-secret-{self.grants}",
            "refresh_token": f"refresh-secret-{self.grants}",
            "id_token": f"id-secret-{self.grants}",
            "expires_in": self.life_s,
        }

    async def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        current = f"refresh-secret-{self.grants}"
        await self.lets_go.wait()
        if not self.is_up:
            raise Fault("overloaded", "the identity provider does not answer")
        self.is_open = self.is_open and form["refresh_token"] == current
        if not self.is_open:
            raise ProviderRefusalError(400, "invalid_grant", "Session not active")
        self.grants += 1
        # What another worker would do meanwhile, it has the time to.
        await asyncio.sleep(0.05)
        return self.tokens()

    async def revoke(self, token: str) -> None:
        if not self.is_up:
            raise Fault("overloaded", "the identity provider does not answer")
        self.revoked.append(token)


class Clock:
    """The time of day, and how much later it is made to be."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.later_s


class Workers:
    """Two workers, and what they share."""

    def __init__(self, settings: Settings, cores: tuple[Core, Core]) -> None:
        self.provider = Rotating()
        self.clock = Clock()
        self.settings = settings
        self.core = cores[0]
        self.one, self.other = (Sessions(settings, self.provider, core, clock=self.clock) for core in cores)

    async def begin(self) -> str:
        return await self.one.begin(self.provider.tokens())

    def end_the_token(self) -> None:
        """It is over, and so are those to come soon."""
        self.clock.later_s += self.provider.life_s


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    async with two_cores(tmp_path) as (settings, cores):
        yield Workers(settings, cores)


async def test_a_session_is_found_by_every_worker_that_is_shown_its_cookie(workers: Workers) -> None:
    cookie = await workers.begin()
    found = await workers.one.find(cookie)
    assert found is not None
    assert (found.access_token, found.refresh_token) == ("access-secret-0", "refresh-secret-0")
    assert await workers.other.find(cookie) == found
    assert workers.provider.grants == 0, "a good token is not renewed"


async def test_every_session_has_a_cookie_and_a_form_token_of_its_own(workers: Workers) -> None:
    cookies = [await workers.begin() for _ in range(3)]
    found = [await workers.one.find(cookie) for cookie in cookies]
    tokens = {session.csrf for session in found if session is not None}
    assert len(set(cookies)) == len(tokens) == 3
    assert all(len(text) >= 43 for text in (*cookies, *tokens)), "256 bits"
    assert not tokens & set(cookies)


@pytest.mark.parametrize("cookie", ["", "x", "x" * 100_000, "ä\udce4\n", "session", "../session"])
async def test_other_cookies_find_nothing(workers: Workers, cookie: str) -> None:
    await workers.begin()
    assert await workers.one.find(cookie) is None


async def test_the_files_of_the_store_hold_neither_tokens_nor_cookie(
    workers: Workers, tmp_path: Path
) -> None:
    cookie = await workers.begin()
    session = await workers.one.find(cookie)
    assert session is not None
    held = everything_in(tmp_path)
    assert b"records:{session" in held, "these are the files"
    for secret in ("access-secret", "refresh-secret", "id-secret", "access_token", cookie, session.csrf):
        assert secret.encode() not in held


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_a_record_opens_nowhere_but_in_its_place_and_only_whole(workers: Workers) -> None:
    mine, theirs = await workers.begin(), await workers.begin()
    places = [await shelf(workers, cookie) for cookie in (mine, theirs)]
    value = await workers.core.record_get(places[1], "session")
    assert value is not None
    for forged in (value, value[:-1], value[:20], b"", value[:40] + bytes([value[40] ^ 1]) + value[41:]):
        await workers.core.record_put(places[0], "session", forged, 60.0)
        assert await workers.one.find(mine) is None
    assert await workers.one.find(theirs) is not None


async def shelf(workers: Workers, cookie: str) -> str:
    """Where the session of `cookie` lies: what is asked of the store for it."""
    asked: list[str] = []

    class Listening:
        async def record_get(self, shelf: str, _name: str) -> None:
            asked.append(shelf)

    records: Any = Listening()
    await Sessions(workers.settings, workers.provider, records).find(cookie)
    return asked[0]


async def test_a_token_that_ends_is_renewed_once_by_all_workers(workers: Workers) -> None:
    cookie = await workers.begin()
    before = await workers.one.find(cookie)
    for round_number in range(1, 4):
        workers.end_the_token()
        views = [sessions.find(cookie) for sessions in (workers.one, workers.other) for _ in range(5)]
        found = await asyncio.gather(*views)
        assert workers.provider.grants == round_number
        assert {session.access_token for session in found if session} == {f"access-secret-{round_number}"}
        assert None not in found
    after = await workers.other.find(cookie)
    assert before is not None
    assert after is not None
    assert (after.csrf, after.ends_at) == (before.csrf, before.ends_at), "forms stay good, the end stays"


async def test_tokens_shorter_than_the_margin_are_renewed_without_losing_the_session(
    workers: Workers,
) -> None:
    workers.provider.life_s = 5
    cookie = await workers.begin()
    for _ in range(3):
        found = await asyncio.gather(
            *(sessions.find(cookie) for sessions in (workers.one, workers.other) * 3)
        )
        assert None not in found


async def test_a_killed_worker_holds_nobody_up_for_long(workers: Workers) -> None:
    cookie = await workers.begin()
    workers.end_the_token()
    await workers.core.record_put(await shelf(workers, cookie), "renewal", b"-", 0.5)
    async with asyncio.timeout(5):
        assert await workers.one.find(cookie) is not None


async def test_the_session_of_a_disabled_person_ends_when_its_token_is_renewed(workers: Workers) -> None:
    cookie = await workers.begin()
    workers.provider.is_open = False
    assert await workers.one.find(cookie) is not None, "until then the token is judged as everywhere"
    workers.end_the_token()
    found = await asyncio.gather(*(sessions.find(cookie) for sessions in (workers.one, workers.other) * 2))
    assert set(found) == {None}
    workers.provider.is_open = True
    assert await workers.one.find(cookie) is None, "an account that is open again brings no session back"


async def test_a_session_outlives_a_provider_that_does_not_answer(workers: Workers) -> None:
    cookie = await workers.begin()
    workers.end_the_token()
    workers.provider.is_up = False
    with pytest.raises(Fault, match="does not answer"):
        await workers.one.find(cookie)
    workers.provider.is_up = True
    found = await workers.other.find(cookie)
    assert found is not None
    assert found.access_token == "access-secret-1"


async def test_a_session_that_was_ended_while_it_was_renewed_stays_ended(workers: Workers) -> None:
    cookie = await workers.begin()
    workers.end_the_token()
    workers.provider.lets_go.clear()
    view = asyncio.create_task(workers.one.find(cookie))
    await asyncio.sleep(0.1)
    ended = await workers.other.end(cookie)
    assert ended is not None
    workers.provider.lets_go.set()
    assert await view is None
    assert await workers.one.find(cookie) is None


async def test_signing_out_ends_the_session_everywhere_and_its_refresh_token(workers: Workers) -> None:
    cookie, others = await workers.begin(), await workers.begin()
    ended = await workers.one.end(cookie)
    assert ended is not None
    assert ended.id_token == "id-secret-0"
    assert workers.provider.revoked == ["refresh-secret-0"]
    for sessions in (workers.one, workers.other):
        assert await sessions.find(cookie) is None
        assert await sessions.end(cookie) is None
        assert await sessions.find(others) is not None


async def test_signing_out_needs_no_provider(workers: Workers) -> None:
    cookie = await workers.begin()
    workers.provider.is_up = False
    assert await workers.one.end(cookie) is not None
    assert await workers.other.find(cookie) is None


async def test_a_session_ends_after_its_life_however_much_it_was_used(workers: Workers) -> None:
    cookie = await workers.begin()
    for share in (0.3, 0.6, 0.9):
        workers.clock.later_s = share * LIFE_S
        assert await workers.one.find(cookie) is not None
    workers.clock.later_s = LIFE_S + 1
    assert await workers.one.find(cookie) is None


@pytest.mark.parametrize("answer", [{}, {"access_token": None}, {"access_token": 1}])
async def test_no_session_begins_without_a_token(workers: Workers, answer: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="has sent no token"):
        await workers.one.begin(answer)


async def test_without_a_refresh_token_a_session_ends_with_its_token(workers: Workers) -> None:
    cookie = await workers.one.begin({"access_token": "only", "expires_in": 300})
    assert await workers.one.find(cookie) is not None
    workers.end_the_token()
    assert await workers.other.find(cookie) is None
