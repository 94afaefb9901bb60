"""Waits for what no event tells."""

import time
from collections.abc import Callable

_PAUSE_S = 0.01


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 10) -> float:
    """Seconds until the condition held. Raises TimeoutError, saying that `what` did not happen."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(_PAUSE_S)
    return time.monotonic() - began
