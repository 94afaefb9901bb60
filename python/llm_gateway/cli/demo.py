"""`llm-gateway demo`, which `make run` runs: the gateway, a scripted upstream, one subscriber per tier."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llm_gateway.cli import console, demo_settings, request_line, wording
from llm_gateway.config import load
from llm_gateway.config.schema import Settings

_START_S = 20.0
_PORTS_TRIED = 100

Process = subprocess.Popen[str]


def run(port: int) -> int:
    """Runs until interrupted, which is status 0; 1 if the gateway cannot start or ends by itself.

    Port 0 stands for any free one.
    """
    if problem := _problem_with(port):
        console.complain(problem)
        return 1
    # A closed terminal and `kill` leave no process behind either.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as running:
            return _run(port or _free_port(), running)
    except KeyboardInterrupt:
        console.say(console.faint("\nStopped."))
        return 0


def _run(port: int, running: ExitStack) -> int:
    folder = Path(load.data_dir()) / "demo"
    upstream_port = _free_port()
    upstream_url = f"http://127.0.0.1:{upstream_port}"
    try:
        config, keys = demo_settings.write(folder, upstream_url)
    except OSError as error:
        console.complain(
            f"{folder}: {error.strerror}; set LLM_GATEWAY_DATA_DIR to a folder that can be written"
        )
        return 1
    settings = load.from_process(str(config))
    scripted = [name for name, upstream in settings.upstreams.items() if upstream_url in upstream.urls]
    upstream: Process | None = None
    if scripted:
        upstream = running.enter_context(_process("llm_gateway.demo", str(upstream_port)))
        _await(upstream_port, upstream)
    arguments = ("serve", "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    gateway = running.enter_context(_process("llm_gateway", *arguments, stderr=subprocess.PIPE))
    log_file = folder / "gateway.log"
    if _await(port, gateway):
        _introduce(f"http://127.0.0.1:{port}", settings, keys, scripted)
        _follow(gateway, upstream, log_file)
        console.complain(f"the gateway has ended with status {gateway.wait()}; its log: {log_file}")
    else:
        gateway.terminate()
        console.complain("the gateway did not start:")
        _follow(gateway, upstream, log_file)
    return 1


def _introduce(url: str, settings: Settings, keys: dict[str, str], scripted: list[str]) -> None:
    say, strong, faint = console.say, console.strong, console.faint
    say(f"\n{strong('LLM Gateway')} is running at {strong(url)}\n")
    _name_backends(settings, scripted)
    if settings.auth.provider == "keys":
        say("  Tokens, one per tier:\n")
        for tier in demo_settings.TIERS:
            say(f"    {tier:<10}  {keys[tier]:<32}  {faint(_quota(settings, tier))}")
        say("\n  To use Claude Code, paste this into another terminal:\n")
        say(console.to_paste(f"export ANTHROPIC_BASE_URL={url}"))
        say(console.to_paste(f"export ANTHROPIC_API_KEY={keys['free']}"))
        say(console.to_paste("claude -p 'say hello, then use a tool' --allowedTools Bash"))
        say(f"\n  What is left of the quota:  curl -H 'x-api-key: {keys['free']}' {url}/quota")
    else:
        say(f"  Tokens come from {settings.auth.issuer}; the demo has none of its own.")
    say(f"  How to connect, as a page:  {url}/")
    say(faint("\nCtrl-C stops. Requests:\n"))


def _name_backends(settings: Settings, scripted: list[str]) -> None:
    say, faint = console.say, console.faint
    real = [name for name in settings.upstreams if name not in scripted]
    for name in real:
        say(f"  The upstream {name} is {', '.join(settings.upstreams[name].urls)}.")
    if scripted and real:
        say(f"  No model is behind {' and '.join(scripted)}: these answers come from a built-in script.")
    elif scripted:
        say("  No model is running: the answers come from a built-in script.")
        say(
            faint(
                "  For a real one, set INTERNAL_LLM_URL, CLAUDE_API_KEY or OPENAI_API_KEY, and start again."
            )
        )
    say()


def _quota(settings: Settings, tier: str) -> str:
    limits = [window for window in settings.tiers[tier].quota if window.limit is not None]
    return ", ".join(map(wording.window, limits)) or "no limit"


def _follow(gateway: Process, upstream: Process | None, log_file: Path) -> None:
    """Shows each request in a line and keeps the whole log in `log_file`, until the gateway ends."""
    assert gateway.stderr is not None  # noqa: S101 - it was started with one
    with log_file.open("a", encoding="utf-8") as log:
        for line in gateway.stderr:
            log.write(line)
            log.flush()
            if shown := request_line.shown(line):
                console.say(shown)
            if upstream is not None and upstream.poll() is not None:
                console.complain("the built-in upstream has ended: stop with Ctrl-C, and start again")
                upstream = None


@contextmanager
def _process(module: str, *arguments: str, stderr: int | None = None) -> Iterator[Process]:
    command = [sys.executable, "-m", module, *arguments]
    # In a session of its own Ctrl-C does not reach it: it ends when it is told to, before what it depends on.
    with subprocess.Popen(command, stderr=stderr, text=True, start_new_session=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            process.terminate()


def _await(port: int, process: Process) -> bool:
    """Whether `/health` on a loopback port answered in time, and before `process` ended."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return True
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    return False


def _problem_with(port: int) -> str | None:
    if not 0 <= port <= 65535:
        return f"{port} is not a port; allowed: 1 to 65535"
    error = _refusal(port)
    if error is None:
        return None
    higher = range(max(port, 1023) + 1, min(port + _PORTS_TRIED, 65536))
    free = next((other for other in higher if _refusal(other) is None), 0)
    advice = f"choose another: make run PORT={free}, or llm-gateway demo --port {free}"
    return f"port {port}: {(error.strerror or '').lower()}; {advice}"


def _refusal(port: int) -> OSError | None:
    """Why a server cannot listen on a loopback port, if so."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
