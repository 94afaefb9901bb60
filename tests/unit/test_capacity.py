"""The plan for a large gateway is the one that the page shows, and follows from what is measured."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _plan(*arguments: str) -> dict[str, float]:
    lines = _output(*arguments).splitlines()
    return {line[:44].strip(): float(line[44:].replace(",", "")) for line in lines}


def _output(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benches" / "capacity.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_page_shows_what_the_model_says() -> None:
    assert f"```\n{_output()}```\n" in (ROOT / "docs" / "capacity.md").read_text()


def test_twice_the_streams_need_twice_the_cores_and_the_same_store_per_request() -> None:
    once, twice = _plan("--streams", "100000"), _plan("--streams", "200000")
    for name in ("events/s", "requests/s", "calls/s to the store", "cores of gateways, at work"):
        assert abs(twice[name] / once[name] - 2) < 0.02, name
    assert twice["memory of all primaries, MB"] == once["memory of all primaries, MB"]


def test_a_machine_of_half_the_speed_needs_twice_the_workers(tmp_path: Path) -> None:
    def report(cpu_s: float) -> str:
        sample = {"cpu_s": cpu_s, "client": {"events": 1_000_000, "requests": 10_000}}
        file = tmp_path / f"{cpu_s}.json"
        file.write_text(json.dumps({"cases": {"paced": {"samples": {"gateway": [sample]}}}}))
        return str(file)

    fast, slow = (_plan("--bench", report(cpu_s))["workers"] for cpu_s in (14.0, 28.0))
    assert abs(slow / fast - 2) < 0.05
