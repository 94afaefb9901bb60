"""Where a person's tokens are kept: in the system's key ring if there is one, else in a file of their own."""

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from llm_gateway.cli.subscriber.problem import ProblemError

_SERVICE = "llm-gateway"
_FILE = "credentials.json"
# Key rings of libraries that keep nothing, or keep it in the open.
_UNUSABLE = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


class Credential(msgspec.Struct, frozen=True):
    """What a sign-in gave; times in Unix seconds. `ca_file`: by what the gateway's certificate is trusted."""

    access_token: str
    refresh_token: str | None
    issued_at: float
    expires_at: float
    email: str | None = None
    ca_file: str | None = None


class Credentials:
    """One credential per gateway, in `folder`, which is made with mode 700 when something is kept.

    The file names the gateways, and holds the tokens of those that the key ring does not have.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last_url(self) -> str | None:
        """Returns the gateway that was signed in to last. Raises: ProblemError if the file cannot be used."""
        last = self._read().get("last")
        return last if isinstance(last, str) else None

    def get(self, url: str) -> Credential | None:
        """Returns the credential for a gateway. Raises: ProblemError if the file cannot be used."""
        kept = self._read().get("gateways", {}).get(url)
        if kept == "keyring":
            ring = _key_ring()
            text = ring.get_password(_SERVICE, url) if ring is not None else None
            kept = None if text is None else json.loads(text)
        try:
            return None if kept is None else msgspec.convert(kept, Credential)
        except msgspec.ValidationError:
            raise self._unusable("it is not what this command writes") from None

    def put(self, url: str, credential: Credential) -> None:
        """Keeps the credential, in place of another one. Raises: ProblemError."""
        ring, value = _key_ring(), msgspec.to_builtins(credential)
        kept: object = value
        if ring is not None:
            with suppress(ring.errors.KeyringError):
                ring.set_password(_SERVICE, url, json.dumps(value))
                kept = "keyring"
        data = self._read()
        self._write({"last": url, "gateways": {**data.get("gateways", {}), url: kept}})

    def forget(self, url: str) -> None:
        """Forgets the credential, if there is one. Raises: ProblemError."""
        data = self._read()
        gateways = data.get("gateways", {})
        ring = _key_ring()
        if gateways.pop(url, None) == "keyring" and ring is not None:
            with suppress(ring.errors.KeyringError):
                ring.delete_password(_SERVICE, url)
        self._write({**data, "gateways": gateways})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it, no other command of theirs renews a token: a refresh token may be good only once."""
        self._make_folder()
        with open(self._folder / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, Any]:
        path = self._folder / _FILE
        try:
            with path.open(encoding="utf-8") as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise self._unusable(f"others can read it; run `chmod 600 {path}`")
                data = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as cause:
            reason = cause.strerror if isinstance(cause, OSError) else "it is not JSON"
            raise self._unusable(f"{reason}; remove it and sign in again") from None
        return data if isinstance(data, dict) else {}

    def _write(self, data: dict[str, Any]) -> None:
        self._make_folder()
        try:
            # Made with mode 600, and moved into its place whole.
            with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False, encoding="utf-8") as file:
                json.dump(data, file)
            os.replace(file.name, self._folder / _FILE)
        except OSError as cause:
            raise self._unusable(str(cause.strerror)) from None

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as cause:
            raise ProblemError(f"{self._folder} cannot be made: {cause.strerror}") from None

    def _unusable(self, reason: str) -> ProblemError:
        return ProblemError(f"{self._folder / _FILE} cannot be used: {reason}")


def _key_ring() -> ModuleType | None:
    """The library of the system's key ring, if it is installed and finds one."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return None
    backend = type(keyring.get_keyring()).__module__
    return None if backend.startswith(_UNUSABLE) else keyring
