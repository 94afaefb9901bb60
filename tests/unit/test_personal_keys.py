"""Personal keys over a real store: what a key is good for, what it costs, and what ends it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from llm_gateway._core import shape
from llm_gateway.auth import known_keys, personal_keys
from llm_gateway.auth.personal_key_text import new
from llm_gateway.auth.personal_keys import PersonalKeys
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.auth.revocations import Revocations
from llm_gateway.cli.core import opened
from llm_gateway.config.load import load
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.records import Records
from llm_gateway.subscriber import Subscriber

pytestmark = pytest.mark.anyio

ONE, OTHER = "one-pepper-of-thirty-two-characters", "another-pepper-of-thirty-two-chars"
MAX_PER_USER = 5


class Store:
    """A core's records, counted; they fail unless `is_up`.

    While `gate` is closed they do not answer but the first `answered_before_gate` calls.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.calls: list[str] = []
        self.is_up = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.answered_before_gate = 0

    def __getattr__(self, name: str) -> Any:
        async def ask(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) > self.answered_before_gate:
                await self.gate.wait()
            if not self.is_up:
                raise Fault("overloaded", "the store does not answer")
            return await getattr(self._records, name)(*arguments, **options)

        return ask


class Worker(PersonalKeys):
    """The personal keys of one worker, with a store and a clock of its own."""

    def __init__(self, settings: Settings, core: Records) -> None:
        self.now = time.monotonic()
        self.store = Store(core)
        self.revocations = Revocations(core)
        super().__init__(settings, cast(Records, self.store), self.revocations, clock=lambda: self.now)

    async def outcome(self, key: str) -> str:
        """The user whose key it is, or the kind of the fault."""
        try:
            return (await self.authenticate(key.encode())).user
        except Fault as fault:
            return fault.kind

    async def settled(self) -> None:
        """Returns when what was begun beside the requests is done."""
        while tasks := [*self._known._asking.values(), *self._known._noting]:
            await asyncio.wait_for(asyncio.wait(tasks), 5)


