"""Arguments → what to run."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import msgspec

from llm_gateway import __version__
from llm_gateway.cli import console
from llm_gateway.config import load
from llm_gateway.config.convert import Mistakes, convert
from llm_gateway.config.document import dotted
from llm_gateway.config.schema import Server, Settings
from llm_gateway.errors import ConfigError

Command = Callable[[], int]


def parse(words: list[str]) -> Command:
    """The command that the words ask for, to be called for its exit status; exits on unknown words."""
    parser = ArgumentParser(prog="llm-gateway", description="Subscriptions in front of language models.")
    parser.add_argument("--version", action="version", version=f"llm-gateway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway")
    _config(serve)
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", type=int, help="port to listen on")
    serve.add_argument("--workers", type=int, help="worker processes")
    serve.set_defaults(run=_serve)

    demo = commands.add_parser("demo", help="run the gateway with a scripted upstream and three subscribers")
    demo.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
    demo.set_defaults(run=_demo)

    check = commands.add_parser("check", help="validate the settings and reach every backend")
    _config(check)
    check.set_defaults(run=_check)

    explain = commands.add_parser("explain", help="show which model a tier gets for a name, and why")
    _config(explain)
    explain.add_argument("--tier", required=True)
    explain.add_argument("--model", required=True, help="the name as a client would ask for it")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_explain)

    arguments = parser.parse_args(words)
    return lambda: arguments.run(arguments)


def _config(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a YAML file (default: $LLM_GATEWAY_CONFIG)")


def _serve(arguments: Namespace) -> int:
    from llm_gateway import (
        server,
    )  # the server starts threads when it is imported; only this command needs it

    given = {name: getattr(arguments, name) for name in ("host", "port", "workers")}
    server.serve(_over(load.from_process(arguments.config), given))
    return 0


def _over(settings: Settings, given: dict[str, object]) -> Settings:
    changes = {name: value for name, value in given.items() if value is not None}
    # Converted again, so that a port of the command line obeys the same limits as one of the file.
    mistakes: Mistakes = []
    server = convert(msgspec.to_builtins(settings.server) | changes, Server, (), mistakes)
    if server is None:
        raise ConfigError([f"--{dotted(path)}: {text}" for path, text in mistakes])
    return msgspec.structs.replace(settings, server=server)


def _demo(arguments: Namespace) -> int:
    from llm_gateway.cli import demo

    return demo.run(arguments.port)


def _check(arguments: Namespace) -> int:
    from llm_gateway.cli import check

    return check.run(load.from_process(arguments.config))


def _explain(arguments: Namespace) -> int:
    from llm_gateway.cli.explain import explain

    settings = load.from_process(arguments.config)
    text, status = explain(settings, arguments.tier, arguments.model, arguments.json)
    console.say(text)
    return status
