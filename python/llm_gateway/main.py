"""The composition root: settings → authentication, policy, core → the application of one worker."""

import asyncio

from llm_gateway._core import Core
from llm_gateway.asgi.app import App
from llm_gateway.asgi.gateway import Gateway, SignIn
from llm_gateway.auth import authenticator, personal_keys
from llm_gateway.auth.authenticator import People
from llm_gateway.auth.provider import Provider
from llm_gateway.auth.revocations import Revocations
from llm_gateway.config.core import core_settings
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Policy
from llm_gateway.records import Records
from llm_gateway.signin.code_flow import CodeFlow
from llm_gateway.signin.device_flow import DeviceFlow
from llm_gateway.signin.managed_settings import ManagedSettings
from llm_gateway.signin.sessions import Sessions
from llm_gateway.signin.telemetry import Forwarding


def app(settings: Settings, metrics_folder: str) -> App:
    """The application of one worker; made in the worker, after the fork.

    `metrics_folder` is shared by all workers of this gateway and was fresh when it started.
    """

    async def birth() -> Gateway:
        core = Core(
            core_settings(settings),
            metrics_folder,
            float(settings.server.drain_s),
            asyncio.get_running_loop(),
            Fault,
        )
        return await _gateway(settings, core)

    return App(birth)


async def _gateway(settings: Settings, core: Core) -> Gateway:
    people = people_of(settings, core)
    asks = authenticator.build(settings, people)
    sign_in = None
    if people.provider is not None:
        sign_in = SignIn(
            DeviceFlow(settings.auth, people.provider, asks),
            CodeFlow(settings.auth, people.provider),
            Sessions(settings, people.provider, core),
        )
    telemetry = Forwarding(settings.telemetry)
    await telemetry.start()
    await asks.start()
    return Gateway(
        settings=settings,
        authenticator=asks,
        policy=Policy(settings),
        core=core,
        people=people,
        sign_in=sign_in,
        managed_settings=ManagedSettings(settings.tiers),
        telemetry=telemetry,
    )


def people_of(settings: Settings, records: Records) -> People:
    """What a process that has a store knows of those who sign in; nothing of it is started."""
    revocations = Revocations(records)
    provider = None if settings.auth.provider == "keys" else Provider(settings.auth)
    keys = personal_keys.build(settings, records, revocations, provider)
    return People(provider, keys, revocations)
