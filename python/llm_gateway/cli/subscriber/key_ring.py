"""The system's key ring, where there is one that keeps secrets from others.

The libraries of key rings raise whatever their system does: a bus that is not there, a ring that stays
locked. Each such failure is a ring that cannot be used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_SERVICE = "llm-gateway"
# Those that keep nothing, or keep it in a file that they do not guard as well as we do ours.
_UNUSABLE = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


def get(url: str) -> str | None:
    """Returns what is kept for a gateway; None if there is nothing, or no ring that can be used."""
    ring = _ring()
    try:
        return None if ring is None else ring.get_password(_SERVICE, url)
    except Exception:  # noqa: BLE001 - see above
        return None


def put(url: str, text: str) -> bool:
    """Keeps the text for a gateway; returns whether it is kept."""
    ring = _ring()
    if ring is None:
        return False
    try:
        ring.set_password(_SERVICE, url, text)
    except Exception:  # noqa: BLE001 - see above
        return False
    return True


def forget(url: str) -> None:
    """Removes what is kept for a gateway, if anything is."""
    ring = _ring()
    try:
        if ring is not None:
            ring.delete_password(_SERVICE, url)
    except Exception:  # noqa: BLE001, S110 - see above; it is of no use any more in any case
        pass


def _ring() -> "KeyringBackend | None":
    try:
        # Not everybody has it, and most commands do without.
        import keyring
        from keyring.backends.chainer import ChainerBackend

        found = keyring.get_keyring()
        # Of several rings, the library takes the first that does not say no, guarded or not.
        rings = found.backends if isinstance(found, ChainerBackend) else [found]
    except Exception:  # noqa: BLE001 - see above; one that the environment names may not be installed
        return None
    return next((ring for ring in rings if not type(ring).__module__.startswith(_UNUSABLE)), None)
