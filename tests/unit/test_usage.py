import msgspec

from llm_gateway.asgi.usage import usages


def test_tells_what_is_left_and_when_it_starts_again() -> None:
    told = msgspec.to_builtins(usages([("requests", "day", 10, 4, 1_795_478_400)]))

    assert told == [
        {
            "unit": "requests",
            "period": "day",
            "limit": 10,
            "used": 4,
            "remaining": 6,
            "resets_at": "2026-11-24T00:00:00Z",
        }
    ]


def test_unlimited_is_null_and_nothing_is_left_rather_than_less() -> None:
    told = usages(
        [("requests", "day", None, 4, 0), ("tokens", "month", 100, 130, 0), ("tokens", "day", 0, 0, 0)]
    )

    assert [(usage["limit"], usage["remaining"]) for usage in told] == [(None, None), (100, 0), (0, 0)]


def test_requests_in_flight_have_neither_period_nor_reset() -> None:
    (usage,) = usages([("concurrent", None, 8, 3, None)])

    assert (usage["period"], usage["resets_at"], usage["remaining"]) == (None, None, 5)
