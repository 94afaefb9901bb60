"""`llm-gateway quota` with a core that remembers what it was asked."""

import json
import os
import pwd
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llm_gateway import cli
from llm_gateway.cli import core as command_core
from llm_gateway.config.schema import Window
from llm_gateway.errors import Fault

SETTINGS = """
subscribers:
  - {user: alice, tier: free, key: key-of-alice}
tiers:
  free:
    quota: [{limit: 10}, {unit: tokens, period: month, limit: 5000}, {unit: concurrent, limit: 2}]
quota: {redis_url: "redis://:hunter2@127.0.0.1:1"}
"""
RESET_S = 1_795_478_400
DOWN = Fault("overloaded", "the quota store does not answer (unreachable)")


class Remembering:
    """Stands for the core and its store. `used` is what every counter says, `notes` what was noted."""

    def __init__(self) -> None:
        self.used = 4
        self.notes: list[str] = []
        self.asked: list[tuple[str, list[Window]]] = []
        self.changed: list[tuple[str, Window, int]] = []
        self.failure: Fault | None = None
        self.quota: dict[str, Any] = {}
        self.ended = False

    async def store_state(self) -> tuple[str, bool, float, int, bool]:
        return "ok" if self.failure is None else self.failure.message, True, 0.0, 0, False

    async def counts(
        self, user: str, windows: Sequence[Window]
    ) -> list[tuple[str, str | None, int | None, int, int | None]]:
        self._answer()
        self.asked.append((user, list(windows)))
        return [
            (window.unit, window.period, window.limit, self.used, RESET_S if window.period else None)
            for window in windows
        ]

    async def quota_notes(self, user: str) -> list[str]:
        self._answer()
        return self.notes

    async def set_quota(self, user: str, window: Window, used: int, note: str) -> int:
        self._answer()
        self.changed.append((user, window, used))
        self.notes.insert(0, note)
        before, self.used = self.used, used
        return before

    def stop(self) -> None:
        self.ended = True

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Remembering:
    remembering = Remembering()

    def made(settings: bytes, *_: object) -> Remembering:
        remembering.quota = json.loads(settings)["quota"]
        return remembering

    monkeypatch.setattr(command_core, "Core", made)
    return remembering


