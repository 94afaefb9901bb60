"""A file that is there whole, before and after, whatever happens between."""

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int) -> None:
    """Writes the file anew and moves it into its place; until then only its owner can read it.

    Raises: OSError, and what was there is still there.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
