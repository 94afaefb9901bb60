"""One line of the gateway's log, as a person reads it on a terminal."""

import json
from datetime import datetime
from typing import Any

from llm_gateway.cli import console

# An ordinary question needs no word.
_NAMES = {"count_tokens": "count tokens"}


def shown(line: str) -> str | None:
    """What to show of a log line: a request in short, warnings and errors in full; None for the rest.

    What is no JSON object, such as a traceback, is shown as it is.
    """
    try:
        record = json.loads(line)
    except ValueError:
        return line.rstrip()
    if not isinstance(record, dict):
        return line.rstrip()
    if record.get("event") == "request":
        return _request(record)
    if record.get("level") in {"warning", "error", "critical"}:
        words = [record.get("event", ""), record.get("exception", "")]
        return f"  {console.bad('!')} {' '.join(filter(None, words))}"
    return None


def _request(record: dict[str, Any]) -> str:
    failed = record["status"] >= 400 or record["outcome"] != "complete"
    words = [
        console.bad("✗") if failed else console.good("✓"),
        f"{datetime.fromisoformat(record['ts']).astimezone():%H:%M:%S}",
        f"{record.get('tier', '-'):<10}",
        _NAMES.get(record["api"], ""),
        record.get("route", "").replace("->", "→"),
        str(record["status"]),
        _why(record) if failed else "",
        console.faint(f"{record['total_ms']:.0f} ms"),
    ]
    return f"  {'  '.join(filter(None, words))}"


def _why(record: dict[str, Any]) -> str:
    reason: str = record.get("fault", record["outcome"]).replace("_", " ")
    return f"{reason}: {record['detail']}" if "detail" in record else reason