@pytest.fixture
def run(
    core: Remembering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `llm-gateway quota` with these words; status, standard output, standard error."""
    file = tmp_path / "gateway.yaml"
    file.write_text(SETTINGS)

    def ran(action: str, *words: str) -> tuple[int, str, str]:
        argv = ["llm-gateway", "quota", action, "--config", str(file), *words]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert "hunter2" not in printed.out + printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return ran


Run = Callable[..., tuple[int, str, str]]
CHANGE = ("alice", "--unit", "tokens", "--period", "month", "--used", "100", "--reason", "a refund")


def test_shows_every_window_of_the_tier_that_the_settings_give(run: Run, core: Remembering) -> None:
    status, printed, _ = run("show", "alice")

    assert printed.splitlines() == [
        "alice on the free tier",
        "  requests per day: 4 of 10, 6 left, until 2026-11-24 00:00:00 UTC",
        "  tokens per month: 4 of 5,000, 4,996 left, until 2026-11-24 00:00:00 UTC",
        "  concurrent requests: 4 of 2, 0 left",
    ]
    assert (status, core.ended) == (0, True)


def test_shows_the_limits_of_a_tier_that_is_given(run: Run, core: Remembering) -> None:
    _, printed, _ = run("show", "alice", "--tier", "pro")

    assert printed.splitlines()[0] == "alice on the pro tier"
    assert core.asked == [("alice", [Window(limit=1000)])]


def test_shows_all_that_is_counted_where_only_the_token_tells_the_tier(run: Run, core: Remembering) -> None:
    _, printed, _ = run("show", "b6f0-sub")

    assert printed.splitlines()[0] == "b6f0-sub on a tier that only the token tells"
    assert "  requests per day: 4, until" in printed
    counted = [Window(), Window(unit="tokens", period="month"), Window(unit="concurrent")]
    assert core.asked == [("b6f0-sub", counted)]


def test_shows_it_in_json_as_the_endpoint_does(run: Run, core: Remembering) -> None:
    run("set", *CHANGE)

    status, printed, _ = run("show", "alice", "--json")

    answer = json.loads(printed)
    assert (status, answer["user"], answer["tier"]) == (0, "alice", "free")
    assert answer["windows"][2] == {
        "unit": "concurrent",
        "period": None,
        "limit": 2,
        "used": 100,
        "remaining": 0,
        "resets_at": None,
    }
    assert answer["windows"][0]["resets_at"] == "2026-11-24T00:00:00Z"
    assert [note["reason"] for note in answer["notes"]] == ["a refund"]


def test_shows_who_changed_it(run: Run, core: Remembering) -> None:
    run("set", *CHANGE)

    _, printed, _ = run("show", "alice")

    last = printed.splitlines()[-1]
    assert last.endswith(f"{operator()} set tokens per month to 100: a refund")


def test_sets_the_current_count_and_says_what_it_was(run: Run, core: Remembering) -> None:
    status, printed, _ = run("set", *CHANGE)

    assert (status, printed) == (0, "alice: tokens per month: 4 → 100\n")
    assert core.changed == [("alice", Window(unit="tokens", period="month"), 100)]
    assert core.ended


def test_leaves_a_record_with_the_account_and_on_standard_error(run: Run, core: Remembering) -> None:
    _, _, logged = run("set", *CHANGE)

    (note,) = core.notes
    assert "\n" not in note
    record = json.loads(note)
    assert abs(datetime.fromisoformat(record.pop("ts")).timestamp() - time.time()) < 60
    assert record == {
        "event": "quota_set",
        "by": operator(),
        "user": "alice",
        "unit": "tokens",
        "period": "month",
        "used": 100,
        "reason": "a refund",
    }
    assert json.loads(logged) == json.loads(note) | {"before": 4}


def test_names_a_user_without_a_name_by_number(
    run: Run, core: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container.
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)

    run("set", *CHANGE)

    assert json.loads(core.notes[0])["by"].startswith("4000000000@")


def test_waits_longer_than_a_request_and_keeps_no_journal(run: Run, core: Remembering) -> None:
    run("show", "alice")

    assert (core.quota["timeout_s"], core.quota["journal_folder"]) == (5.0, None)


@pytest.mark.parametrize("action", ["show", "set"])
def test_fails_in_words_if_the_store_does_not_answer(run: Run, core: Remembering, action: str) -> None:
    core.failure = DOWN

    status, printed, complaint = run(action, *(CHANGE if action == "set" else ("alice",)))

    assert (status, printed, core.ended) == (1, "", True)
    assert complaint.startswith(DOWN.message)
    # A change whose answer was lost may have happened.
    assert ("may or may not be set" in complaint) == (action == "set")
    assert "quota_set" not in complaint


def test_settings_that_make_no_core_are_settings_that_cannot_be_used(
    run: Run, core: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Fault("config", "the file cannot be opened")

    monkeypatch.setattr(command_core, "Core", refuse)

    assert run("show", "alice") == (2, "", "the file cannot be opened\n")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--unit", "concurrent", "invalid choice"),
        ("--period", "year", "invalid choice"),
        ("--used", "-1", "expected an integer from 0 to 10^15"),
        ("--used", "ten", "expected an integer from 0 to 10^15"),
        ("--used", "1000000000000001", "expected an integer from 0 to 10^15"),
        ("--reason", " ", "expected one line of 1 to 500 printable characters"),
        ("--reason", "a\nb", "expected one line of 1 to 500 printable characters"),
        ("--reason", "x" * 501, "expected one line of 1 to 500 printable characters"),
        ("--period", "day", "no tier counts tokens per day; configured: requests per day, tokens per month"),
    ],
)
def test_a_change_that_means_nothing_is_refused(
    run: Run, core: Remembering, option: str, value: str, words: str
) -> None:
    given = list(CHANGE)
    given[given.index(option) + 1] = value

    status, printed, complaint = run("set", *given)

    assert (status, printed, core.changed) == (2, "", [])
    assert words in complaint


@pytest.mark.parametrize("user", ["", "x" * 256, "\udcff"])
def test_a_user_that_cannot_be_one_is_refused(run: Run, core: Remembering, user: str) -> None:
    status, _, complaint = run("show", user)

    assert (status, core.asked) == (2, [])
    assert "expected 1 to 255 bytes of UTF-8" in complaint


def test_an_unknown_tier_lists_the_tiers(run: Run, core: Remembering) -> None:
    status, _, complaint = run("show", "alice", "--tier", "gold")

    assert (status, core.asked) == (2, [])
    assert "unknown tier 'gold'; configured: free, pro, enterprise" in complaint


def operator() -> str:
    return f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
