"""What a tree of processes uses, read from /proc."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.1


@dataclass(frozen=True)
class Use:
    """CPU seconds of a tree since its start, and its resident memory now (shared pages counted for each)."""

    cpu_s: float = 0.0
    rss_bytes: int = 0

    def __add__(self, other: "Use") -> "Use":
        return Use(self.cpu_s + other.cpu_s, self.rss_bytes + other.rss_bytes)


def use_of_tree(pid: int) -> Use:
    """What `pid` and all its descendants use; reaped children count for their CPU."""
    total = _use_of(pid)
    for child in _children(pid):
        total += use_of_tree(child)
    return total


def _use_of(pid: int) -> Use:
    try:
        # The command's name may hold spaces and brackets; the numbers follow its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return Use()
    # utime, stime, and the same of reaped children: fields 14 to 17 of the line, see proc(5).
    return Use(sum(map(int, fields[11:15])) / TICKS_PER_S, resident_pages * PAGE_BYTES)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, listing.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


class PeakMemory:
    """Resident memory of a tree at its highest while the context is open, in `rss_bytes`."""

    def __init__(self, pid: int) -> None:
        self.rss_bytes = 0
        self._pid = pid
        self._closed = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while True:
            self.rss_bytes = max(self.rss_bytes, use_of_tree(self._pid).rss_bytes)
            if self._closed.wait(SAMPLE_S):
                return

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._sampler.join()
