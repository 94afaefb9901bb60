"""Whether the folders that the settings name can be used."""

import os
from pathlib import Path

from llm_gateway.config.schema import Settings


def journal(settings: Settings) -> str:
    """Where settlements wait on disk while the quota store is away; shared by the workers."""
    return os.path.join(settings.data_dir, "journal")


def problem_with(folder: str) -> str | None:
    """Why nothing can be written into `folder`, which need not be there yet; None if something can.

    Makes nothing: whoever asks may be another user than the gateway, who could not use what was made.
    """
    place = Path(folder).absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return f"{place} is no folder"
        return None if os.access(place, os.W_OK | os.X_OK) else f"{place} may not be written"
    except OSError as error:
        return f"{place}: {error.strerror}"
