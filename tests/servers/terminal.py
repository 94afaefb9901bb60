"""A program in a pseudo-terminal, with a screen that can be waited for."""

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte
from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # it has none

ROWS, COLUMNS = 50, 140
ENTER, UP, DOWN, ESCAPE = "\r", "\x1b[A", "\x1b[B", "\x1b"

_POLL_S = 0.05
_READ_BYTES = 65536


class Terminal:
    """Runs `command`; left as a context manager, the program and what it started are killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._process = PtyProcess.spawn(
            list(command), env=dict(environment), cwd=str(folder), dimensions=(ROWS, COLUMNS)
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.close(force=True)
        self._reader.join(10)

    def screen(self) -> str:
        """What it shows now, without the blanks at the ends of lines."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, text: str) -> None:
        """Types it, keys among it as the constants above."""
        self._process.write(text.encode())

    def wait_for(self, pattern: str, timeout_s: float = 30) -> str:
        """The screen once `pattern`, a regular expression, is on it; raises TimeoutError with what is there.

        Lines are searched as they are and joined, since the program may break a sentence where it likes.
        """
        until = time.monotonic() + timeout_s
        while True:
            screen = self.screen()
            if re.search(pattern, screen) or re.search(pattern, " ".join(screen.split())):
                return screen
            if time.monotonic() > until:
                raise TimeoutError(f"{pattern!r} is not on the screen:\n{screen}")
            time.sleep(_POLL_S)

    def _read(self) -> None:
        while True:
            try:
                data = self._process.read(_READ_BYTES)
            except (EOFError, OSError):
                return
            with self._lock:
                self._stream.feed(data)
