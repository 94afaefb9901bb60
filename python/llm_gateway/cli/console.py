"""Words on a terminal: colour where there is one, plain text where there is not."""

import sys

_BOLD, _DIM, _RED, _GREEN, _CYAN = "1", "2", "31", "32", "36"


def say(text: str = "") -> None:
    """Prints a line to standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Prints a line to standard error."""
    sys.stderr.write(f"{_coloured(text, _RED, sys.stderr.isatty())}\n")
    sys.stderr.flush()


def record(line: str) -> None:
    """Prints a line for machines to standard error, as it is."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def strong(text: str) -> str:
    """The text, to be seen first."""
    return _coloured(text, _BOLD, sys.stdout.isatty())


def faint(text: str) -> str:
    """The text, to be seen last."""
    return _coloured(text, _DIM, sys.stdout.isatty())


def good(text: str) -> str:
    """The text, as something that works."""
    return _coloured(text, _GREEN, sys.stdout.isatty())


def bad(text: str) -> str:
    """The text, as something that does not."""
    return _coloured(text, _RED, sys.stdout.isatty())


def to_paste(text: str) -> str:
    """The text, as something to copy."""
    return _coloured(text, _CYAN, sys.stdout.isatty())


def _coloured(text: str, colour: str, terminal: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if terminal else text


def agreed(question: str) -> bool:
    """Asks on the terminal; what is no yes is a no, and so is an end of input."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
