"""What the gateways say of themselves and to their users."""

import asyncio
import json
import time

from ledger.accounts import Account, Bucket, stamp
from ledger.plan import USERS, User, Window
from ledger.servers import Gateway

_METRICS = (
    "gateway_quota_journal_entries",
    "gateway_quota_journal_lost_total",
    "gateway_quota_local_grants_total",
    "gateway_quota_older_total",
    "gateway_store_errors_total",
    "gateway_panics_total",
)


async def sums(gateway: Gateway) -> dict[str, float]:
    """The sums of some metrics over all their series."""
    _, page = await asyncio.to_thread(gateway.get, "/metrics")
    found = dict.fromkeys(_METRICS, 0.0)
    for line in page.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in found:
            found[name] += float(line.rpartition(" ")[2])
    return found


async def wrong_views(gateway: Gateway, accounts: dict[str, Account]) -> list[str]:
    """What `/quota` tells users otherwise than the counters."""
    wrong = []
    for user in USERS:
        began_at_s = time.time()
        status, body = await asyncio.to_thread(gateway.get, "/quota", user.key)
        if status != 200:
            wrong.append(f"{user.name}: /quota answers {status}")
            continue
        windows = json.loads(body)["windows"]
        used = {(shown["unit"], shown["period"]): shown["used"] for shown in windows}
        for window in user.tier.windows:
            told = used.get((window.unit, window.period))
            if told not in (counts := _counts(user, window, accounts, (began_at_s, time.time()))):
                wrong.append(f"{user.name} {window.name}: /quota says {told}, the counters {sorted(counts)}")
    return wrong


def _counts(
    user: User, window: Window, accounts: dict[str, Account], times_s: tuple[float, float]
) -> set[int]:
    """What is true of a window: two counts while it begins anew. Nobody is in flight."""
    if window.period is None:
        return {0}
    buckets = accounts[user.name].buckets
    return {buckets.get(Bucket(window.name, stamp(window, at_s)), 0) for at_s in times_s}
