"""Anthropic's `claude gateway`, signed in to by its own protocol; nothing is translated, nobody has a limit.

It keeps sign-ins in a PostgreSQL of its own and leaves the rest to an OpenID provider, here a scripted one.
"""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import CannotRunError, Target, answers, free_port, listens, running

from peers import identity

PACKAGES = ("claude-agent-sdk==0.2.187",)
START_S = 60.0

_DEBIAN = "/usr/lib/postgresql"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@contextmanager
def start(program: Path, folder: Path, upstream_port: int) -> Iterator[Target]:
    """Runs it in front of `upstream_port`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        # It would refuse to connect to the upstream and to the provider.
        "CLAUDE_GATEWAY_ALLOW_LOOPBACK": "1",
        # The default of 256 would let the rest of 1,000 streams wait.
        "BUN_CONFIG_MAX_HTTP_REQUESTS": "8192",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }
    with _postgres() as database, identity.provider() as issuer:
        config = folder / "claude.yaml"
        config.write_text(json.dumps(_config(port, upstream_port, database, issuer), indent=1))
        command = [str(program), "gateway", "--config", str(config)]
        ready = answers(f"{url}/readyz")
        with running(command, folder, "claude", ready, environment, START_S) as process:
            yield Target("claude", url, _sign_in(url), process.pid)


def _config(port: int, upstream_port: int, database: str, issuer: str) -> dict[str, Any]:
    upstream = {
        "name": "scripted",
        "provider": "anthropic",
        "base_url": f"http://127.0.0.1:{upstream_port}",
        "auth": {"api_key": "none"},
    }
    return {
        "listen": {"host": "127.0.0.1", "port": port, "public_url": f"http://127.0.0.1:{port}"},
        "oidc": {
            "issuer": issuer,
            "client_id": identity.CLIENT_ID,
            "client_secret": identity.CLIENT_SECRET,
        },
        # Longer than any run: nobody renews the token.
        "session": {"jwt_secret": secrets.token_hex(32), "ttl_hours": 24},
        "store": {"postgres_url": database},
        "upstreams": [upstream],
        "auto_include_builtin_models": False,
        "models": [{"id": "bench", "upstream_model": {"scripted": "bench-wire"}}],
    }


def _sign_in(url: str) -> str:
    """A token by the device flow, with this process as the browser too."""
    # Redirects lead to the provider and back, where the cookie shows that this is still the same browser.
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    browser.addheaders = [("origin", url)]

    def post(path: str, **form: str) -> bytes:
        with browser.open(f"{url}{path}", urllib.parse.urlencode(form).encode(), timeout=10) as answer:
            content: bytes = answer.read()
            return content

    asked = json.loads(post("/oauth/device_authorization", surface="claude_code"))
    post("/device", user_code=asked["user_code"])
    given = json.loads(post("/oauth/token", grant_type=_DEVICE_GRANT, device_code=asked["device_code"]))
    return str(given["access_token"])


@contextmanager
def _postgres() -> Iterator[str]:
    """Runs a PostgreSQL that is thrown away afterwards, and gives its URL."""
    programs = _postgres_programs()
    port = free_port()
    # Not in the benchmark's folder: the user who runs it may not enter that.
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-postgres-") as name:
        folder = Path(name)
        prefix: list[str] = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            shutil.chown(folder, "nobody", "nogroup")
            prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        data = str(folder / "data")
        made = subprocess.run(  # noqa: S603 - a fixed command
            [*prefix, str(programs / "initdb"), "-D", data, "-U", "bench", "--auth=trust", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise CannotRunError(f"initdb failed\n{made.stderr}")
        command = [*prefix, str(programs / "postgres"), "-D", data, "-p", str(port), "-k", name]
        command += ["-c", "listen_addresses=127.0.0.1"]
        with running(command, folder, "postgres", listens(port)):
            yield f"postgres://bench@127.0.0.1:{port}/postgres"


def _postgres_programs() -> Path:
    # Debian keeps them where no search path looks.
    for folder in (*sorted(Path(_DEBIAN).glob("*/bin"), reverse=True), *map(Path, os.defpath.split(":"))):
        if (folder / "initdb").exists():
            return folder
    raise CannotRunError("initdb is missing: apt-get install postgresql, or leave claude out with --only")
