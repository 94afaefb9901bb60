"""Sessions of browsers on the subscriber's page, kept beside the quota."""

from llm_gateway.auth.authenticator import Authenticator
from llm_gateway.auth.provider import Provider
from llm_gateway.config.schema import Settings
from llm_gateway.records import Records


class Sessions:
    """Who signed in on the page."""

    def __init__(
        self, settings: Settings, provider: Provider, authenticator: Authenticator, records: Records
    ) -> None:
        self._settings = settings
