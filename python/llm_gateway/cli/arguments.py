"""Arguments → what to run."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import get_args

import msgspec

from llm_gateway import __version__
from llm_gateway.cli import check_arguments, console, keycloak_arguments, keys_arguments, subscriber_arguments
from llm_gateway.cli.keys_arguments import user
from llm_gateway.config import load
from llm_gateway.config.convert import Mistakes, convert
from llm_gateway.config.document import dotted
from llm_gateway.config.schema import Amount, Period, Server, Settings, Unit, Window
from llm_gateway.errors import ConfigError

_REASON_CHARACTERS = 500

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

    check_arguments.add(commands)

    explain = commands.add_parser("explain", help="show which model a tier gets for a name, and why")
    _config(explain)
    explain.add_argument("--tier", required=True)
    explain.add_argument("--model", required=True, help="the name as a client would ask for it")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_explain)

    _quota(commands.add_parser("quota", help="show or set what a user has used"))

    for family in (keys_arguments, keycloak_arguments, subscriber_arguments):
        family.add(commands)

    arguments = parser.parse_args(words)
    return lambda: arguments.run(arguments)


def _quota(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="show what a user has used, and who changed it by hand")
    _config(show)
    show.add_argument("user", type=user, help="the user's id, as the token or the settings have it")
    show.add_argument(
        "--tier", help="show the limits of this tier (default: that of the settings' subscriber)"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_quota_show)

    change = actions.add_parser("set", help="set what a user has used, at once and for all gateways")
    _config(change)
    change.add_argument("user", type=user, help="the user's id, as the token or the settings have it")
    change.add_argument(
        "--unit", required=True, choices=[unit for unit in get_args(Unit) if unit != "concurrent"]
    )
    change.add_argument("--period", required=True, choices=get_args(Period))
    change.add_argument(
        "--used", required=True, type=_amount, help="what is to be used of the current period"
    )
    change.add_argument("--reason", required=True, type=_reason, help="a line for those who ask later")
    change.set_defaults(run=_quota_set)


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


def _explain(arguments: Namespace) -> int:
    from llm_gateway.cli.explain import explain

    settings = load.from_process(arguments.config)
    text, status = explain(settings, arguments.tier, arguments.model, arguments.json)
    console.say(text)
    return status


def _amount(text: str) -> int:
    try:
        return msgspec.convert(text, Amount, strict=False)
    except msgspec.ValidationError:
        raise ArgumentTypeError(f"expected an integer from 0 to 10^15, found {text[:20]!r}") from None


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _REASON_CHARACTERS:
        raise ArgumentTypeError(f"expected one line of 1 to {_REASON_CHARACTERS} printable characters")
    return text.strip()


def _quota_show(arguments: Namespace) -> int:
    from llm_gateway.cli import quota

    settings = load.from_process(arguments.config)
    return quota.show(settings, arguments.user, arguments.tier, arguments.json)


def _quota_set(arguments: Namespace) -> int:
    from llm_gateway.cli import quota

    settings = load.from_process(arguments.config)
    window = Window(unit=arguments.unit, period=arguments.period)
    change = quota.Change(window=window, used=arguments.used, reason=arguments.reason)
    return quota.set_used(settings, arguments.user, change)
