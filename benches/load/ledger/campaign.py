"""One campaign from start to end: servers, faults, quiet, comparison."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from servers import free_port

from ledger.accounts import Accounts
from ledger.admission import over_admissions
from ledger.client import Clients
from ledger.faults import Faults, Scene
from ledger.matching import Matching
from ledger.measure import Measurement
from ledger.plan import GATEWAYS, Plan
from ledger.proxy import Proxy
from ledger.reckoning import Reckoning, reckon, told
from ledger.servers import LEASE_S, Gateway, Redis, settings
from ledger.trace import Seen, Traces
from ledger.upstream import Upstream
from ledger.verdict import Rates, possible
from ledger.views import sums, wrong_views

CLIENTS = 48
QUIET_S = 40.0
"""How long the journals may take to be empty: a breaker looks every five seconds only."""
PROGRESS_S = 5.0


@dataclass
class Result:
    """What a campaign has found."""

    reckoning: Reckoning
    requests: Counter[str]
    faults: Counter[str]
    over_admitted: int
    admissions: list[str]
    journal_waiting: float
    journal_lost: float
    stuck: int
    views: list[str]
    """Windows for which `/quota` says something else than the counters."""
    gateway_counts: dict[str, float] = field(default_factory=dict)
    """What the gateways say of themselves, for information."""

    def failures(self) -> dict[str, int]:
        """What has to be zero."""
        reckoning = self.reckoning
        return {
            "units lost": reckoning.lost.total(),
            "units doubled": reckoning.doubled.total(),
            "units in the wrong bucket": reckoning.misplaced,
            "leases open after their time": reckoning.open_leases,
            "over-admissions beyond the share rule": self.over_admitted,
            "journal entries lost": int(self.journal_lost),
            "journal entries left": int(self.journal_waiting),
            "requests against the table": len(reckoning.contradictions),
            "requests without an end": self.stuck,
            "views that differ from the counters": len(self.views),
        }


class Campaign:
    """A context for one run in `folder`; everything that it starts has ended when `run` returns."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._folder, self._seed, self._say = folder, seed, say
        self._traces = Traces()
        self._plan = Plan(seed)

    async def run(self, seconds: float) -> Result:
        """The whole campaign with faults for so many seconds."""
        redis_port, proxy_port, upstream_port = free_port(), free_port(), free_port()
        with ExitStack() as stack:
            redis = stack.enter_context(Redis(redis_port, self._folder / "redis"))
            await redis.wait_until_it_answers()
            proxy = Proxy(proxy_port, redis_port, self._seed)
            upstream = Upstream(upstream_port, self._traces)
            await proxy.open()
            await upstream.open()
            made = settings(upstream_port, proxy_port)
            gateways = [
                stack.enter_context(Gateway(number, free_port(), self._folder, made))
                for number in range(GATEWAYS)
            ]
            await asyncio.gather(*(gateway.wait_until_it_serves() for gateway in gateways))
            accounts = Accounts(redis_port)
            stack.callback(accounts.close)
            try:
                return await self._play(Scene(redis, proxy, upstream, gateways), accounts, seconds)
            finally:
                upstream.close()
                proxy.close()

    async def _play(self, scene: Scene, accounts: Accounts, seconds: float) -> Result:
        clients = Clients([gateway.port for gateway in scene.gateways], self._plan, self._traces)
        calm, scene.proxy.weather.reply_lost = scene.proxy.weather.reply_lost, 0.0
        rates = await Measurement(self._plan, clients, scene.upstream, accounts).rates(scene.gateways)
        scene.proxy.weather.reply_lost = calm
        self._say(f"{len(self._traces)} requests have shown how tokens are counted; faults begin")
        faults = Faults(scene, self._seed)
        ends = asyncio.Event()
        progress = asyncio.create_task(self._progress(faults))
        load = asyncio.create_task(clients.run(CLIENTS, ends))
        try:
            await faults.run(seconds)
        finally:
            ends.set()
            scene.proxy.weather.reply_lost = 0.0
            await load
            progress.cancel()
        self._say(f"faults are over, {len(self._traces)} requests have ended")
        journal = await self._quiet(scene.gateways)
        self._say("waiting until every lease's time is over")
        await asyncio.sleep(LEASE_S + 1)
        return await self._compare(scene, accounts, rates, (faults, journal))

    async def _progress(self, faults: Faults) -> None:
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_S)
            passed_s = time.monotonic() - began_s
            self._say(f"{passed_s:4.0f} s: {len(self._traces)} requests, {faults.counts.total()} faults")

    async def _quiet(self, gateways: list[Gateway]) -> float:
        """Returns when nothing waits for the store any more, or how much does after all patience."""
        until = time.monotonic() + QUIET_S
        while True:
            await asyncio.sleep(0.5)
            for gateway in gateways:
                gateway.check()
            ready = [(await asyncio.to_thread(gateway.get, "/health/ready"))[0] for gateway in gateways]
            waiting = sum([(await sums(gateway))["gateway_quota_journal_entries"] for gateway in gateways])
            if ready == [200] * len(gateways) and not waiting:
                return 0.0
            if time.monotonic() > until:
                self._say(f"not quiet after {QUIET_S:.0f} s: ready {ready}, {waiting:.0f} journal entries")
                return max(waiting, 1.0)

    async def _compare(
        self, scene: Scene, accounts: Accounts, rates: Rates, after: tuple[Faults, float]
    ) -> Result:
        faults, waiting = after
        found = await asyncio.to_thread(accounts.of_all)
        records = [(gateway.number, record) for gateway in scene.gateways for record in gateway.records()]
        matching = Matching(
            self._traces, faults.kills, lambda trace, record: told(trace, record) in possible(trace, rates)
        )
        matched = matching.of(records)
        reckoning, costs = reckon(
            self._traces, matched, found, rates, await asyncio.to_thread(accounts.now_s)
        )
        excess, admissions = over_admissions(costs, faults.outages, faults.kills)
        counted = [await sums(gateway) for gateway in scene.gateways]
        totals = {name: sum(each[name] for each in counted) for name in counted[0]}
        return Result(
            reckoning,
            requests=Counter(trace.seen.value for trace in self._traces)
            + Counter(f"record: {record['outcome']}" for _, record in records)
            + Counter({"record: lost with its worker": len(matched.lost)}),
            faults=faults.counts + scene.proxy.cuts,
            over_admitted=excess,
            admissions=admissions,
            journal_waiting=waiting,
            journal_lost=totals["gateway_quota_journal_lost_total"],
            stuck=sum(trace.seen is Seen.STUCK for trace in self._traces),
            views=[line for gateway in scene.gateways for line in await wrong_views(gateway, found)],
            gateway_counts=totals,
        )
