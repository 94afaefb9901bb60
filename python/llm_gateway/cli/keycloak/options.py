"""What `llm-gateway keycloak setup` was asked to do."""

import ssl
from typing import NamedTuple

from llm_gateway.cli.keycloak.wanted import Wanted


class Options(NamedTuple):
    """Where and as whom to sign in, what is wanted there, and how to go about it.

    `password_file` is None for a question at the terminal, and `-` for standard input.
    """

    url: str
    tls: ssl.SSLContext
    admin: str
    admin_realm: str
    password_file: str | None
    wanted: Wanted
    dry_run: bool
    yes: bool
    secret_file: str | None
    show_secret: bool
