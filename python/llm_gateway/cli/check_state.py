"""What `llm-gateway check` says of one thing."""

from typing import NamedTuple


class State(NamedTuple):
    """Whether nothing is wrong, and a word for people."""

    well: bool
    text: str


OK = State(True, "ok")
