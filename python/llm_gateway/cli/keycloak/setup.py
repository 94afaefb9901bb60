"""`llm-gateway keycloak setup`: what the gateway needs in a Keycloak realm, made or repaired."""

import getpass
import os
import sys
from functools import cache
from pathlib import Path

from llm_gateway.cli import console
from llm_gateway.cli.file import replace
from llm_gateway.cli.keycloak.admin import Account, Admin, AdminError
from llm_gateway.cli.keycloak.changes import Change, changes, notes
from llm_gateway.cli.keycloak.found import Found, read
from llm_gateway.cli.keycloak.options import Options
from llm_gateway.cli.keycloak.writer import Writer
from llm_gateway.errors import ConfigError

_PASSWORD_BYTES = 4096


def setup(options: Options) -> int:
    """Shows what differs from what is wanted, makes it so, and prints the gateway's settings.

    0 if all is as wanted then, and for a dry run; 1 if something could not be made, or was not to be.

    Raises: ConfigError if there is no password, or nobody to ask.
    """
    account = Account(options.admin, options.admin_realm, cache(lambda: _password(options)))
    try:
        with Admin(options.url, options.tls, account, options.wanted.realm) as admin:
            return _set_up(admin, options)
    except AdminError as error:
        console.complain(str(error))
        return 1


def _set_up(admin: Admin, options: Options) -> int:
    wanted = options.wanted
    found = read(admin, wanted)
    if found.realm is None and not wanted.create_realm:
        raise AdminError(f"there is no realm {wanted.realm}; make it in the console, or say --create-realm")
    if found.realm is None and wanted.members:
        raise AdminError("a new realm has no users yet; leave --tier-of out")
    needed = changes(wanted, found)
    _show(needed, notes(wanted, found), wanted.realm, options.url)
    if options.dry_run:
        return 0
    was_there = found.client is not None
    if needed:
        if not (options.yes or _agreed(len(needed))):
            console.say("nothing was changed")
            return 1
        _make(needed, Writer(admin, wanted))
        found = read(admin, wanted)
        if left := changes(wanted, found):
            for line in (line for change in left for line in change.lines):
                console.complain(f"still to do: {line}")
            return 1
        console.say("done; all is as it should be")
    _say_settings(admin, options, found, is_secret_shown=options.show_secret or not was_there)
    return 0


def _show(needed: list[Change], remarks: list[str], realm: str, url: str) -> None:
    console.say(f"realm {realm} of {url}:")
    for line in (line for change in needed for line in change.lines):
        console.say(f"  {line}")
    if not needed:
        console.say("  nothing to change")
    for remark in remarks:
        console.say(console.faint(f"  note: {remark}"))


def _make(needed: list[Change], writer: Writer) -> None:
    for number, change in enumerate(needed):
        try:
            change.make(writer)
        except AdminError as error:
            done = f"{number} of {len(needed)} changes were made" if number else "nothing was changed"
            raise AdminError(f"{error} ({done}; running it again goes on from there)") from None


def _say_settings(admin: Admin, options: Options, found: Found, *, is_secret_shown: bool) -> None:
    wanted = options.wanted
    lines = ["AUTH_PROVIDER=keycloak", f"KEYCLOAK_URL={admin.issuer()}", f"OIDC_CLIENT_ID={wanted.client_id}"]
    if len(wanted.gateway_urls) == 1:
        lines.append(f"LLM_GATEWAY_PUBLIC_URL={wanted.gateway_urls[0]}")
    secret = str((found.client or {}).get("secret", ""))
    hint = None
    if options.secret_file is not None:
        _write_secret(options.secret_file, secret)
        lines.append(f"OIDC_CLIENT_SECRET_FILE={os.path.abspath(options.secret_file)}")
    elif is_secret_shown:
        lines.append(f"OIDC_CLIENT_SECRET={secret}")
    else:
        hint = "the client's secret, OIDC_CLIENT_SECRET, is not printed again; --show-secret does"
    console.say("\nthe gateway's settings:")
    for line in lines:
        console.say(console.to_paste(line))
    if hint is not None:
        console.say(console.faint(hint))


def _write_secret(name: str, secret: str) -> None:
    try:
        replace(Path(name).absolute(), f"{secret}\n".encode(), mode=0o600)
    except OSError as cause:
        raise AdminError(f"--secret-file: {name} cannot be written: {cause.strerror}") from None


def _password(options: Options) -> str:
    if options.password_file is None:
        if not sys.stdin.isatty():
            raise ConfigError(
                ["nobody is there to ask for the password; say --password-file FILE, or - for stdin"]
            )
        return getpass.getpass(f"password of {options.admin} at {options.url}: ")
    try:
        # A descriptor is left open: nothing but the password is read from standard input.
        source = 0 if options.password_file == "-" else options.password_file  # noqa: S105 - a name for stdin
        with open(source, encoding="utf-8", closefd=source != 0) as file:
            password = file.read(_PASSWORD_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8"
        raise ConfigError([f"--password-file: {options.password_file} cannot be read: {reason}"]) from None
    if not password:
        raise ConfigError([f"--password-file: {options.password_file} is empty; write the password into it"])
    return password


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(["nobody is there to ask whether to make these changes; say --yes to make them"])
    question = "make this change?" if count == 1 else f"make these {count} changes?"
    return console.agreed(question)
