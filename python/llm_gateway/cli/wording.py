"""Quota in words."""

from llm_gateway.config.schema import Window


def window(planned: Window) -> str:
    """What a window lets through: `1,000 requests per day`, `8 concurrent requests`."""
    limit = "unlimited" if planned.limit is None else f"{planned.limit:,}"
    return f"{limit} {counted(planned.unit, planned.period)}"


def counted(unit: str, period: str | None) -> str:
    """What a window counts: `requests per day`, `concurrent requests`."""
    return "concurrent requests" if period is None else f"{unit} per {period}"
