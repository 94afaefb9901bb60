"""A real Keycloak with the realm `ai-hub`, in memory, on a free port of the loopback interface.

Every run has a home of its own that shares the built server, so that runs may go on side by side.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[2]
REALM = "ai-hub"
# The realm of deploy/keycloak/realm.json, and the gateway that it is for.
DEPLOYED_REALM, DEPLOYED_GATEWAY = "deployed", "https://gateway.example"
SECRETS = {
    "llm-gateway": "gateway-test-secret",
    "other-app": "other-test-secret",
    "short-lived": "short-test-secret",
}
ADMIN = {"username": "admin", "password": "admin-test-password"}
_TOOLS_MISSING = 3
_START_LIMIT_S = 180.0
_STOP_LIMIT_S = 20.0
_POLL_S = 0.1


class UnavailableError(Exception):
    """Keycloak cannot be had on this machine; the message says what to install."""


class Keycloak:
    """A running server. Users are fred (free), paula (pro), erin (enterprise) and nora (no role)."""

    def __init__(self, base_url: str, process: subprocess.Popen[bytes], home: Path) -> None:
        self.base_url = base_url
        self.issuer = f"{base_url}/realms/{REALM}"
        self._process = process
        self._home = home
        self._http = httpx.Client(base_url=base_url, timeout=30.0, trust_env=False)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Yields the server, ready, and stops it afterwards.

        Raises: UnavailableError if Java or Maven is missing.
        """
        server = _server()
        with tempfile.TemporaryDirectory(prefix="keycloak-") as folder:
            home = _home(server, Path(folder))
            port = _free_port()
            keycloak = cls(f"http://127.0.0.1:{port}", _launch(home, port), home)
            try:
                keycloak._wait_until_ready()
                yield keycloak
            finally:
                keycloak.stop()

    def auth(self, **more: Any) -> dict[str, Any]:
        """The gateway's settings of that name, by which people of the realm sign in."""
        known = {"provider": "keycloak", "issuer": self.issuer, "client_secret": SECRETS["llm-gateway"]}
        return known | more

    def stop(self) -> None:
        """Returns when the process is gone; does nothing if it is already."""
        self._http.close()
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within it, the server accepts connections and never answers."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def grant(self, user: str, *, client_id: str = "llm-gateway", scope: str = "openid") -> dict[str, Any]:
        """Returns Keycloak's answer to a password grant: access_token, refresh_token, id_token, …"""
        answer = self._http.post(
            f"/realms/{REALM}/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": client_id,
                "client_secret": SECRETS[client_id],
                "username": user,
                "password": f"{user}-password",
                "scope": scope,
            },
        )
        answer.raise_for_status()
        return dict(answer.json())

    def token(self, user: str, *, client_id: str = "llm-gateway") -> str:
        """Returns an access token."""
        return str(self.grant(user, client_id=client_id)["access_token"])

    @contextmanager
    def person(self, tier: str | None = "free") -> Iterator[str]:
        """Yields a user of the test's own, with that role of the gateway's client and the usual password."""
        user = f"person-{secrets.token_hex(4)}"
        password = {"type": "password", "value": f"{user}-password", "temporary": False}
        names = {"firstName": "Test", "lastName": "Person", "email": f"{user}@example.com"}
        account = {
            "username": user,
            "enabled": True,
            "emailVerified": True,
            "credentials": [password],
            **names,
        }
        path = self.admin("POST", "/users", json=account).headers["location"].rpartition("/admin/")[2]
        user_id = path.rpartition("/")[2]
        if tier is not None:
            self.give_role(user_id, tier)
        try:
            yield user
        finally:
            self.admin("DELETE", f"/users/{user_id}")

    def give_role(self, user_id: str, name: str) -> None:
        """Gives somebody a role of the gateway's client."""
        (client,) = self.admin("GET", "/clients", params={"clientId": "llm-gateway"}).json()
        roles = [self.admin("GET", f"/clients/{client['id']}/roles/{name}").json()]
        self.admin("POST", f"/users/{user_id}/role-mappings/clients/{client['id']}", json=roles)

    @contextmanager
    def client_attributes(self, client_id: str, attributes: dict[str, str]) -> Iterator[None]:
        """Within it, a client has these attributes beside its own."""
        (before,) = self.admin("GET", "/clients", params={"clientId": client_id}).json()
        path = f"/clients/{before['id']}"
        self.admin("PUT", path, json={**before, "attributes": {**before["attributes"], **attributes}})
        try:
            yield
        finally:
            # An attribute that is not named stays; one that is empty goes.
            cleared = dict.fromkeys(attributes, "")
            self.admin("PUT", path, json={**before, "attributes": {**cleared, **before["attributes"]}})

    def user_id(self, user: str) -> str:
        """Returns the `sub` that the user's tokens carry."""
        found = self.admin("GET", "/users", params={"username": user, "exact": "true"}).json()
        return str(found[0]["id"])

    def set_user_enabled(self, user: str, enabled: bool) -> None:
        """Disables or enables a user."""
        self.admin("PUT", f"/users/{self.user_id(user)}", json={"enabled": enabled})

    def signing_key_ids(self) -> list[str]:
        """Returns the ids of the key components that can sign RS256, strongest priority first."""
        keys = [key for key in self.admin("GET", "/keys").json()["keys"] if key.get("use") == "SIG"]
        rsa = [key for key in keys if key["type"] == "RSA" and key["status"] != "DISABLED"]
        rsa.sort(key=lambda key: -int(key["providerPriority"]))
        return [str(key["providerId"]) for key in rsa]

    def rotate_key(self) -> str:
        """Adds a signing key, used from now on, and returns its component id; the old one stays valid."""
        realm_id = self.admin("GET", "").json()["id"]
        answer = self.admin(
            "POST",
            "/components",
            json={
                "name": "rotated",
                "providerId": "rsa-generated",
                "providerType": "org.keycloak.keys.KeyProvider",
                "parentId": realm_id,
                "config": {"priority": [str(200 + len(self.signing_key_ids()))], "keySize": ["2048"]},
            },
        )
        return answer.headers["location"].rpartition("/")[2]

    def withdraw_key(self, component_id: str) -> None:
        """Takes a signing key out of use and out of the JWKS."""
        self.admin("DELETE", f"/components/{component_id}")

    def admin(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Returns the answer of the realm's admin API; raises for a status of 400 and above."""
        answer = self._http.post(
            "/realms/master/protocol/openid-connect/token",
            data={"grant_type": "password", "client_id": "admin-cli", **ADMIN},
        )
        answer.raise_for_status()
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        answer = self._http.request(method, f"/admin/realms/{REALM}{path}", headers=headers, **arguments)
        answer.raise_for_status()
        return answer

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Keycloak did not start:\n" + (self._home / "log").read_text()[-4000:])
            with suppress(httpx.TransportError):
                answer = self._http.get(f"/realms/{REALM}/.well-known/openid-configuration", timeout=5.0)
                if answer.status_code == httpx.codes.OK:
                    return
            time.sleep(_POLL_S)

    def _signal(self, number: signal.Signals) -> None:
        # The server is a child of a shell script; the two have a process group of their own.
        os.killpg(self._process.pid, number)


def _server() -> Path:
    found = subprocess.run([ROOT / "scripts" / "get-keycloak"], capture_output=True, text=True, check=False)
    if found.returncode == _TOOLS_MISSING:
        raise UnavailableError(found.stderr.strip())
    if found.returncode != 0:
        raise RuntimeError(f"get-keycloak failed:\n{found.stderr}")
    return Path(found.stdout.strip())


def _home(server: Path, home: Path) -> Path:
    # The start script finds its home by its own real path, so it is copied; what is large is linked.
    (home / "bin").mkdir()
    shutil.copy(server / "bin" / "kc.sh", home / "bin")
    shutil.copytree(server / "conf", home / "conf")
    (home / "lib").symlink_to(server / "lib")
    (home / "providers").mkdir()
    (home / "themes").mkdir()
    (home / "data" / "import").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "fixtures" / f"realm-{REALM}.json", home / "data" / "import")
    shutil.copy(ROOT / "deploy" / "keycloak" / "realm.json", home / "data" / "import")
    return home


def _launch(home: Path, port: int) -> subprocess.Popen[bytes]:
    command = [str(home / "bin" / "kc.sh"), "start", "--optimized", "--import-realm", "--cache=local"]
    command += ["--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={port}"]
    command += [f"--hostname=http://127.0.0.1:{port}"]
    environment = {
        **os.environ,
        # What deploy/keycloak/realm.json is filled in with.
        "KEYCLOAK_REALM": DEPLOYED_REALM,
        "LLM_GATEWAY_PUBLIC_URL": DEPLOYED_GATEWAY,
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN["username"],
        "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN["password"],
        # A short life gains nothing from the optimising compiler, which competes with the tests for the CPU.
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
