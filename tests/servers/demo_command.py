"""`llm-gateway demo` as its own process, and what it prints."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_START_S = 30.0
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class DemoCommand:
    """A running demo in an otherwise empty environment; its data lies in `folder`.

    With `terminal` its output is a pseudo-terminal. `.text()` is what it has printed so far, errors included.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        reading, writing = os.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llm_gateway", "demo", "--port", str(port)],
            cwd=folder,
            env=kept | {"HOME": str(folder)} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
        os.close(writing)
        self._changed = threading.Condition()
        self._printed = b""
        self._over = False
        output = os.fdopen(reading, "rb", buffering=0)
        # A process that the demo has left behind would keep its end open, and the test from ending.
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        started = self.descendants() if self.process.poll() is None else []
        try:
            self.stop()
        finally:
            # A demo that leaves processes behind fails a test; they are not left to the next one.
            for pid in started:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while printed := self._some(output):
                with self._changed:
                    self._printed += printed
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @staticmethod
    def _some(output: IO[bytes]) -> bytes:
        try:
            return output.read(65536)
        except OSError:
            # How a pseudo-terminal says that nobody is at its other end.
            return b""

    def raw(self) -> str:
        """What it has printed so far, colours included."""
        with self._changed:
            return self._printed.decode()

    def text(self) -> str:
        """What it has printed so far, as one reads it."""
        return _ESCAPES.sub("", self.raw()).replace("\r\n", "\n")

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """The first match in what it prints; TimeoutError with all of it otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or re.search(pattern, self.text()), _START_S)
        if found := re.search(pattern, self.text()):
            return found
        raise TimeoutError(f"not printed: {pattern!r}, but:\n{self.text()}")

    def wait_until_running(self) -> str:
        """Its URL, once it says that it serves."""
        self.wait_for("Requests:\n")
        return self.wait_for(r"is running at (\S+)")[1]

    def descendants(self) -> list[int]:
        """The processes it has started, and theirs."""
        found: list[int] = []
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            waiting += map(int, children)
            found += map(int, children)
        return found

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Its exit status after the signal; killed and TimeoutExpired if it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            self.process.wait(_START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(_START_S)
        return self.process.returncode
