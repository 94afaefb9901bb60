"""What has to be known of the gateway before anything goes wrong: how it counts where nobody tells it."""

import asyncio
from collections.abc import Iterator
from itertools import product

from ledger.accounts import Accounts, counters
from ledger.charge import Usage
from ledger.client import Clients
from ledger.plan import DIALECTS, MOST_EVENTS, USERS, Ending, Errand, Plan, Script, Shape, User
from ledger.servers import CannotRunError, Gateway
from ledger.trace import Seen, Trace
from ledger.upstream import Upstream
from ledger.verdict import Rates

_TIER = "spender"
_PATIENCE_S = 5.0


class Measurement:
    """Errands of every shape, whose costs are counted like all others in the end."""

    def __init__(self, plan: Plan, clients: Clients, upstream: Upstream, accounts: Accounts) -> None:
        self._plan, self._clients, self._upstream, self._accounts = plan, clients, upstream, accounts

    async def rates(self, gateways: list[Gateway]) -> Rates:
        """What is counted and reserved, by shape."""
        rates = Rates()
        silent = [errand for shape in _shapes() for errand in self._silent(shape)]
        traces = await asyncio.gather(*(self._clients.send(errand) for errand in silent))
        records = await _records(gateways[0], {trace.request_id or "" for trace in traces})
        for trace in traces:
            _note(trace, records, rates)
        for shape in _shapes():
            rates.reserved[shape] = await self._reserved(shape)
        return rates

    def _silent(self, shape: Shape) -> Iterator[Errand]:
        """Answers of every length without usage; for one model is enough."""
        if shape.heavy:
            return
        for events in range(1, MOST_EVENTS + 1):
            yield self._errand(shape, Script(Ending.SILENT, Usage(1, 1), events=events))

    def _errand(self, shape: Shape, script: Script) -> Errand:
        return Errand(self._plan.number(), _user(shape), 0, shape.stream, shape.typed, script)

    async def _reserved(self, shape: Shape) -> int:
        """Tokens that are taken before the upstream answers: read from the lease while it is held back."""
        errand = self._errand(shape, Script(Ending.COMPLETE, Usage(1, 1)))
        gate = self._upstream.gates[errand.number] = asyncio.Event()
        asked = asyncio.create_task(self._clients.send(errand))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    if leases := await asyncio.to_thread(self._accounts.reserved, errand.user):
                        break
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise CannotRunError(f"no lease is open for a request of {errand.user.name}") from None
        finally:
            gate.set()
            await asked
        (amounts,) = leases.values()
        units = [window.unit for window in counters(errand.user.tier)]
        return (amounts or ())[units.index("tokens")]


def _shapes() -> list[Shape]:
    return [Shape(*each) for each in product(DIALECTS, (False, True), (False, True), (False, True))]


def _user(shape: Shape) -> User:
    wanted = (_TIER, shape.dialect, shape.heavy)
    return next(user for user in USERS if (user.tier.name, user.dialect, user.heavy) == wanted)


async def _records(gateway: Gateway, wanted: set[str]) -> dict[str, dict[str, object]]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = {record["request_id"]: record for record in gateway.records()}
                if wanted <= found.keys():
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise CannotRunError("requests before the faults left no record") from None


def _note(trace: Trace, records: dict[str, dict[str, object]], rates: Rates) -> None:
    errand = trace.errand
    if trace.seen is not Seen.WHOLE:
        raise CannotRunError(f"a request before the faults ended {trace.seen} with {trace.status}")
    record = records[trace.request_id or ""]
    dialect, events = errand.user.dialect, errand.script.events
    read, written = int(str(record["input_tokens"])), int(str(record["output_tokens"]))
    if min(read, written) < 1:
        raise CannotRunError(f"an answer without usage was not counted: {record}")
    same_input = rates.input.setdefault((dialect, errand.typed), read) == read
    same_output = rates.output.setdefault((dialect, events), written) == written
    if not (same_input and same_output):
        raise CannotRunError(f"requests of one shape are counted differently: {record}")
