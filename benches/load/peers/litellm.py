"""LiteLLM's proxy with one worker, an Anthropic client on an Anthropic upstream: nothing is translated."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import Target, answers, free_port, running

PACKAGES = ("litellm[proxy]==1.106.2",)
START_S = 90.0

_KEY = "sk-" + "4f1d7c02a95e90c3" * 4


@contextmanager
def start(program: Path, folder: Path, upstream_port: int) -> Iterator[Target]:
    """Runs it in front of `upstream_port`."""
    port = free_port()
    model = {
        "model": "anthropic/bench-wire",
        "api_base": f"http://127.0.0.1:{upstream_port}",
        "api_key": "none",
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": "bench", "litellm_params": model}]}))
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    # It would ask the network for prices.
    environment = {
        "PATH": f"{program.parent}{os.pathsep}{os.defpath}",
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # Without one it does not start.
        "LITELLM_MASTER_KEY": _KEY,
    }
    ready = answers(f"http://127.0.0.1:{port}/health/liveliness")
    with running(command, folder, "litellm", ready, environment, START_S) as process:
        yield Target("litellm", f"http://127.0.0.1:{port}", _KEY, process.pid)
