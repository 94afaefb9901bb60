"""Granian's settings, in one place, each with its reason."""

import logging
import socket
import tempfile
from functools import partial
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, TaskImpl
from granian.http import HTTP1Settings
from granian.log import LogLevels

from llm_gateway import log, main
from llm_gateway.config import folders
from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; blocks.

    Raises:
        ConfigError: if the port is taken or the data folder cannot be written.
    """
    server = settings.server
    _check_port(server.host, server.port)
    _check_data_folder(settings)
    with tempfile.TemporaryDirectory(prefix="llm-gateway-metrics-") as metrics_folder:
        granian = Granian(
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
        )
        _warn_without_journal(settings)
        granian.serve(target_loader=partial(main.app, settings, metrics_folder), wrap_loader=False)


def _check_port(host: str, port: int) -> None:
    """The server shares its port between workers, and so would silently share it with another gateway."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        problem = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port"
        raise ConfigError([problem]) from None


def _check_data_folder(settings: Settings) -> None:
    """Said here once rather than by every worker that cannot start."""
    if settings.quota.redis_url is not None:
        return
    problem = folders.problem_with(settings.data_dir)
    if problem is None:
        try:
            Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = error.strerror
    if problem is not None:
        advice = "set LLM_GATEWAY_DATA_DIR to a folder that may be written, or set QUOTA_REDIS_URL"
        raise ConfigError([f"data_dir {settings.data_dir}: {problem}; {advice}"])


def _warn_without_journal(settings: Settings) -> None:
    """The gateway serves without it; what it could not settle is lost with the process then."""
    if problem := folders.problem_with(folders.journal(settings)):
        advice = "set LLM_GATEWAY_DATA_DIR to a folder that may be written"
        logger.warning("journal_unavailable", extra={"problem": problem, "advice": advice})
