"""Where a person's tokens are kept."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked

from llm_gateway.cli.subscriber.credentials import Credential, Credentials
from llm_gateway.cli.subscriber.problem import ProblemError

URL, OTHER = "https://gateway.example", "https://other.example"
TOKEN = Credential("the-token", "the-refresh-token", 100.0, 700.0, "paula@example.com")


class Ring(KeyringBackend):
    """A ring in memory."""

    priority = 1

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Locked(Ring):
    """One whose owner does not open it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError("no bus")

    def delete_password(self, service: str, username: str) -> None:
        raise KeyringLocked


class Plaintext(Ring):
    """One of those that keep secrets in the open."""


Plaintext.__module__ = "keyrings.alt.file"


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    """Without a key ring, until a test has one."""
    use(monkeypatch, fail.Keyring())
    return Credentials(tmp_path / "config" / "llm-gateway")


def use(monkeypatch: pytest.MonkeyPatch, ring: KeyringBackend) -> None:
    """Makes it the system's key ring."""
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)


def file_of(credentials: Credentials) -> Path:
    return credentials._folder / "credentials.json"


def test_one_credential_per_gateway_in_a_file_of_their_owner(credentials: Credentials) -> None:
    assert credentials.get(URL) is None
    assert credentials.last_url() is None
    credentials.put(URL, TOKEN, signed_in=True)
    credentials.put(OTHER, Credential("other", None, 1.0, 2.0))
    assert credentials.get(URL) == TOKEN
    assert credentials.get(OTHER) == Credential("other", None, 1.0, 2.0)
    # A program that renews its token in the background does not change which gateway a person means.
    assert credentials.last_url() == URL
    file = file_of(credentials)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]
    credentials.forget(URL)
    credentials.forget("https://never.example")
    assert credentials.get(URL) is None
    assert credentials.get(OTHER) is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_not_used(credentials: Credentials, mode: int) -> None:
    credentials.put(URL, TOKEN)
    file_of(credentials).chmod(mode)
    for use_it in (lambda: credentials.get(URL), credentials.last_url, lambda: credentials.put(URL, TOKEN)):
        with pytest.raises(ProblemError, match="chmod 600"):
            use_it()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"gateways": []}', '{"last": 3}', '{"gateways": {"u": {}}}', "\0"]
)
def test_a_damaged_file_is_told_of_and_says_what_to_do(credentials: Credentials, text: str) -> None:
    credentials.put(URL, TOKEN)
    file_of(credentials).write_text(text)
    with pytest.raises(ProblemError, match="remove it and sign in again") as problem:
        credentials.get(URL)
    assert "the-token" not in str(problem.value)


def test_what_cannot_be_written_is_told_of_and_leaves_what_was_there(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    credentials.put(URL, TOKEN)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ProblemError, match="No space left"):
        credentials.put(URL, Credential("newer", None, 1.0, 2.0))
    assert credentials.get(URL) == TOKEN
    assert list(file_of(credentials).parent.iterdir()) == [file_of(credentials)]


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProblemError, match="cannot be made"), Credentials(tmp_path / "file" / "x").locked():
        pass


def test_the_key_ring_has_the_tokens_and_the_file_only_names(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring()
    use(monkeypatch, ring)
    credentials.put(URL, TOKEN, signed_in=True)
    assert json.loads(file_of(credentials).read_text()) == {"last": URL, "gateways": {URL: "keyring"}}
    assert credentials.get(URL) == TOKEN
    credentials.forget(URL)
    assert not ring.kept
    assert credentials.get(URL) is None


def chained(*rings: KeyringBackend) -> KeyringBackend:
    """The library's own backend for several rings."""
    chain: KeyringBackend = type("Chain", (ChainerBackend,), {"backends": list(rings)})()
    return chain


def test_of_several_rings_the_first_that_guards_its_secrets_is_taken(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ring = Plaintext(), Ring()
    use(monkeypatch, chained(plain, ring))
    credentials.put(URL, TOKEN)
    assert not plain.kept
    assert ring.kept
    assert credentials.get(URL) == TOKEN


@pytest.mark.parametrize(
    "ring",
    [fail.Keyring(), null.Keyring(), Plaintext(), Locked(), chained(Plaintext(), Plaintext()), chained()],
    ids=lambda ring: type(ring).__name__,
)
def test_without_a_ring_that_guards_them_tokens_are_in_the_file(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, ring: KeyringBackend
) -> None:
    use(monkeypatch, ring)
    credentials.put(URL, TOKEN)
    assert "the-token" in file_of(credentials).read_text()
    assert credentials.get(URL) == TOKEN
    assert not getattr(ring, "kept", None)


def test_a_ring_that_is_locked_now_is_told_of(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Ring())
    credentials.put(URL, TOKEN)
    for ring in (Locked(), fail.Keyring(), Ring(), Damaged()):
        use(monkeypatch, ring)
        with pytest.raises(ProblemError, match=f"unlock it, or run `llm-gateway login --url {URL}`"):
            credentials.get(URL)
    use(monkeypatch, Locked())
    credentials.forget(URL)
    assert credentials.get(URL) is None


class Damaged(Ring):
    """One with something else in it."""

    def get_password(self, service: str, username: str) -> str | None:
        return '{"access_token": 3}'


def test_a_ring_that_is_named_and_not_installed_is_none(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("No module named 'nonsense'")

    monkeypatch.setattr(keyring, "get_keyring", missing)
    credentials.put(URL, TOKEN)
    assert credentials.get(URL) == TOKEN


def test_the_library_of_key_rings_need_not_be_there(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    credentials.put(URL, TOKEN)
    assert credentials.get(URL) == TOKEN
