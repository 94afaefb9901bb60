"""A key ring for tests: what the `keyring` library keeps, in a file that a test can look into.

PYTHON_KEYRING_BACKEND=tests.servers.key_ring.FileRing KEY_RING_FILE=…
"""

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class FileRing(KeyringBackend):
    """Keeps passwords in the file that `KEY_RING_FILE` names."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        """Returns the password, or None."""
        return self._kept().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keeps it."""
        self._file().write_text(json.dumps(self._kept() | {f"{service} {username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        """Removes it."""
        kept = self._kept()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        self._file().write_text(json.dumps(kept))

    def _file(self) -> Path:
        return Path(os.environ["KEY_RING_FILE"])

    def _kept(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._file().read_text()))
        except FileNotFoundError:
            return {}
