"""Revocations over a real store: two cores on one file are two workers."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway._core import Core
from llm_gateway.auth.revocations import Revocations
from llm_gateway.errors import Fault
from llm_gateway.records import Records
from tests.servers.cores import two_cores

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cores(tmp_path: Path) -> AsyncIterator[tuple[Core, Core]]:
    async with two_cores(tmp_path) as (_, both):
        yield both


class Failing:
    """A store that answers only while `is_up`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.is_up = True

    def __getattr__(self, name: str) -> Any:
        async def ask(*arguments: Any) -> Any:
            if not self.is_up:
                raise Fault("overloaded", "the store does not answer")
            return await getattr(self._core, name)(*arguments)

        return ask


async def until(revocations: Revocations, name: str, within_s: float = 1.0) -> float:
    """How long it took until `name` was known as revoked."""
    begun = time.monotonic()
    while revocations.revoked_at(name) is None:
        assert time.monotonic() - begun < within_s, "not in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def started(records: Records) -> Revocations:
    revocations = Revocations(records)
    await revocations.start()
    return revocations


async def test_what_is_revoked_on_one_worker_is_on_the_other_within_a_second(
    cores: tuple[Core, Core],
) -> None:
    one, other = await started(cores[0]), await started(cores[1])
    told: list[str] = []
    other.listen(told.append)
    before = time.time()
    await one.add("jti:x", 60)
    assert one.revoked_at("jti:x") == pytest.approx(before, abs=1)
    await until(other, "jti:x")
    assert other.revoked_at("jti:x") == pytest.approx(before, abs=1)
    assert other.revoked_at("jti:y") is None
    assert told == ["jti:x"]
    for revocations in (one, other):
        await revocations.stop()


async def test_a_worker_that_starts_later_knows_what_was_revoked(cores: tuple[Core, Core]) -> None:
    one = await started(cores[0])
    await one.add("jti:x", 60)
    other = await started(cores[1])
    assert other.revoked_at("jti:x") is not None
    for revocations in (one, other):
        await revocations.stop()


async def test_a_revocation_is_forgotten_when_nobody_could_believe_in_the_credential(
    cores: tuple[Core, Core],
) -> None:
    one = await started(cores[0])
    await one.add("jti:x", 0.3)
    until_s = time.monotonic() + 3
    while one.revoked_at("jti:x") is not None:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)
    await one.stop()


async def test_what_the_store_did_not_take_is_revoked_nowhere(cores: tuple[Core, Core]) -> None:
    store = Failing(cores[0])
    one = await started(store)
    store.is_up = False
    with pytest.raises(Fault):
        await one.add("jti:x", 60)
    assert one.revoked_at("jti:x") is None
    await one.stop()


async def test_reading_goes_on_after_an_outage_and_is_logged_once(
    cores: tuple[Core, Core], caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(cores[0])
    one, other = await started(store), await started(cores[1])
    store.is_up = False
    await other.add("jti:x", 60)
    await asyncio.sleep(1.0)
    assert one.revoked_at("jti:x") is None
    store.is_up = True
    await until(one, "jti:x", within_s=2)
    assert len([line for line in caplog.records if "revocations cannot be read" in line.message]) == 1
    for revocations in (one, other):
        await revocations.stop()
