"""Arguments of `llm-gateway keys create|list|revoke`."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction

from llm_gateway.config import load
from llm_gateway.subscriber import USER_BYTES


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands to the parser."""
    parser = commands.add_parser("keys", help="make, list or revoke somebody's personal keys")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    create = _action(actions, "create", "make a key and print it, this once")
    create.add_argument("--tier", required=True, help="the tier that the key gives")
    create.add_argument("--name", required=True, help="what the user is to know the key by")
    create.add_argument("--days", type=int, help="how long it lives (default: keys.default_days)")
    create.set_defaults(run=_create)

    listed = _action(actions, "list", "list a user's keys")
    listed.set_defaults(run=_list)

    revoke = _action(actions, "revoke", "revoke a key, at once and on all gateways")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the key's id, as `llm-gateway keys list` shows it")
    which.add_argument("--all", action="store_true", help="revoke all keys of the user")
    revoke.set_defaults(run=_revoke)


def _action(actions: "_SubParsersAction[ArgumentParser]", name: str, description: str) -> ArgumentParser:
    parser = actions.add_parser(name, help=description)
    parser.add_argument("--config", metavar="FILE", help="a YAML file (default: $LLM_GATEWAY_CONFIG)")
    parser.add_argument("user", type=user, help="the user's id, as the token or the settings have it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def user(text: str) -> str:
    """Returns the id of a user. Raises: ArgumentTypeError."""
    # What is no UTF-8 comes as lone surrogates.
    size = len(text.encode(errors="surrogatepass"))
    if 0 < size <= USER_BYTES and text == text.encode(errors="replace").decode():
        return text
    raise ArgumentTypeError(f"expected 1 to {USER_BYTES} bytes of UTF-8")


def _create(arguments: Namespace) -> int:
    from llm_gateway.cli import keys

    wanted = keys.Wanted(arguments.tier, arguments.name, arguments.days)
    return keys.create(load.from_process(arguments.config), arguments.user, wanted, arguments.json)


def _list(arguments: Namespace) -> int:
    from llm_gateway.cli import keys

    return keys.show(load.from_process(arguments.config), arguments.user, arguments.json)


def _revoke(arguments: Namespace) -> int:
    from llm_gateway.cli import keys

    key_id = None if arguments.all else arguments.id
    return keys.revoke(load.from_process(arguments.config), arguments.user, key_id, arguments.json)
