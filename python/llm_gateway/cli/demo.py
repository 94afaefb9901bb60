"""`llm-gateway demo`, which `make run` runs: the gateway, a scripted upstream, and one subscriber per tier."""

import http.client
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from llm_gateway.cli import console
from llm_gateway.config import load
from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError

_TIERS = ("free", "pro", "enterprise")
_START_S = 20.0


def run(port: int) -> int:
    """Runs until interrupted; the exit status is the gateway's, or 1 if it cannot start."""
    if _taken(port):
        console.complain(f"port {port} is in use; choose another: make run PORT={port + 1}")
        return 1
    folder = Path(load.data_dir()) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    upstream_port = _free_port()
    config = folder / "gateway.yaml"
    keys = _keys(folder / "keys.json")
    config.write_text(_config(folder, upstream_port, keys), encoding="utf-8")
    settings = load.from_process(str(config))
    with ExitStack() as running:
        scripted = f"http://127.0.0.1:{upstream_port}"
        uses_scripted = [name for name, upstream in settings.upstreams.items() if scripted in upstream.urls]
        if uses_scripted:
            running.enter_context(_process("llm_gateway.demo", str(upstream_port)))
            _await(upstream_port)
        arguments = ("serve", "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
        gateway = running.enter_context(_process("llm_gateway", *arguments, stderr=subprocess.PIPE))
        assert gateway.stderr is not None  # noqa: S101 - asked for one line up
        if not _await(port, gateway):
            console.complain(f"the gateway did not start:\n{gateway.stderr.read()}")
            return 1
        _introduce(port, settings, keys, uses_scripted)
        _follow(gateway.stderr, folder / "gateway.log")
        return gateway.wait()


def _config(folder: Path, upstream_port: int, keys: dict[str, str]) -> str:
    """The demo's settings; what the environment sets comes over them when they are loaded."""
    url = [f"http://127.0.0.1:{upstream_port}"]
    upstreams: dict[str, Any] = {}
    # A real backend that the environment names is used instead, and its key must not meet the scripted one's URL.
    if not load.is_set("INTERNAL_LLM_URL"):
        upstreams["internal"] = {"urls": url}
    if not load.is_set("CLAUDE_API_KEY", "CLAUDE_API_URL"):
        upstreams["anthropic"] = {"urls": url, "api_key": "demo"}
    if not load.is_set("OPENAI_API_KEY", "OPENAI_API_URL"):
        upstreams["openai"] = {"urls": url, "api_key": "demo"}
    subscribers = [{"user": f"demo-{tier}", "tier": tier, "key": keys[tier]} for tier in _TIERS]
    settings = {"data_dir": str(folder), "upstreams": upstreams, "subscribers": subscribers}
    note = "# Written by `llm-gateway demo` at every start. A start for your own: deploy/gateway.example.yaml\n"
    return note + yaml.safe_dump(settings, sort_keys=False)


def _keys(file: Path) -> dict[str, str]:
    """A key per tier, made once, so that what was pasted yesterday works today."""
    if file.exists():
        keys: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        if set(keys) == set(_TIERS):
            return keys
    keys = {tier: f"demo-{tier}-{secrets.token_hex(8)}" for tier in _TIERS}
    file.touch(mode=0o600)
    file.write_text(json.dumps(keys), encoding="utf-8")
    return keys


def _introduce(port: int, settings: Settings, keys: dict[str, str], scripted: list[str]) -> None:
    say, strong, faint, paste = console.say, console.strong, console.faint, console.to_paste
    url = f"http://127.0.0.1:{port}"
    say(f"\n{strong('LLM Gateway')} is running at {strong(url)}\n")
    if scripted:
        say(f"  No model is running: {', '.join(scripted)} is the built-in demo upstream, whose answers are scripted.")
        say(faint("  Set INTERNAL_LLM_URL, CLAUDE_API_KEY or OPENAI_API_KEY to use real ones.\n"))
    if settings.auth.provider != "keys":
        say(f"  Tokens are those of {settings.auth.issuer}.\n")
        return
    for tier in _TIERS:
        limit = settings.tiers[tier].quota[0].limit if settings.tiers[tier].quota else None
        quota = "no limit" if limit is None else f"{limit} requests a day"
        say(f"  {tier:<11} {keys[tier]}  {faint(quota)}")
    say(f"\n  Claude Code, in another terminal {faint('(the free tier; any token above works)')}:\n")
    say(paste(f"export ANTHROPIC_BASE_URL={url}"))
    say(paste(f"export ANTHROPIC_API_KEY={keys['free']}"))
    say(paste("claude -p 'say hello, then use a tool'" + " --allowedTools Bash"))
    say(f"\n  The page: {strong(url + '/')}   quota: curl -H 'x-api-key: {keys['free']}' {url}/quota")
    say(faint("  Ctrl-C stops. Requests appear below.\n"))


def _follow(lines: IO[str], log_file: Path) -> None:
    """Shows each request in a line of its own and keeps the whole log in `log_file`."""
    with log_file.open("a", encoding="utf-8") as log:
        for line in lines:
            log.write(line)
            log.flush()
            if shown := _shown(line):
                console.say(shown)


def _shown(line: str) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return line.rstrip()
    if record.get("event") == "request":
        mark = console.good("✓") if record["status"] < 400 else console.bad("✗")
        route = record.get("route", record.get("fault", ""))
        who = record.get("tier", "-")
        total = f"{record['total_ms']:.0f} ms"
        return f"  {mark} {record['ts'][11:19]} {who:<10} {record['api']:<16} {route}  {record['status']}  {console.faint(total)}"
    if record.get("level") in {"warning", "error"}:
        return f"  {console.bad('!')} {record.get('event')} {record.get('exception', '')}"
    return None


@contextmanager
def _process(module: str, *arguments: str, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stderr=stderr, text=True) as process:  # noqa: S603 - our own modules
        try:
            yield process
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[str] | None = None) -> bool:
    """Whether `/health` on a loopback port answered in time, and before `process` ended."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and (process is None or process.poll() is None):
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


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
