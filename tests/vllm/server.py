"""A real vLLM on the CPU, as its own process, for tests: random weights that say what a prompt dictates."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.servers.gateway import free_port

MODEL = "qwen3-32b"

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "scripts" / "vllm-server"
_START_LIMIT_S = 300.0
_STOP_LIMIT_S = 30.0
_POLL_S = 0.2


class UnavailableError(Exception):
    """vLLM is not installed; the message says how to install it."""


class Vllm:
    """A running server at `.url`, which is without `/v1`."""

    def __init__(self, folder: Path) -> None:
        """Starts it with its log in `folder`.

        Raises: UnavailableError if it is not installed.
        """
        if subprocess.run([_SCRIPT, "home"], stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise UnavailableError("vLLM is not installed: scripts/vllm-server install")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log_path = folder / "vllm.log"
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [_SCRIPT, "serve", str(port), "--logits-processors", "dictation:Dictation"],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parent / "inside")},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when the server and the processes it started are gone."""
        self._http.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def count(self, messages: list[dict[str, Any]], *, thinking: bool, **members: Any) -> int:
        """How many tokens the prompt of a chat completion has, by vLLM's own tokenizer and template."""
        switch = {"enable_thinking": thinking}
        body = {"model": MODEL, "messages": messages, "chat_template_kwargs": switch, **members}
        answer = self._http.post("/tokenize", json=body)
        answer.raise_for_status()
        return int(answer.json()["count"])

    def window(self) -> int:
        """The most tokens that prompt and answer may have together."""
        (model,) = self._http.get("/v1/models").json()["data"]
        return int(model["max_model_len"])

    def running(self) -> int:
        """How many requests it works on."""
        return self._metric("vllm:num_requests_running") + self._metric("vllm:num_requests_waiting")

    def counted(self) -> tuple[int, int]:
        """The tokens of all prompts, and of all answers, of its life."""
        return self._metric("vllm:prompt_tokens_total"), self._metric("vllm:generation_tokens_total")

    def _metric(self, name: str) -> int:
        page = self._http.get("/metrics").text
        values = re.findall(rf"^{re.escape(name)}{{.*}} (\S+)$", page, re.MULTILINE)
        assert values, f"no metric {name}"
        return int(sum(map(float, values)))

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"vLLM ended with {self._process.returncode}:\n{self._log_tail()}")
            try:
                if self._http.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(_POLL_S)
        raise RuntimeError(f"vLLM did not answer in {_START_LIMIT_S} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return self._log_path.read_text(errors="replace")[-4000:]
