"""The composition root: settings → authentication, policy, core → the application of one worker."""

import asyncio

from llm_gateway._core import Core
from llm_gateway.asgi.app import App
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.auth import authenticator
from llm_gateway.config.core import core_settings
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Policy


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
        asks = authenticator.build(settings)
        await asks.start()
        return Gateway(settings, asks, Policy(settings), core)

    return App(birth)
