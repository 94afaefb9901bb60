"""What the gateway trusts when it speaks TLS itself."""

import ssl

from llm_gateway.errors import ConfigError


def trust(ca_file: str | None, setting: str) -> ssl.SSLContext:
    """Returns a context that trusts the system's roots, and those in `ca_file` beside them.

    `setting` is what the file is called in the settings.

    Raises: ConfigError if the file cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as cause:
            raise ConfigError([f"{setting}: cannot be used: {cause}"]) from cause
    return context
