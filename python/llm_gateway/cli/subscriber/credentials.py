"""Where a person's tokens are kept: in the system's key ring if there is one, else in a file of their own."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llm_gateway.cli.file import replace
from llm_gateway.cli.subscriber import key_ring
from llm_gateway.cli.subscriber.problem import ProblemError

_FILE = "credentials.json"
_IN_KEY_RING = "keyring"


class Credential(msgspec.Struct, frozen=True):
    """What a sign-in gave; times in Unix seconds. `ca_file`: by what the gateway's certificate is trusted."""

    access_token: str
    refresh_token: str | None
    issued_at: float
    expires_at: float
    email: str | None = None
    ca_file: str | None = None


class _Kept(msgspec.Struct, frozen=True):
    """The file: the gateway that was signed in to last, and the credentials that no key ring has."""

    last: str | None = None
    gateways: dict[str, Credential | str] = {}


class Credentials:
    """One credential per gateway, in `folder`, which is made with mode 700 when something is kept.

    The file names the gateways, and holds the tokens of those that the key ring does not have.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last_url(self) -> str | None:
        """Returns the gateway that was signed in to last. Raises: ProblemError if the file cannot be used."""
        return self._read().last

    def get(self, url: str) -> Credential | None:
        """Returns the credential for a gateway.

        Raises: ProblemError if the file, or the key ring that it names, cannot be used.
        """
        kept = self._read().gateways.get(url)
        if not isinstance(kept, str):
            return kept
        try:
            return msgspec.json.decode(key_ring.get(url) or "", type=Credential)
        except msgspec.DecodeError:
            advice = f"unlock it, or run `llm-gateway login --url {url}`"
            raise ProblemError(
                f"your token is in the system's key ring, which gives none; {advice}"
            ) from None

    def put(self, url: str, credential: Credential, *, signed_in: bool = False) -> None:
        """Keeps the credential, in place of another one; `signed_in`: as that of the last sign-in.

        Raises: ProblemError.
        """
        is_in_ring = key_ring.put(url, msgspec.json.encode(credential).decode())
        before = self._read()
        gateways = {**before.gateways, url: _IN_KEY_RING if is_in_ring else credential}
        self._write(_Kept(url if signed_in else before.last, gateways))

    def forget(self, url: str) -> None:
        """Forgets the credential, if there is one. Raises: ProblemError."""
        before = self._read()
        if before.gateways.get(url) == _IN_KEY_RING:
            key_ring.forget(url)
        self._write(_Kept(before.last, {key: kept for key, kept in before.gateways.items() if key != url}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it, no other command of theirs changes what is kept: a refresh token may be good only once.

        Raises: ProblemError.
        """
        self._make_folder()
        try:
            lock = (self._folder / "lock").open("w", encoding="ascii")
        except OSError as cause:
            raise ProblemError(f"{self._folder} cannot be written: {cause.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> _Kept:
        path = self._folder / _FILE
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise self._unusable(f"others can read it; run `chmod 600 {path}`")
                return msgspec.json.decode(file.read(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.DecodeError) as cause:
            reason = cause.strerror if isinstance(cause, OSError) else "it is not what this command writes"
            raise self._unusable(f"{reason}; remove it and sign in again") from None

    def _write(self, kept: _Kept) -> None:
        self._make_folder()
        try:
            replace(self._folder / _FILE, msgspec.json.encode(kept), mode=0o600)
        except OSError as cause:
            raise self._unusable(str(cause.strerror)) from None

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as cause:
            raise ProblemError(f"{self._folder} cannot be made: {cause.strerror}") from None

    def _unusable(self, reason: str) -> ProblemError:
        return ProblemError(f"{self._folder / _FILE} cannot be used: {reason}")
