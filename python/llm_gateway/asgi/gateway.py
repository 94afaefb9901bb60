"""What the endpoints of one worker share."""

from typing import NamedTuple

from llm_gateway._core import Core
from llm_gateway.auth.authenticator import Authenticator
from llm_gateway.config.schema import Settings
from llm_gateway.policy.plan import Policy


class Gateway(NamedTuple):
    """Settings, who may ask, what may be done, and the relay that does it; alive from start to shutdown."""

    settings: Settings
    authenticator: Authenticator
    policy: Policy
    core: Core
