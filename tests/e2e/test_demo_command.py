"""`llm-gateway demo`, as a stranger meets it after `make run`."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers.claude_code import BINARY
from tests.servers.demo_command import DemoCommand
from tests.servers.scripted import ScriptedUpstream


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoCommand]:
    with DemoCommand(tmp_path) as running:
        yield running


def _paste(lines: str, folder: Path) -> str:
    """What a shell of somebody who has just installed Claude Code prints for these lines."""
    environment = {
        "PATH": f"{BINARY.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    shell = subprocess.run(
        ["bash"], input=lines, env=environment, cwd=folder, capture_output=True, text=True, timeout=50
    )
    assert shell.returncode == 0, shell
    return shell.stdout


def _key(demo: DemoCommand, tier: str) -> str:
    return demo.wait_for(rf"{tier} +(demo-{tier}-\w+)")[1]


def _ask(url: str, key: str) -> httpx.Response:
    body = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{url}/v1/messages", headers={"x-api-key": key}, json=body)


@pytest.mark.claude
@pytest.mark.requires("bash", "curl")
def test_the_pasted_lines_run_claude_code_with_a_tool_and_the_quota_counts_down(
    demo: DemoCommand, tmp_path: Path
) -> None:
    demo.wait_until_running()
    lines = demo.wait_for(r"\n\n(export .*\nexport .*\nclaude .*\n)\n")[1]
    assert "“hello from the demo”" in _paste(lines, tmp_path)
    (window,) = httpx.Response(200, text=_paste(demo.wait_for(r"curl .*")[0], tmp_path)).json()["windows"]
    # The prompt and the tool's result.
    assert (window["limit"], window["used"], window["remaining"]) == (10, 2, 8)
    assert len(re.findall(r"✓ .* free .* → qwen3-32b +200", demo.text())) == 2


def test_says_that_no_model_is_running_and_hides_the_log(demo: DemoCommand) -> None:
    url = demo.wait_until_running()
    assert "No model is running" in demo.text()
    assert _ask(url, _key(demo, "pro")).headers["x-gateway-model"] == "claude-3-haiku"
    demo.wait_for(r"✓ .* pro .* claude-opus-5-5 → claude-3-haiku +200")
    assert _ask(url, "nobodys").status_code == 401
    demo.wait_for(r"✗ .* 401  unauthenticated")
    assert "{" not in demo.text()
    assert "\x1b" not in demo.raw()


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    with DemoCommand(tmp_path, terminal=True) as demo:
        demo.wait_until_running()
        assert "\x1b[36mexport ANTHROPIC_BASE_URL=" in demo.raw()


def test_what_was_pasted_yesterday_works_after_a_restart(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with DemoCommand(tmp_path) as demo:
            demo.wait_until_running()
            keys.append([_key(demo, tier) for tier in ("free", "pro", "enterprise")])
    assert keys[0] == keys[1]
    with DemoCommand(tmp_path / "elsewhere") as demo:
        assert _key(demo, "free") not in keys[0]


def test_a_taken_port_is_told_with_one_that_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        with DemoCommand(tmp_path, port=taken) as demo:
            told = demo.wait_for(r"port (\d+): address already in use; choose another: make run PORT=(\d+)")
            assert demo.process.wait(30) == 1
        assert int(told[1]) == taken
        with socket.create_server(("127.0.0.1", int(told[2]))):
            pass
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, signal_number: signal.Signals) -> None:
    with DemoCommand(tmp_path) as demo:
        url = demo.wait_until_running()
        assert _ask(url, _key(demo, "free")).is_success
        processes = demo.descendants()
        assert len(processes) >= 3
        assert demo.stop(signal_number) == 0
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert demo.text().endswith("Stopped.\n")
    assert "Traceback" not in demo.text()


def test_a_backend_of_the_environment_takes_the_scripts_place(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        environment = {"INTERNAL_LLM_URL": f"{upstream.url}/v1"}
        with DemoCommand(tmp_path, environment=environment) as demo:
            url = demo.wait_until_running()
            assert f"The upstream internal is {upstream.url}" in demo.text()
            assert "No model is behind anthropic and openai" in demo.text()
            assert _ask(url, _key(demo, "free")).json()["content"][0]["text"] == "hello there"
            assert "No model is running" in _ask(url, _key(demo, "pro")).json()["content"][0]["text"]
        # Empty ones asked which API it speaks.
        assert sum(request.body not in (b"", b"{}") for request in upstream.requests) == 1


def test_an_upstream_that_ended_is_told(demo: DemoCommand) -> None:
    url = demo.wait_until_running()
    upstream = _process(demo, "llm_gateway.demo")
    os.kill(upstream, signal.SIGTERM)
    _wait_until_gone(upstream)
    assert _ask(url, _key(demo, "free")).status_code == 502
    demo.wait_for(r"✗ .* → qwen3-32b +502  upstream error")
    demo.wait_for("the built-in upstream has ended")


def test_a_gateway_that_ended_is_told(demo: DemoCommand) -> None:
    demo.wait_until_running()
    os.kill(_process(demo, "serve"), signal.SIGTERM)
    demo.wait_for(r"the gateway has ended with status 0; its log: data/demo/gateway.log")
    assert demo.process.wait(30) == 1


def test_mistakes_in_the_environment_are_told(tmp_path: Path) -> None:
    for environment, told, status in [
        ({"INTERNAL_LLM_URL": "ftp://x"}, 'INTERNAL_LLM_URL: expected .* found the scheme "ftp"', 2),
        ({"LLM_GATEWAY_DATA_DIR": "/dev/null/x"}, r"/dev/null/x/demo: .* set LLM_GATEWAY_DATA_DIR", 1),
    ]:
        with DemoCommand(tmp_path, environment=environment) as demo:
            demo.wait_for(told)
            assert demo.process.wait(30) == status
            assert "Traceback" not in demo.text()


def _process(demo: DemoCommand, word: str) -> int:
    """The first process that the demo itself has started with that word in its command line."""
    pid = demo.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(
        int(child) for child in children if word in Path(f"/proc/{child}/cmdline").read_text().split("\0")
    )


def _wait_until_gone(pid: int) -> None:
    """Returns when the process has ended, though nobody has asked yet how."""
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "it does not end"
        time.sleep(0.02)
