"""What clients tell of themselves by OTLP: passed on to a collector, or dropped."""

from llm_gateway.config.schema import Telemetry


class Forwarding:
    """Passes OTLP on, beside the requests; what a slow collector cannot take is dropped, and the log says so."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def take(self, kind: str, content_type: str, encoding: str | None, body: bytes) -> None:
        """Takes one body of `kind` (`metrics`, `logs`, `traces`) and returns at once."""

    async def start(self) -> None:
        """Begins to pass on what is taken."""

    async def stop(self) -> None:
        """Returns when what was taken is passed on, or after a short time."""
