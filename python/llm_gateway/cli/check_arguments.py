"""Arguments of `llm-gateway check`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction

from llm_gateway.auth.credential import MAX_CREDENTIAL_BYTES
from llm_gateway.config import load
from llm_gateway.errors import ConfigError


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the command to the parser."""
    check = commands.add_parser(
        "check", help="validate the settings and reach every backend, or explain a token"
    )
    check.add_argument("--config", metavar="FILE", help="a YAML file (default: $LLM_GATEWAY_CONFIG)")
    token = check.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        metavar="-",
        type=_standard_input,
        help="explain the access token on standard input: its issuer and tier, or why it is refused",
    )
    token.add_argument("--token-file", metavar="FILE", help="explain the access token in a file")
    check.set_defaults(run=_check)


def _check(arguments: Namespace) -> int:
    from llm_gateway.cli import check, check_token

    settings = load.from_process(arguments.config)
    name = arguments.token or arguments.token_file
    return check.run(settings) if name is None else check_token.run(settings, _token(name))


def _standard_input(text: str) -> str:
    # Whoever may list processes reads their arguments, and the shell keeps them.
    if text == "-":
        return text
    raise ArgumentTypeError("a token is not to be an argument: write it to standard input, or --token-file")


def _token(name: str) -> bytes:
    try:
        # A descriptor is left open: nothing else is read from standard input.
        source = 0 if name == "-" else name
        with open(source, "rb", closefd=source != 0) as file:
            # One byte more than a token may have shows that there is more.
            token = file.read(MAX_CREDENTIAL_BYTES + 1).strip()
    except OSError as cause:
        raise ConfigError([f"--token-file: {name} cannot be read: {cause.strerror}"]) from None
    if not token:
        place = "standard input" if sys.stdin is not None and name == "-" else name
        raise ConfigError([f"there is no token in {place}; write an access token into it"])
    return token
