"""Lets random weights say what a prompt asks for: vLLM loads this module, so it lives in vLLM's environment.

The answer to a prompt with `⟪…⟫` in it is what stands between the last two of these brackets, token by
token, and then the end of the turn. Everything else stays vLLM's: template, parsers, stream, counts.
Without brackets the words are random and there is no end but the limit on tokens.
"""

import re
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer  # type: ignore[import-not-found]
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor  # type: ignore[import-not-found]

_DICTATED = re.compile("⟪([^⟪⟫]*)⟫")
_END_OF_TURN = "<|im_end|>"

Tokens = list[int]


class Dictation(AdapterLogitsProcessor):  # type: ignore[misc]
    """Named to `vllm serve` as `--logits-processors`."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._tokenizer = Tokenizer.from_file(f"{vllm_config.model_config.tokenizer}/tokenizer.json")

    def is_argmax_invariant(self) -> bool:
        """False: it changes which token is the likeliest."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[Tokens, Tokens, Any], Any]:
        """The processor of one request."""
        dictated: Tokens | None = None

        def process(prompt: Tokens, output: Tokens, logits: Any) -> Any:
            nonlocal dictated
            if dictated is None:
                dictated = self._dictated(prompt)
            if dictated:
                logits.fill_(float("-inf"))
                logits[dictated[min(len(output), len(dictated) - 1)]] = 0
            return logits

        return process

    def _dictated(self, prompt: Tokens) -> Tokens:
        texts = _DICTATED.findall(self._tokenizer.decode(prompt, skip_special_tokens=False))
        return list(self._tokenizer.encode(texts[-1] + _END_OF_TURN).ids) if texts else []
