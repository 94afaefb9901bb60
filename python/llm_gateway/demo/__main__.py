"""`python -m llm_gateway.demo PORT` serves the demo upstream on loopback."""

import sys

from granian import Granian
from granian.constants import HTTPModes, Interfaces

if __name__ == "__main__":
    Granian(
        "llm_gateway.demo.upstream:app",
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    ).serve()
