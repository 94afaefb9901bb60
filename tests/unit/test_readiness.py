from datetime import UTC, datetime

import pytest

from llm_gateway.asgi.readiness import StoreState, readiness
from llm_gateway.config.schema import OnStoreFailure, Tier, Window

NOW = datetime(2026, 11, 23, 12, 0, 30, 500_000, tzinfo=UTC)
UP = StoreState("ok", True, 0.0, 0, False)
REFUSED = "unreachable: connection refused"


def down(*, local: bool = True, waiting: int = 3, journal_failed: bool = False) -> StoreState:
    return StoreState(REFUSED, local, 30.5, waiting, journal_failed)


def tiers(**modes: OnStoreFailure) -> dict[str, Tier]:
    metered = {name: Tier(quota=(Window(limit=10),), on_store_failure=mode) for name, mode in modes.items()}
    # Where nothing is limited nobody waits for the store, whatever the mode says.
    unlimited = Tier(quota=(Window(limit=None),), on_store_failure="closed")
    return metered | {"unlimited": unlimited}


def test_all_that_answers_is_ok() -> None:
    status, body = readiness(tiers(free="closed"), UP, "ok", NOW)

    assert (status, body) == (200, {"status": "ok", "checks": {"store": "ok", "auth": "ok"}})


@pytest.mark.parametrize(
    ("modes", "local", "status"),
    [
        ({"free": "local"}, True, 200),
        ({"free": "local", "pro": "open"}, True, 200),
        ({"free": "local", "pro": "closed"}, True, 503),
        ({"free": "local"}, False, 503),
        ({"free": "open"}, False, 200),
        ({}, False, 200),
    ],
)
def test_stays_in_service_while_every_metered_tier_goes_on_without_the_store(
    modes: dict[str, OnStoreFailure], local: bool, status: int
) -> None:
    code, body = readiness(tiers(**modes), down(local=local), "ok", NOW)

    assert (code, body["status"]) == (status, "degraded" if status == 200 else "unavailable")


def test_says_what_is_wrong_since_when_what_is_in_force_and_what_waits() -> None:
    _, body = readiness(tiers(free="local", pro="closed"), down(), "ok", NOW)

    assert body["checks"]["store"] == (
        f"{REFUSED}; since 2026-11-23T12:00:00Z; free: local, pro: closed; 3 settlements waiting"
    )


def test_says_that_going_on_alone_is_over() -> None:
    _, body = readiness(tiers(free="local", pro="open"), down(local=False, waiting=1), "ok", NOW)

    assert body["checks"]["store"].endswith(
        "; free: local (its time is over), pro: open; 1 settlement waiting"
    )


def test_names_a_journal_that_cannot_be_written_while_nothing_waits_yet() -> None:
    status, body = readiness(tiers(free="local"), UP._replace(journal_failed=True), "ok", NOW)

    assert (status, body["status"], body["checks"]["store"]) == (200, "degraded", "ok")
    assert body["checks"]["journal"].startswith("cannot be written")


def test_without_store_and_journal_nothing_can_be_granted() -> None:
    status, body = readiness(tiers(free="open"), down(journal_failed=True), "ok", NOW)

    assert (status, body["status"]) == (503, "unavailable")


def test_is_out_of_service_without_the_keys_that_tokens_are_checked_by() -> None:
    status, body = readiness(tiers(free="local"), UP, "jwks unavailable", NOW)

    assert (status, body["status"], body["checks"]["auth"]) == (503, "unavailable", "jwks unavailable")