class Workers:
    """Makes workers that share a data directory; `pepper` is that of the next one."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def settings(self, pepper: str | None = ONE, **environ: str) -> Settings:
        file = self._folder / "gateway.yaml"
        file.write_text(
            f"keys: {{max_per_user: {MAX_PER_USER}, max_days: 100}}\nquota: {{local_for_s: 600}}\n"
        )
        base: Mapping[str, str] = {
            "LLM_GATEWAY_CONFIG": str(file),
            "LLM_GATEWAY_DATA_DIR": str(self._folder / "data"),
            "AUTH_PROVIDER": "oidc",
            "KEYCLOAK_URL": "https://a.example",
        }
        return load({**base, **({"LLM_GATEWAY_KEY_PEPPER": pepper} if pepper else {}), **environ})

    async def start(self, pepper: str | None = ONE) -> Worker:
        settings = self.settings(pepper)
        worker = Worker(settings, await self._stack.enter_async_context(opened(settings)))
        await worker.revocations.start()
        self._stack.push_async_callback(worker.revocations.stop)
        self._stack.push_async_callback(worker.stop)
        return worker


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(tmp_path, stack)


@pytest.fixture
async def worker(workers: Workers) -> Worker:
    return await workers.start()


async def until(condition: Any, what: str, within_s: float = 5) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def test_a_key_stands_for_its_owner_on_every_worker(workers: Workers, worker: Worker) -> None:
    other = await workers.start()
    key, made = await worker.create("alice", "pro", "laptop", 30)

    for anyone in (worker, other):
        assert await anyone.authenticate(key.encode()) == Subscriber(
            user="alice", tier="pro", expires_at=float(made.expires_at), means="personal_key"
        )
    assert made.expires_at - made.created_at == 30 * 86_400


async def test_a_key_in_use_costs_the_store_nothing(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    await worker.authenticate(key.encode())
    await worker.settled()
    worker.store.calls.clear()

    for _ in range(100):
        await worker.authenticate(key.encode())

    await worker.settled()
    assert worker.store.calls == []


async def test_what_is_not_written_as_a_key_costs_the_store_nothing(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    worker.store.calls.clear()

    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")

    assert await worker.outcome(wrong) == "unauthenticated"
    assert worker.store.calls == []


async def test_unknown_expired_and_revoked_keys_are_refused_in_the_same_words(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, _ = await worker.create("alice", "pro", "old", 1)
    revoked, record = await worker.create("alice", "pro", "lost", 30)
    await worker.authenticate(expired.encode())
    await worker.revoke("alice", record.id)
    tomorrow = time.time() + 86_401
    answers = []
    for key in (new(), revoked, expired):
        if key == expired:
            monkeypatch.setattr(time, "time", lambda: tomorrow)
        with pytest.raises(Fault) as caught:
            await worker.authenticate(key.encode())
        assert caught.value.message == MESSAGE
        answers.append([shape(caught.value, dialect, "req_1") for dialect in ("anthropic", "openai")])

    assert answers[0] == answers[1] == answers[2]


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_within_a_second(
    workers: Workers, worker: Worker
) -> None:
    other = await workers.start()
    key, made = await worker.create("alice", "pro", "laptop", 30)
    for anyone in (worker, other):
        assert await anyone.outcome(key) == "alice"

    assert await worker.revoke("alice", made.id)

    begun = time.monotonic()
    assert await worker.outcome(key) == "unauthenticated"
    while await other.outcome(key) != "unauthenticated":
        assert time.monotonic() - begun < 1
        await asyncio.sleep(0.01)
    # And for somebody who has never heard of it.
    assert await (await workers.start()).outcome(key) == "unauthenticated"


@pytest.mark.parametrize("calls", range(5))
async def test_a_revoked_key_is_not_brought_back_by_what_was_under_way(
    workers: Workers, worker: Worker, calls: int
) -> None:
    """Somebody is moving it to another pepper, and noting its use, and has got so far when it is revoked."""
    key, made = await worker.create("alice", "pro", "laptop", 30)
    mover = await workers.start(f"{OTHER},{ONE}")
    mover.store.answered_before_gate = calls
    mover.store.gate.clear()
    moving = asyncio.create_task(mover.outcome(key))
    await until(lambda: len(mover.store.calls) > calls, "no call of the store")
    await worker.revoke("alice", made.id)
    mover.store.gate.set()
    await moving
    await mover.settled()

    for pepper in (ONE, f"{OTHER},{ONE}", OTHER):
        assert await (await workers.start(pepper)).outcome(key) == "unauthenticated"
    assert await worker.list("alice") == []


async def test_nobody_else_revokes_a_key(worker: Worker) -> None:
    key, made = await worker.create("alice", "pro", "laptop", 30)

    assert not await worker.revoke("bob", made.id)
    assert await worker.outcome(key) == "alice"
    assert [found.id for found in await worker.list("alice")] == [made.id]
    assert await worker.list("bob") == []


async def test_no_key_works_that_its_owner_does_not_see(worker: Worker) -> None:
    """What goes wrong while a key is made leaves it useless or in the list."""
    for failing in range(3):
        worker.store.calls.clear()
        original = worker.store._records
        worker.store._records = cast(Records, FailingAfter(original, failing))
        with pytest.MonkeyPatch.context() as patch:
            key = new()
            patch.setattr(personal_keys, "new", lambda key=key: key)
            with suppress(Fault):
                await worker.create("alice", "pro", "laptop", 30)
        worker.store._records = original
        works = await worker.outcome(key) == "alice"
        assert works <= bool(await worker.list("alice")), failing


class FailingAfter:
    """A store that dies after so many calls."""

    def __init__(self, records: Records, calls: int) -> None:
        self._records = records
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls -= 1
        if self._calls < 0:
            raise Fault("overloaded", "the store does not answer")
        return getattr(self._records, name)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 101, "bell\a"])
async def test_a_name_that_cannot_be_shown_is_refused(worker: Worker, name: str) -> None:
    with pytest.raises(Fault) as caught:
        await worker.create("alice", "pro", name, 30)
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "name")


@pytest.mark.parametrize("days", [0, -1, 101, 10**9])
async def test_a_life_that_is_too_long_or_none_is_refused(worker: Worker, days: int) -> None:
    with pytest.raises(Fault) as caught:
        await worker.create("alice", "pro", "laptop", days)
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "days")


async def test_a_key_lives_as_long_as_the_settings_say_if_nobody_says_otherwise(worker: Worker) -> None:
    _, made = await worker.create("alice", "pro", "x" * 100, None)

    assert made.expires_at - made.created_at == 90 * 86_400


async def test_twenty_at_once_give_no_more_keys_than_there_may_be(worker: Worker) -> None:
    made = await asyncio.gather(
        *(worker.create("alice", "pro", f"key {number}", 30) for number in range(20)), return_exceptions=True
    )

    keys = [outcome for outcome in made if not isinstance(outcome, BaseException)]
    assert len(keys) == MAX_PER_USER
    assert {fault.kind for fault in made if isinstance(fault, Fault)} == {"invalid_request"}
    assert {key.id for key in await worker.list("alice")} == {record.id for _, record in keys}
    await worker.revoke("alice", keys[0][1].id)
    await worker.create("alice", "pro", "one more", 30)


async def test_keys_are_listed_with_their_last_use_the_newest_first(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = int(time.time())
    old, _ = await worker.create("alice", "pro", "old", 30)
    monkeypatch.setattr(time, "time", lambda: before + 5.0)
    await worker.create("alice", "pro", "new", 30)
    await worker.authenticate(old.encode())
    await worker.settled()

    newest, oldest = await worker.list("alice")

    assert (newest.name, newest.last_used_at) == ("new", None)
    assert (oldest.name, oldest.last_used_at) == ("old", before + 5)


async def test_use_is_noted_once_a_minute(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    for _ in range(3):
        await worker.authenticate(key.encode())
    await worker.settled()
    noted = worker.store.calls.count("record_put")
    worker.now += 59
    await worker.authenticate(key.encode())
    await worker.settled()
    assert worker.store.calls.count("record_put") == noted
    worker.now += 2
    await worker.authenticate(key.encode())
    await worker.settled()
    assert worker.store.calls.count("record_put") == noted + 1


async def test_a_pepper_can_be_changed_while_keys_are_used(workers: Workers, worker: Worker) -> None:
    key, made = await worker.create("alice", "pro", "laptop", 30)
    assert await (await workers.start(OTHER)).outcome(key) == "unauthenticated"

    rotating = await workers.start(f"{OTHER},{ONE}")
    assert await rotating.outcome(key) == "alice"

    # It was moved by that: the old pepper is no longer needed, and no longer opens anything.
    assert await (await workers.start(OTHER)).outcome(key) == "alice"
    assert await (await workers.start(ONE)).outcome(key) == "unauthenticated"
    assert await rotating.revoke("alice", made.id)
    assert await (await workers.start(OTHER)).outcome(key) == "unauthenticated"


async def test_keys_follow_their_owner_to_another_tier(workers: Workers, worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    bobs, _ = await worker.create("bob", "pro", "laptop", 30)
    other = await workers.start()
    for anyone in (worker, other):
        assert (await anyone.authenticate(key.encode())).tier == "pro"

    assert [found.tier for found in await worker.list("alice", "free")] == ["free"]

    assert (await worker.authenticate(key.encode())).tier == "free"
    other.now += 61
    assert (await other.authenticate(key.encode())).tier == "free"
    assert (await other.authenticate(bobs.encode())).tier == "pro"
    await worker.retier("alice", "enterprise")
    assert (await worker.authenticate(key.encode())).tier == "enterprise"


async def test_a_key_that_is_revoked_while_it_follows_its_owner_stays_revoked(
    workers: Workers, worker: Worker
) -> None:
    key, made = await worker.create("alice", "pro", "laptop", 30)
    other = await workers.start()
    other.store.answered_before_gate = 1
    other.store.gate.clear()
    following = asyncio.create_task(other.retier("alice", "free"))
    await until(lambda: len(other.store.calls) == 2, "nothing is to be changed")
    await worker.revoke("alice", made.id)
    other.store.gate.set()
    await following

    assert await worker.list("alice") == []
    assert await (await workers.start()).outcome(key) == "unauthenticated"


async def test_a_key_of_a_tier_that_is_no_more_is_forbidden_as_a_token_is(worker: Worker) -> None:
    key, _ = await worker.create("alice", "platinum", "laptop", 30)

    with pytest.raises(Fault, match="no subscription") as caught:
        await worker.authenticate(key.encode())
    assert caught.value.kind == "forbidden"


async def test_a_known_key_is_looked_up_again_beside_the_requests(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    await worker.authenticate(key.encode())
    await worker.settled()
    worker.store.calls.clear()
    worker.store.gate.clear()
    worker.now += 31

    for _ in range(10):
        await asyncio.wait_for(worker.authenticate(key.encode()), 1)

    assert worker.store.calls == ["record_get"]
    worker.store.gate.set()
    await worker.settled()
    worker.now += 29
    worker.store.calls.clear()
    await worker.authenticate(key.encode())
    assert worker.store.calls == []


async def test_a_key_that_was_removed_behind_our_back_ends_within_a_minute(
    workers: Workers, worker: Worker
) -> None:
    key, made = await worker.create("alice", "pro", "laptop", 30)
    await worker.authenticate(key.encode())
    await worker.store.record_take("keys:alice", made.id)
    assert await worker.outcome(key) == "alice"

    worker.now += 61

    assert await worker.outcome(key) == "unauthenticated"


async def test_without_the_store_known_keys_go_on_and_unknown_ones_wait(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    unseen, _ = await worker.create("alice", "pro", "desktop", 30)
    await worker.authenticate(key.encode())
    await worker.settled()
    worker.store.is_up = False

    assert await worker.outcome(unseen) == "overloaded"
    for seconds in (29, 31, 61, 599):
        assert await worker.outcome(key) == "alice", seconds
        worker.now += seconds - (seconds > 31) * 61
    worker.now += 600
    assert await worker.outcome(key) == "overloaded"

    worker.store.is_up = True
    await until_is(worker, key, "alice")
    assert await worker.outcome(unseen) == "alice"


async def until_is(worker: Worker, key: str, outcome: str) -> None:
    deadline = time.monotonic() + 5
    while await worker.outcome(key) != outcome:
        assert time.monotonic() < deadline, outcome
        worker.now += 1.1
        await worker.settled()


async def test_a_store_that_is_down_is_asked_once_a_second_for_a_known_key(worker: Worker) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    await worker.authenticate(key.encode())
    await worker.settled()
    worker.store.is_up = False
    worker.store.calls.clear()
    worker.now += 61

    for _ in range(50):
        await worker.authenticate(key.encode())
    assert worker.store.calls.count("record_get") == 1
    worker.now += 1.1
    for _ in range(50):
        await worker.authenticate(key.encode())
        await worker.settled()
    assert worker.store.calls.count("record_get") == 2


async def test_somebody_who_makes_keys_up_does_not_flood_the_store(worker: Worker) -> None:
    worker.store.gate.clear()
    guesses = [asyncio.create_task(worker.outcome(new())) for _ in range(2000)]
    await until(lambda: worker.store.calls, "no look-up")
    refused = [guess for guess in guesses if guess.done()]
    assert len(worker.store.calls) == known_keys._UNKNOWN_AT_ONCE
    assert len(refused) == 2000 - known_keys._UNKNOWN_AT_ONCE - known_keys._UNKNOWN_WAITING
    assert {guess.result() for guess in refused} == {"overloaded"}
    worker.store.gate.set()
    assert set(await asyncio.gather(*guesses)) == {"overloaded", "unauthenticated"}


async def test_the_same_unknown_key_is_looked_up_once(worker: Worker) -> None:
    key = new()

    outcomes = await asyncio.gather(*(worker.outcome(key) for _ in range(100)))
    outcomes.append(await worker.outcome(key))

    assert set(outcomes) == {"unauthenticated"}
    assert worker.store.calls == ["record_get"]


async def test_no_more_keys_are_remembered_than_there_is_room_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "_KEPT", 3)
    for _ in range(5):
        key, _ = await worker.create(new(), "pro", "laptop", 30)
        await worker.authenticate(key.encode())
        await worker.outcome(new())

    assert len(worker._known._known) == 3
    assert len(worker._known._unknown) == 3


async def test_the_store_never_holds_a_key(worker: Worker, tmp_path: Path) -> None:
    key, _ = await worker.create("alice", "pro", "laptop", 30)
    await worker.authenticate(key.encode())
    await worker.settled()

    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())

    assert b"alice" in stored
    assert key.encode() not in stored
    assert key[4:47].encode() not in stored


async def test_without_a_pepper_one_is_made_in_a_file_for_its_owner_alone(
    workers: Workers, tmp_path: Path
) -> None:
    one, other = await workers.start(None), await workers.start(None)
    key, _ = await one.create("alice", "pro", "laptop", 30)

    assert await other.outcome(key) == "alice"
    file = tmp_path / "data" / "key-pepper"
    assert file.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", file.read_text())
    # Configured later: the keys that are there go on.
    assert await (await workers.start(OTHER)).outcome(key) == "alice"


async def test_in_redis_there_are_no_keys_without_a_pepper(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    core = cast(Records, None)
    settings = workers.settings(None, QUOTA_REDIS_URL="redis://127.0.0.1:1")
    assert personal_keys.build(settings, core, Revocations(core)) is None
    assert "LLM_GATEWAY_KEY_PEPPER" in caplog.text

    settings = workers.settings(ONE, QUOTA_REDIS_URL="redis://127.0.0.1:1")
    assert personal_keys.build(settings, core, Revocations(core)) is not None
