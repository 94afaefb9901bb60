"""The command `llm-gateway`: argument parsing, and words for people."""

import sys

from llm_gateway.cli import arguments, console
from llm_gateway.errors import ConfigError


def main() -> None:
    """Runs the command that was asked for and exits with its status; 2 for settings that cannot be used."""
    try:
        sys.exit(arguments.parse(sys.argv[1:])())
    except ConfigError as error:
        for problem in error.problems:
            console.complain(problem)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
