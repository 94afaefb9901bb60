"""A change of a person's file: shown first, made whole or not at all."""

import difflib
import shutil
import sys
from pathlib import Path

from llm_gateway.cli import console
from llm_gateway.cli.file import replace
from llm_gateway.cli.subscriber.problem import ProblemError

_KEPT = ".before-llm-gateway"


def read(path: Path) -> str:
    """Returns the file's text with its ends of lines, empty if there is none. Raises: ProblemError."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8"
        raise ProblemError(f"{path} cannot be read: {reason}") from None


def make(path: Path, before: str, after: str, *, yes: bool) -> bool:
    """Shows what changes, asks, and writes; returns whether the file says `after` now. Raises: ProblemError.

    What was there before is kept beside it.
    """
    if before == after:
        console.say(f"{path}: nothing to change")
        return True
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} (now)", f"{path} (then)", lineterm=""
    )
    for line in lines:
        console.say(_coloured(line))
    if not (yes or _agreed()):
        console.say("nothing was changed")
        return False
    _write(path, before, after)
    console.say(f"{console.good('✓')} {path}")
    return True


def _write(path: Path, before: str, after: str) -> None:
    try:
        # A link, as of people who keep their settings elsewhere, stays one.
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        if read(target) != before:
            raise ProblemError(f"{path} was changed meanwhile; run the command again")
        if before:
            shutil.copy2(target, target.with_name(target.name + _KEPT))
        replace(target, after.encode(), mode=target.stat().st_mode & 0o777 if target.exists() else 0o600)
    except OSError as cause:
        raise ProblemError(f"{path} cannot be written: {cause.strerror}") from None


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise ProblemError("nobody is there to agree; say --yes to make this change")
    return console.agreed("Make this change?")


def _coloured(line: str) -> str:
    if line.startswith("+"):
        return console.good(line)
    return console.bad(line) if line.startswith("-") else line
