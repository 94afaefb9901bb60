"""Granian's settings, in one place, each with its reason."""

import tempfile
from functools import partial

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, TaskImpl
from granian.http import HTTP1Settings
from granian.log import LogLevels

from llm_gateway import log, main
from llm_gateway.config.schema import Settings


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; blocks."""
    server = settings.server
    with tempfile.TemporaryDirectory(prefix="llm-gateway-metrics-") as metrics_folder:
        Granian(
            "llm_gateway",
            address=server.host,
            port=server.port,
            interface=Interfaces.ASGI,
            workers=server.workers,
            # Plain asyncio costs twice the CPU on small requests.
            loop=Loops.uvloop,
            # The other implementation leaked about one body per request when it was measured.
            task_impl=TaskImpl.asyncio,
            # With protocol detection, a connection that sends nothing is never closed.
            http=HTTPModes.http1,
            websockets=False,
            backlog=4096,
            # A stream is not load: thousands may be open in one worker.
            backpressure=settings.limits.exchanges,
            http1_settings=HTTP1Settings(
                # Also the idle limit of kept-alive connections; a short one races with pooled clients.
                header_read_timeout=60_000,
                max_buffer_size=64 * 1024,
            ),
            log_dictconfig=log.config(server.log_level),
            log_level=LogLevels(server.log_level),
            # Our own record says more, and costs less.
            log_access=False,
            # Without it one dead worker ends them all.
            respawn_failed_workers=True,
            workers_kill_timeout=server.drain_s + 5,
            process_name=None,
        ).serve(target_loader=partial(main.app, settings, metrics_folder), wrap_loader=False)
