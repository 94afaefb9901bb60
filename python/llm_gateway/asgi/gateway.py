"""What the endpoints of one worker share."""

from typing import NamedTuple

from llm_gateway._core import Core
from llm_gateway.asgi.types import Headers
from llm_gateway.auth.authenticator import Authenticator, People
from llm_gateway.auth.credential import credential
from llm_gateway.config.schema import Settings
from llm_gateway.policy.plan import Policy
from llm_gateway.signin.code_flow import CodeFlow
from llm_gateway.signin.device_flow import DeviceFlow
from llm_gateway.signin.managed_settings import ManagedSettings
from llm_gateway.signin.sessions import Sessions
from llm_gateway.signin.telemetry import Forwarding
from llm_gateway.subscriber import Subscriber


class SignIn(NamedTuple):
    """How people sign in; there is none where subscribers are configured."""

    device_flow: DeviceFlow
    code_flow: CodeFlow
    sessions: Sessions


class Gateway(NamedTuple):
    """Settings, who may ask, what may be done, and the relay that does it; alive from start to shutdown."""

    settings: Settings
    authenticator: Authenticator
    policy: Policy
    core: Core
    people: People
    sign_in: SignIn | None
    managed_settings: ManagedSettings
    telemetry: Forwarding

    async def subscriber(self, headers: Headers) -> Subscriber:
        """Returns whose credential the headers hold. Raises: as `credential` and `Authenticator` say."""
        return await self.authenticator.authenticate(credential(headers))

    async def stop(self) -> None:
        """Returns when all but the core is closed."""
        await self.telemetry.stop()
        await self.authenticator.stop()
        if self.people.provider is not None:
            await self.people.provider.stop()
