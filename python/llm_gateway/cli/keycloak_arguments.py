"""Arguments of `llm-gateway keycloak setup`."""

import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from ipaddress import ip_address
from urllib.parse import urlsplit

from llm_gateway.cli.keycloak.options import Options
from llm_gateway.cli.keycloak.wanted import Wanted
from llm_gateway.errors import ConfigError
from llm_gateway.tls import trust

_TIERS = "free,pro,enterprise"
_TOKEN_LIFE_S = 600
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands to the parser."""
    keycloak = commands.add_parser("keycloak", help="set a Keycloak realm up for this gateway")
    actions = keycloak.add_subparsers(required=True, metavar="ACTION")
    setup = actions.add_parser(
        "setup",
        help="make the client, its roles and mappers, or repair them",
        description="Makes what the gateway needs in a Keycloak realm: a client, a role per tier, mappers. "
        "What is right already is left alone, and every change is shown before it is made.",
    )
    _where(setup)
    _what(setup)
    _how(setup)
    setup.set_defaults(run=_setup)


def _where(parser: ArgumentParser) -> None:
    parser.add_argument("--url", required=True, type=_server_url, help="Keycloak, as https://keycloak")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM bundle to trust beside the system's roots")
    parser.add_argument("--admin", default="admin", metavar="USER", help="who signs in (default: admin)")
    parser.add_argument("--admin-realm", default="master", type=_name, metavar="REALM", help="and where")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="the administrator's password; - is standard input (default: it is asked for)",
    )


def _what(parser: ArgumentParser) -> None:
    parser.add_argument("--realm", required=True, type=_name, help="the realm of those who use the gateway")
    parser.add_argument("--create-realm", action="store_true", help="make the realm if there is none")
    parser.add_argument("--client-id", default="llm-gateway", type=_name, help="(default: llm-gateway)")
    parser.add_argument(
        "--gateway-url",
        action="append",
        default=[],
        type=_gateway_url,
        metavar="URL",
        help="the gateway as people reach it, for signing in at its page; may be given several times",
    )
    parser.add_argument("--tiers", default=_TIERS, type=_names, help=f"(default: {_TIERS})")
    parser.add_argument(
        "--tier-of",
        action="append",
        default=[],
        type=_member,
        metavar="USER=TIER",
        help="give a user the role of a tier; may be given several times",
    )
    parser.add_argument(
        "--token-life",
        default=_TOKEN_LIFE_S,
        type=_seconds,
        metavar="SECONDS",
        help=f"how long an access token holds (default: {_TOKEN_LIFE_S})",
    )
    parser.add_argument(
        "--without-account-check",
        action="store_true",
        help="do not let the client see whether accounts are enabled (auth.introspect for personal keys)",
    )


def _how(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be changed, change nothing")
    parser.add_argument("--yes", action="store_true", help="make the changes without asking")
    parser.add_argument(
        "--secret-file", metavar="FILE", help="write the client's secret there (mode 600), do not print it"
    )
    parser.add_argument(
        "--show-secret", action="store_true", help="print the secret of a client that was there"
    )


def _setup(arguments: Namespace) -> int:
    from llm_gateway.cli.keycloak.setup import setup

    return setup(options(arguments))


def options(arguments: Namespace) -> Options:
    """What the words ask for. Raises: ConfigError if it contradicts itself, or a file cannot be used."""
    tiers: tuple[str, ...] = arguments.tiers
    if arguments.realm == "master":
        raise ConfigError(["--realm: master is for Keycloak's own administrators; use a realm of its own"])
    for user, tier in arguments.tier_of:
        if tier not in tiers:
            raise ConfigError([f"--tier-of {user}={tier}: not among --tiers, which are {', '.join(tiers)}"])
    _check_folder(arguments.secret_file)
    return Options(
        url=arguments.url,
        tls=trust(arguments.ca_file, "--ca-file"),
        admin=arguments.admin,
        admin_realm=arguments.admin_realm,
        password_file=arguments.password_file,
        wanted=Wanted(
            realm=arguments.realm,
            client_id=arguments.client_id,
            gateway_urls=tuple(dict.fromkeys(arguments.gateway_url)),
            tiers=tiers,
            members=tuple(arguments.tier_of),
            token_life_s=arguments.token_life,
            account_check=not arguments.without_account_check,
            create_realm=arguments.create_realm,
        ),
        dry_run=arguments.dry_run,
        yes=arguments.yes,
        secret_file=arguments.secret_file,
        show_secret=arguments.show_secret,
    )


def _check_folder(secret_file: str | None) -> None:
    # Known before anything is changed, for whose secret there would be no place.
    if secret_file is None:
        return
    folder = os.path.dirname(os.path.abspath(secret_file))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ConfigError([f"--secret-file: {folder} is no folder that may be written; make it first"])


def _server_url(text: str) -> str:
    url = _url(text)
    if "/realms/" in url:
        raise ArgumentTypeError("expected Keycloak's own URL, without /realms/…; the realm is for --realm")
    return url


def _gateway_url(text: str) -> str:
    if "*" in text:
        raise ArgumentTypeError("expected one URL without *: people are sent back to exactly that one")
    return _url(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ArgumentTypeError("expected a URL as https://host or https://host/path")
    if parts.username is not None or not text.isprintable() or " " in text:
        raise ArgumentTypeError("expected a URL without a user name, a password or blanks")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ArgumentTypeError("expected https: passwords and codes would go over the network in the clear")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(text: str) -> str:
    if _NAME.fullmatch(text):
        return text
    raise ArgumentTypeError("expected letters, digits, dots, dashes and underscores, 128 at most")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(part.strip()) for part in text.split(",")))


def _member(text: str) -> tuple[str, str]:
    user, _, tier = text.rpartition("=")
    if not user:
        raise ArgumentTypeError("expected USER=TIER")
    return user, _name(tier)


def _seconds(text: str) -> int:
    if text.isdecimal() and 60 <= int(text) <= 86400:
        return int(text)
    raise ArgumentTypeError("expected 60 to 86400 seconds")
