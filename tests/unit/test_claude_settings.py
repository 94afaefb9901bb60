"""What `setup` makes of Claude Code's settings."""

import json
from collections.abc import Callable

import pytest

from llm_gateway.cli.subscriber import claude_settings
from llm_gateway.cli.subscriber.problem import ProblemError

URL = "https://gateway.example"
THEIRS = {"theme": "dark", "env": {"FOO": "ü"}, "permissions": {"allow": ["Bash(ls:*)"]}}


@pytest.mark.parametrize("way", [claude_settings.by_sign_in, claude_settings.by_helper])
@pytest.mark.parametrize("indent", [1, 2, 4, "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_is_theirs_stays_and_comes_back_as_it_was(
    way: Callable[[str, str], str], indent: int | str, line_end: str
) -> None:
    before = (json.dumps(THEIRS, indent=indent, ensure_ascii=False) + "\n").replace("\n", line_end)
    after = way(before, URL)
    assert after != before
    for name, value in THEIRS.items():
        kept = json.loads(after)[name]
        assert kept == value or (name == "env" and kept["FOO"] == "ü")
    assert claude_settings.taken_back(after, URL) == before


def test_the_helper_leaves_no_env_behind_that_was_not_there() -> None:
    assert json.loads(claude_settings.taken_back(claude_settings.by_helper("", URL), URL)) == {}


def test_one_way_takes_the_place_of_the_other_and_of_another_gateway() -> None:
    other = "https://other.example"
    first = claude_settings.by_helper('{"theme": "dark"}', other)
    second = json.loads(claude_settings.by_sign_in(first, URL))
    assert second == {"theme": "dark", "forceLoginMethod": "gateway", "forceLoginGatewayUrl": URL}
    third = json.loads(claude_settings.by_helper(json.dumps(second), other))
    assert set(third) == {"theme", "apiKeyHelper", "env"}
    assert third["env"]["ANTHROPIC_BASE_URL"] == other


@pytest.mark.parametrize("helper", ["/opt/vault get key", "llm-gateway status --url x", "'unclosed", 5, None])
def test_a_helper_of_their_own_is_not_taken_for_ours(helper: object) -> None:
    before = json.dumps({"apiKeyHelper": helper, "env": {"ANTHROPIC_BASE_URL": "https://vault.example"}})
    assert claude_settings.taken_back(before, URL) == before


@pytest.mark.parametrize("env", [None, "text", ["FOO"]])
def test_an_env_that_is_no_object_does_not_stop_it(env: object) -> None:
    after = json.loads(claude_settings.by_helper(json.dumps({"env": env}), URL))
    assert after["env"]["ANTHROPIC_BASE_URL"] == URL


@pytest.mark.parametrize("text", ["[]", '"x"', "{", "{'a': 1}", '{"a": 1,}', "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ProblemError, match=r"settings\.json"):
        claude_settings.by_sign_in(text, URL)
