"""Whether this replica should get requests, and a word on each of what it depends on."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from llm_gateway.config.schema import Tier


class StoreState(NamedTuple):
    """How the quota store is, as the core tells it.

    `text` is `ok` or a sentence. `local`: tiers may still go on from the last known counts. `down_s` is how
    long it has not answered, `waiting` how many settlements wait for it, `journal_failed` whether those
    cannot be kept on disk.
    """

    text: str
    local: bool
    down_s: float
    waiting: int
    journal_failed: bool


def readiness(tiers: Mapping[str, Tier], store: StoreState, auth: str, now: datetime) -> tuple[int, Any]:
    """Status and body of `/health/ready`: `ok` and `degraded` are 200, `unavailable` is 503.

    Without the store the replica stays in service if every tier with a limit goes on without it. Out of
    service it would serve nobody, and so would all others: they share that store.
    """
    metered = {name: tier for name, tier in tiers.items() if _is_metered(tier)}
    is_up = store.text == "ok"
    checks = {"store": store.text if is_up else _outage(metered, store, now), "auth": auth}
    if store.journal_failed:
        checks["journal"] = "cannot be written: what waits for the quota store is lost when this process ends"
    goes_on = is_up or all(_goes_on(tier, store) for tier in metered.values())
    if auth != "ok" or not goes_on:
        return 503, {"status": "unavailable", "checks": checks}
    return 200, {"status": "ok" if is_up and not store.journal_failed else "degraded", "checks": checks}


def _is_metered(tier: Tier) -> bool:
    return any(window.limit is not None for window in tier.quota)


def _goes_on(tier: Tier, store: StoreState) -> bool:
    if store.journal_failed or tier.on_store_failure == "closed":
        return False
    return tier.on_store_failure == "open" or store.local


def _outage(metered: Mapping[str, Tier], store: StoreState, now: datetime) -> str:
    since = (now - timedelta(seconds=store.down_s)).astimezone(UTC).replace(microsecond=0)
    modes = ", ".join(f"{name}: {_mode(tier, store)}" for name, tier in metered.items())
    waiting = f"{store.waiting} settlement{'' if store.waiting == 1 else 's'} waiting"
    parts = (store.text, f"since {since.isoformat().replace('+00:00', 'Z')}", modes, waiting)
    return "; ".join(filter(None, parts))


def _mode(tier: Tier, store: StoreState) -> str:
    over = tier.on_store_failure == "local" and not store.local
    return "local (its time is over)" if over else tier.on_store_failure
