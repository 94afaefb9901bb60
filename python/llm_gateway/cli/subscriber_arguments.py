"""Arguments of `llm-gateway login|token|setup|status`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from collections.abc import Callable
from pathlib import Path

from llm_gateway.cli import console
from llm_gateway.cli.subscriber.address import gateway_url
from llm_gateway.cli.subscriber.credentials import Credentials
from llm_gateway.cli.subscriber.problem import ProblemError
from llm_gateway.config import load

_KEY_BYTES = 8192

_Command = Callable[[str, Credentials, Namespace], bool]


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands to the parser."""
    login = commands.add_parser("login", help="sign in to a gateway with your account")
    _url(login)
    login.add_argument("--ca-file", metavar="FILE", help="PEM bundle to trust beside the system's roots")
    login.add_argument("--no-browser", action="store_true", help="only print the page to open")
    login.set_defaults(run=lambda arguments: _answered(_login, arguments))

    token = commands.add_parser("token", help="print a fresh token, and nothing else")
    _url(token)
    token.set_defaults(run=lambda arguments: _answered(_token, arguments))

    setup = commands.add_parser(
        "setup",
        help="have Claude Code, or OpenAI clients, use a gateway",
        description="Shows what it would change in the settings of a program, and asks before it does.",
    )
    _url(setup)
    setup.add_argument(
        "--helper",
        action="store_true",
        help="have Claude Code ask `llm-gateway token` instead of signing in itself",
    )
    setup.add_argument("--openai", action="store_true", help="lines for the shell, for OpenAI clients")
    setup.add_argument(
        "--write", metavar="FILE", type=Path, help="put those lines into a file, as ~/.profile"
    )
    setup.add_argument("--undo", action="store_true", help="take the change back")
    setup.add_argument("--yes", action="store_true", help="do not ask")
    setup.set_defaults(run=lambda arguments: _answered(_setup, arguments))

    status = commands.add_parser("status", help="show your tier, quota and models")
    _url(status)
    status.add_argument(
        "--key-stdin", action="store_true", help="with a personal key, read from standard input"
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=lambda arguments: _answered(_status, arguments))


def _url(parser: ArgumentParser) -> None:
    text = (
        "the gateway, as https://gateway.example (default: $LLM_GATEWAY_URL, else the last one signed in to)"
    )
    parser.add_argument("--url", type=gateway_url, help=text)


def _answered(command: _Command, arguments: Namespace) -> int:
    credentials = Credentials(load.personal_folder())
    try:
        url = arguments.url or _usual_url(credentials)
        return 0 if command(url, credentials, arguments) else 1
    except ProblemError as problem:
        console.complain(str(problem))
        return 1


def _usual_url(credentials: Credentials) -> str:
    url = load.gateway_url() or credentials.last_url()
    if url is None:
        raise ProblemError("which gateway? give its address with --url")
    try:
        return gateway_url(url)
    except ArgumentTypeError as problem:
        raise ProblemError(f"LLM_GATEWAY_URL: {problem}") from None


def _login(url: str, credentials: Credentials, arguments: Namespace) -> bool:
    from llm_gateway.cli.subscriber.login import login

    login(url, arguments.ca_file, credentials, open_browser=not arguments.no_browser)
    return True


def _token(url: str, credentials: Credentials, _arguments: Namespace) -> bool:
    from llm_gateway.cli.subscriber.token import fresh

    console.say(fresh(url, credentials).access_token)
    return True


def _setup(url: str, _credentials: Credentials, arguments: Namespace) -> bool:
    from llm_gateway.cli.subscriber import setup

    undo, yes = arguments.undo, arguments.yes
    if arguments.openai or arguments.write is not None:
        return setup.openai(url, arguments.write, undo=undo, yes=yes)
    return setup.claude_code(load.claude_folder(), url, by_helper=arguments.helper, undo=undo, yes=yes)


def _status(url: str, credentials: Credentials, arguments: Namespace) -> bool:
    from llm_gateway.cli.subscriber.status import status
    from llm_gateway.cli.subscriber.token import fresh

    if arguments.key_stdin:
        status(url, sys.stdin.readline(_KEY_BYTES).strip(), None, as_json=arguments.json)
    else:
        credential = fresh(url, credentials)
        status(url, credential.access_token, credential.ca_file, as_json=arguments.json)
    return True
