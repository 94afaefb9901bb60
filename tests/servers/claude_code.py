"""Runs the real Claude Code binary, without an account, against any base URL.

`run_claude` waits for the end; `start_claude` returns the running process, for tests that kill it mid-stream.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import claude_agent_sdk

Event = dict[str, Any]
TokenVariable = Literal["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"]

BINARY = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


@dataclass(frozen=True)
class ClaudeResult:
    """What one run printed: every line of `stream-json`, and what its closing `result` line says.

    `exit_code` is negative for a signal. `session_id` is for `resume` in a later run with that `config_dir`.
    """

    events: list[Event]
    exit_code: int
    stderr: str
    duration_s: float
    text: str = field(init=False)
    is_error: bool = field(init=False)
    session_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        final = next((event for event in reversed(self.events) if event.get("type") == "result"), {})
        object.__setattr__(self, "text", final.get("result", ""))
        object.__setattr__(self, "is_error", final.get("is_error", True))
        object.__setattr__(self, "session_id", final.get("session_id"))

    def blocks(self, kind: str) -> list[dict[str, Any]]:
        """Every content block of that type (`text`, `thinking`, `tool_use`, `tool_result`), in order."""
        contents = [event["message"]["content"] for event in self.events if "message" in event]
        blocks = [block for content in contents if isinstance(content, list) for block in content]
        return [block for block in blocks if block.get("type") == kind]


class RunningClaude:
    """A started run. As a context manager it kills what is still running on the way out."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, temporary: bool) -> None:
        self._process = process
        self._folder, self._temporary = folder, temporary
        self._started_at = time.monotonic()
        self._changed = threading.Condition()
        self._stderr = b""
        self._events: list[Event] = []
        self._over = False
        self._readers = [threading.Thread(target=read) for read in (self._read_events, self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _read_events(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                # A kill came in the middle of it.
                break
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_stderr(self) -> None:
        assert self._process.stderr
        self._stderr = self._process.stderr.read()

    def wait_for_event(self, wanted: Callable[[Event], bool], timeout_s: float = 30) -> Event:
        """The first event that is wanted, already printed or still to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or any(map(wanted, self._events)), timeout_s)
            found = next(filter(wanted, self._events), None)
        if found is None:
            raise TimeoutError(f"no such event; seen: {[event.get('type') for event in self._events]}")
        return found

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Signals the client and everything it started; SIGINT is what ctrl-C sends."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal_number)
        if signal_number == signal.SIGKILL:
            self.wait()

    def wait(self, timeout_s: float = 60) -> ClaudeResult:
        """What the run printed, once it is over; killed and TimeoutError if it takes longer."""
        try:
            exit_code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(
                f"claude ran longer than {timeout_s} s; stderr: {self._stderr[-2000:]!r}"
            ) from None
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe
            pipe.close()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)
        duration_s = time.monotonic() - self._started_at
        return ClaudeResult(self._events, exit_code, self._stderr.decode(errors="replace"), duration_s)


def start_claude(
    prompt: str,
    *,
    base_url: str,
    token: str,
    token_variable: TokenVariable = "ANTHROPIC_API_KEY",
    model: str | None = None,
    allowed_tools: Sequence[str] = (),
    extra_env: Mapping[str, str] | None = None,
    resume: str | None = None,
    config_dir: Path | None = None,
    partial_messages: bool = False,
) -> RunningClaude:
    """A run in its own process group, with an empty home, configuration and working folder.

    With `config_dir` these lie in it and stay, which `resume` (a `session_id`) needs. `partial_messages` adds
    a `stream_event` for every event of the stream, to wait for the middle of one. `extra_env` beats the rest,
    e.g. `NODE_EXTRA_CA_CERTS` (a PEM file to trust), `CLAUDE_CODE_MAX_RETRIES`, `MAX_THINKING_TOKENS`.
    """
    folder = config_dir or Path(tempfile.mkdtemp(prefix="claude-"))
    for name in ("home", "config", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    command = [str(BINARY), "--print", prompt, "--output-format", "stream-json", "--verbose"]
    command += ["--model", model] if model else []
    command += ["--allowedTools", ",".join(allowed_tools)] if allowed_tools else []
    command += ["--resume", resume] if resume else []
    command += ["--include-partial-messages"] if partial_messages else []
    process = subprocess.Popen(
        command,
        cwd=folder / "work",
        env=_environment(folder)
        | {"ANTHROPIC_BASE_URL": base_url, token_variable: token}
        | dict(extra_env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return RunningClaude(process, folder, temporary=config_dir is None)


def run_claude(prompt: str, *, timeout_s: float = 60, **options: Any) -> ClaudeResult:
    """The result of one whole run; the options are those of `start_claude`."""
    with start_claude(prompt, **options) as running:
        return running.wait(timeout_s)


def _environment(folder: Path) -> dict[str, str]:
    """The whole environment but for the server and the credential: nothing is inherited but PATH.

    A `CLAUDECODE` inherited from an agent's shell makes the client believe it runs inside itself.
    """
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        # Nothing of the person who runs the tests is read or written.
        "HOME": str(folder / "home"),
        "CLAUDE_CONFIG_DIR": str(folder / "config"),
        # No traffic but to the base URL: no update, telemetry, error reports, feature flags.
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
