"""`llm-gateway keys` over a real store in a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_gateway import cli
from llm_gateway.cli.store_command import operator

SETTINGS = """
data_dir: "{folder}/data"
keys: {{max_per_user: 2, max_days: 100}}
subscribers:
  - {{user: alice, tier: free, key: key-of-alice}}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `llm-gateway keys` with these words; status, standard output, standard error."""
    file = tmp_path / "gateway.yaml"
    file.write_text(SETTINGS.format(folder=tmp_path))

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["llm-gateway", "keys", *words, "--config", str(file)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return ran


CREATE = ("create", "alice", "--tier", "pro", "--name", "build server")


def test_prints_a_new_key_alone_on_its_line_and_leaves_a_record_without_it(run: Run) -> None:
    status, printed, logged = run(*CREATE, "--days", "30")

    assert (status, len(printed.splitlines())) == (0, 1)
    key = printed.strip()
    assert key.startswith("ogw_")
    assert key not in logged
    record = json.loads(logged)
    assert {name: record[name] for name in ("event", "by", "user", "tier", "name")} == {
        "event": "key_created",
        "by": operator(),
        "user": "alice",
        "tier": "pro",
        "name": "build server",
    }


def test_lists_the_keys_of_a_user_without_the_keys(run: Run) -> None:
    key = json.loads(run(*CREATE, "--json")[1])

    status, printed, _ = run("list", "alice")
    assert status == 0
    assert printed.splitlines()[0] == "alice: 1 of 2 keys"
    assert f"  {key['id']}  build server (pro), until " in printed
    assert printed.rstrip().endswith("never used")

    status, printed, _ = run("list", "alice", "--json")
    assert json.loads(printed) == {
        "user": "alice",
        "keys": [{name: value for name, value in key.items() if name != "key"}],
    }
    assert run("list", "bob")[1] == "bob: 0 of 2 keys\n"


def test_revokes_a_key_by_its_id_and_leaves_a_record(run: Run) -> None:
    one, other = (json.loads(run(*CREATE, "--json")[1]) for _ in range(2))

    status, printed, logged = run("revoke", "alice", one["id"])

    assert (status, printed) == (0, f"alice: revoked {one['id']}\n")
    assert json.loads(logged)["event"] == "key_revoked"
    assert [key["id"] for key in json.loads(run("list", "alice", "--json")[1])["keys"]] == [other["id"]]


def test_revokes_all_keys_of_a_user(run: Run) -> None:
    ids = {json.loads(run(*CREATE, "--json")[1])["id"] for _ in range(2)}

    status, printed, _ = run("revoke", "alice", "--all", "--json")

    assert (status, set(json.loads(printed)["revoked"])) == (0, ids)
    assert json.loads(run("list", "alice", "--json")[1])["keys"] == []
    assert run("revoke", "alice", "--all")[0] == 0


def test_says_that_there_is_no_such_key(run: Run) -> None:
    made = json.loads(run(*CREATE, "--json")[1])

    for words in (("alice", "0" * 16), ("bob", made["id"])):
        status, printed, logged = run("revoke", *words)
        assert (status, printed) == (1, "")
        assert "has no key" in logged
    assert len(json.loads(run("list", "alice", "--json")[1])["keys"]) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("create", "alice", "--tier", "gold", "--name", "x"), "--tier: unknown tier 'gold'"),
        (("create", "alice", "--tier", "pro", "--name", " "), "--name: "),
        (
            ("create", "alice", "--tier", "pro", "--name", "x", "--days", "101"),
            "--days: a key lives 1 to 100",
        ),
        (("revoke", "alice"), "one of the arguments id --all is required"),
        (("revoke", "alice", "0" * 16, "--all"), "not allowed with argument"),
        (("list", ""), "expected 1 to 255 bytes of UTF-8"),
    ],
)
def test_says_what_is_wrong_with_the_words(run: Run, words: tuple[str, ...], complaint: str) -> None:
    status, printed, logged = run(*words)

    assert (status, printed) == (2, "")
    assert complaint in logged


def test_makes_no_more_keys_than_a_user_may_have(run: Run) -> None:
    for _ in range(2):
        assert run(*CREATE)[0] == 0

    status, printed, logged = run(*CREATE)

    assert (status, printed) == (2, "")
    assert "there are 2 keys already" in logged


@pytest.mark.parametrize("setting", ["keys: {enabled: false}", 'quota: {redis_url: "redis://127.0.0.1:1"}'])
def test_says_why_there_are_no_keys(run: Run, tmp_path: Path, setting: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(file.read_text().replace("keys: {max_per_user: 2, max_days: 100}", setting))

    status, _, logged = run("list", "alice")

    assert status == 2
    assert "keys" in logged


def test_says_that_the_store_does_not_answer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_GATEWAY_KEY_PEPPER", "p" * 32)
    monkeypatch.setenv("QUOTA_REDIS_URL", "redis://127.0.0.1:1")

    for words in (("list", "alice"), CREATE, ("revoke", "alice", "--all")):
        status, printed, logged = run(*words)
        assert (status, printed) == (1, "")
        assert "store" in logged
