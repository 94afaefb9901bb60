"""The command line as its own process, for commands that end by themselves."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers.gateway import clean_environment

Ended = subprocess.CompletedProcess[str]


def llm_gateway(
    *words: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 50,
) -> Ended:
    """What `llm-gateway` with these words printed, whatever its status; never a traceback.

    It runs in `folder`, with nothing of this environment but `environment`.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "llm_gateway", *words],
        cwd=folder,
        env=clean_environment(environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr
    return ended
