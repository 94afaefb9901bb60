"""What goes wrong, and when: three lanes of faults, each decided by the seed."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ledger.proxy import Proxy, Weather
from ledger.servers import Gateway, Redis
from ledger.upstream import Upstream

REST_OF_WORKERS_S = 7.0
"""A server that sees a worker die within 5.5 s of its start takes it for a crash loop, and ends."""


@dataclass(frozen=True)
class Span:
    """When something was wrong, in Unix seconds."""

    began_at_s: float
    ended_at_s: float


@dataclass(frozen=True)
class Kill:
    """A worker that was killed."""

    gateway: int
    at_s: float


@dataclass(frozen=True)
class Scene:
    """What can go wrong."""

    redis: Redis
    proxy: Proxy
    upstream: Upstream
    gateways: list[Gateway]


Fault = Callable[[], Coroutine[None, None, None]]


class Faults:
    """Faults at random moments until they are told to end; afterwards everything is as it should be."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._random = random.Random(seed)  # noqa: S311 - a fault, not a secret
        self.counts: Counter[str] = Counter()
        self.kills: list[Kill] = []
        self.outages: list[Span] = []
        """When no call could reach Redis."""

    async def run(self, seconds: float) -> None:
        """All three lanes for so long, and then until the last fault is over."""
        ends_at_s = time.monotonic() + seconds
        store = {
            "redis killed": self._kill_redis,
            "redis frozen": self._freeze_redis,
            "store slow": self._slow_store,
            "store cut": self._cut_store,
            "store unreachable": self._close_store,
            "store silent": self._silent_store,
            "scripts flushed": self._forget_scripts,
        }
        workers = {"worker killed": self._kill_worker, "worker frozen": self._freeze_worker}
        upstream = {"upstream down": self._close_upstream}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lane(store, (1.0, 3.5), ends_at_s))
            group.create_task(self._lane(workers, (3.0, 6.0), ends_at_s))
            group.create_task(self._lane(upstream, (6.0, 12.0), ends_at_s))

    async def _lane(self, faults: Mapping[str, Fault], rest_s: tuple[float, float], ends_at_s: float) -> None:
        for name in self._turns(list(faults)):
            await asyncio.sleep(min(self._random.uniform(*rest_s), max(ends_at_s - time.monotonic(), 0)))
            if time.monotonic() >= ends_at_s:
                return
            self.counts[name] += 1
            await faults[name]()

    def _turns(self, names: list[str]) -> Iterator[str]:
        """Every fault once in a random order, then again in another."""
        while True:
            self._random.shuffle(names)
            yield from names

    async def _kill_redis(self) -> None:
        began_at_s = time.time()
        self._scene.redis.kill()
        await asyncio.sleep(self._random.choice((0.0, self._random.uniform(0.2, 4.0))))
        self._scene.redis.start()
        await self._scene.redis.wait_until_it_answers()
        self.outages.append(Span(began_at_s, time.time()))

    async def _freeze_redis(self) -> None:
        began_at_s = time.time()
        self._scene.redis.signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.2, 5.0))
        self.outages.append(Span(began_at_s, time.time()))
        self._scene.redis.signal(signal.SIGCONT)

    async def _slow_store(self) -> None:
        delay_s = self._random.choice((self._random.uniform(0.05, 0.3), self._random.uniform(0.3, 5.0)))
        await self._with(Weather(delay_s=delay_s), self._random.uniform(1.0, 4.0))

    async def _cut_store(self) -> None:
        lost, torn, unheard = (self._random.uniform(0.0, 0.3) for _ in range(3))
        await self._with(
            Weather(reply_lost=lost, reply_torn=torn, command_lost=unheard), self._random.uniform(1.0, 4.0)
        )

    async def _close_store(self) -> None:
        self._scene.proxy.weather = Weather(open=False)
        self._scene.proxy.cut()
        await self._outage(self._random.uniform(0.5, 3.0))

    async def _silent_store(self) -> None:
        self._scene.proxy.weather = Weather(silent=True)
        await self._outage(self._random.uniform(0.5, 4.0))
        self._scene.proxy.cut()

    async def _outage(self, seconds: float) -> None:
        began_at_s = time.time()
        await asyncio.sleep(seconds)
        self.outages.append(Span(began_at_s, time.time()))
        self._scene.proxy.weather = Weather()

    async def _with(self, weather: Weather, seconds: float) -> None:
        self._scene.proxy.weather = weather
        await asyncio.sleep(seconds)
        self._scene.proxy.weather = Weather()

    async def _forget_scripts(self) -> None:
        await self._scene.redis.forget_scripts()

    async def _kill_worker(self) -> None:
        last_s = {kill.gateway: kill.at_s for kill in self.kills}
        longest_ago = min(self._scene.gateways, key=lambda gateway: last_s.get(gateway.number, 0.0))
        await asyncio.sleep(last_s.get(longest_ago.number, 0.0) + REST_OF_WORKERS_S - time.time())
        workers = longest_ago.workers()
        if workers:
            self.kills.append(Kill(longest_ago.number, time.time()))
            os.kill(self._random.choice(workers), signal.SIGKILL)

    async def _freeze_worker(self) -> None:
        workers = self._random.choice(self._scene.gateways).workers()
        if not workers:
            return
        frozen = self._random.choice(workers)
        os.kill(frozen, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._random.uniform(0.5, 4.0))
        finally:
            with suppress(ProcessLookupError):
                os.kill(frozen, signal.SIGCONT)

    async def _close_upstream(self) -> None:
        self._scene.upstream.close()
        await asyncio.sleep(self._random.uniform(0.3, 1.5))
        await self._scene.upstream.open()
