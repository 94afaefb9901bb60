import pytest

from llm_gateway.policy.catalogue import classify, is_well_formed, plain
from llm_gateway.policy.routes import matches


@pytest.mark.parametrize(
    ("name", "model_class"),
    [
        ("claude-opus-5-5", "opus"),
        ("claude-3-opus-20240229", "opus"),
        ("anthropic/claude-opus-4-1", "opus"),
        ("Anthropic/Claude-Opus-4-1", "opus"),
        ("claude-sonnet-5-5[1m]", "sonnet"),
        ("claude-3-7-sonnet-20250219", "sonnet"),
        ("claude-haiku-4-5@20251001", "haiku"),
        ("claude-haiku-opus-1", "opus"),
        ("claude-instant-1.2", "claude"),
        ("claude-opusculum", "claude"),
        ("gpt-4o", "gpt"),
        ("openai/gpt-5", "gpt"),
        ("chatgpt-4o-latest", "gpt"),
        ("o3-mini", "gpt"),
        ("o1", "gpt"),
        ("claude-internal-gpt-4", None),
        ("claude", None),
        ("claude-", None),
        ("gpt", None),
        ("opus", None),
        ("olympus", None),
        ("my-claude-opus", None),
        ("someone/claude-opus-5", None),
        ("claude-opus-5\n", None),
        ("", None),
    ],
)
def test_class_follows_from_the_spelling(name: str, model_class: str | None) -> None:
    assert classify(name) == model_class


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("anthropic/claude-opus-4-1[1m]", "claude-opus-4-1"),
        ("openai/gpt-5", "gpt-5"),
        ("x/anthropic/claude", "x/anthropic/claude"),
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B"),
    ],
)
def test_plain_name_has_no_vendor_and_no_window_suffix(name: str, spelling: str) -> None:
    assert plain(name) == spelling


def test_longest_name_is_128_characters_and_the_suffix() -> None:
    assert is_well_formed("x" * 128 + "[1m]")
    assert not is_well_formed("x" * 129)


@pytest.mark.parametrize(
    ("pattern", "name", "does_match"),
    [
        ("claude-*", "claude-3-opus", True),
        ("claude-?-opus", "claude-3-opus", True),
        ("claude-*[1m]", "claude-opus[1m]", True),
        ("claude-*[1m]", "claude-opus1", False),
        ("gpt-4[o]", "gpt-4o", False),
        ("GPT-4*", "gpt-4", False),
    ],
)
def test_globs_know_only_stars_and_question_marks(pattern: str, name: str, does_match: bool) -> None:
    assert matches(pattern, name) is does_match
