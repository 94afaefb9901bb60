"""The peppers that personal keys are hashed under: configured, or made once in the data directory."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError

_FILE = "key-pepper"
_CHARACTERS = 32
_BYTES = 32


def peppers(settings: Settings) -> tuple[bytes, ...]:
    """Returns the peppers, the one for new keys first; none if keys are in Redis and none is configured.

    Keys in SQLite have a pepper of their own, in a file that the first who needs it makes. It goes on
    counting when one is configured later, so that no key is lost by that.

    Raises: ConfigError if the file cannot be used.
    """
    text = settings.keys.pepper or ""
    configured = tuple(one.strip().encode() for one in text.split(",") if one.strip())
    if settings.quota.redis_url is not None:
        return configured
    file = Path(settings.data_dir) / _FILE
    try:
        if not configured:
            _make(file)
        own = (_read(file),) if file.exists() else ()
    except OSError as cause:
        raise ConfigError([_unusable(file, cause.strerror or type(cause).__name__)]) from cause
    return (*configured, *(one for one in own if one not in configured))


def _read(file: Path) -> bytes:
    pepper = file.read_bytes().strip()
    if len(pepper) < _CHARACTERS:
        raise ConfigError([_unusable(file, f"it has fewer than {_CHARACTERS} characters")])
    return pepper


def _make(file: Path) -> None:
    """Makes the file if there is none: whole, and by one of those who try at the same time."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Readable for its owner alone.
    descriptor, name = tempfile.mkstemp(prefix=f".{_FILE}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as draft:
            draft.write(f"{secrets.token_hex(_BYTES)}\n".encode())
            draft.flush()
            os.fsync(draft.fileno())
            _give_to_owner_of(file.parent, draft.fileno())
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        os.unlink(name)


def _give_to_owner_of(folder: Path, descriptor: int) -> None:
    """An operator's command may run as root; the gateway has to read what it leaves."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _unusable(file: Path, reason: str) -> str:
    return (
        f"keys.pepper: {file} cannot be used: {reason}; set LLM_GATEWAY_KEY_PEPPER, or switch personal keys "
        "off with keys.enabled: false"
    )
