"""The ASGI callable: one try, and one place where a fault becomes an answer."""

import asyncio
import logging
from uuid import uuid4

from llm_gateway._core import Exchange, shape
from llm_gateway.asgi import body, browser, edge, endpoints, lifespan, oauth, views
from llm_gateway.asgi.endpoints import Endpoint
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer, Receive, Scope, Send
from llm_gateway.auth.credential import credential
from llm_gateway.errors import Fault

logger = logging.getLogger(__name__)


class App:
    """One worker's application; its gateway is born in the server's lifespan."""

    def __init__(self, birth: lifespan.Birth) -> None:
        self._birth = birth
        self._gateway: Gateway | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection scope."""
        if scope["type"] == "lifespan":
            await lifespan.run(self._birth, self._started, receive, send)
            return
        gateway = self._gateway
        if gateway is None:
            raise RuntimeError("the server must run the lifespan protocol before it sends requests")
        try:
            endpoint = endpoints.find(scope["method"], scope["raw_path"])
        except Fault as fault:
            await _view_refused(fault, scope, body.Counted(receive), send)
            return
        if endpoint.operation is not None:
            await _exchange(gateway, gateway.core.begin(endpoint.operation), scope, receive, send)
        else:
            await _view(gateway, endpoint, scope, receive, send)

    def _started(self, gateway: Gateway) -> None:
        self._gateway = gateway


async def _exchange(gateway: Gateway, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
    headers = scope["headers"]
    unread = True
    try:
        edge.check(headers)
        subscriber = await gateway.authenticator.authenticate(credential(headers))
        exchange.subscriber(subscriber.user, subscriber.tier)
        unread = False
        request = exchange.peek(await body.read(headers, receive, gateway.settings.limits))
        plan = gateway.policy.plan(subscriber.tier, request.model)
        await exchange.run(request, subscriber.user, plan, headers, scope["query_string"], send, receive)
    except Fault as fault:
        if unread:
            await body.discard(headers, receive)
        await _send(send, exchange.refuse(fault))
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic of the core is no Exception
        logger.exception("request_failed", extra={"request_id": exchange.request_id})
        await _send(send, exchange.refuse(Fault("internal", "an exception in the gateway")))


async def _view(gateway: Gateway, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    # What a view has read of the body does not come again.
    counted = body.Counted(receive)
    try:
        request = Request(scope, counted, gateway.settings.server, endpoint.argument)
        status, headers, content = await views.render(gateway, request, endpoint)
    except Fault as fault:
        await _view_refused(fault, scope, counted, send)
    except Exception:
        logger.exception("request_failed")
        await _view_refused(Fault("internal", "an exception in the gateway"), scope, counted, send)
    else:
        request_id = _request_id().encode()
        headers = [*headers, (b"request-id", request_id), (b"x-request-id", request_id)]
        await _send(send, (status, headers, content))


async def _view_refused(fault: Fault, scope: Scope, receive: body.Counted, send: Send) -> None:
    path, headers = scope["raw_path"], scope["headers"]
    # An answer that comes before the body is read would make the server cut the connection.
    await body.discard(headers, receive, receive.size)
    if oauth.is_oauth(path):
        await _send(send, oauth.refused(fault))
    elif browser.is_asking(headers):
        await _send(send, browser.refused(fault))
    else:
        await _send(send, shape(fault, endpoints.dialect_of(path, headers), _request_id()))


def _request_id() -> str:
    return f"req_{uuid4().hex}"


async def _send(send: Send, answer: Answer) -> None:
    status, headers, content = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
