import hashlib
import logging

import pytest

from llm_gateway.auth.keys import ConfiguredKeys
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.config.schema import ConfiguredSubscriber
from llm_gateway.errors import ConfigError, Fault
from llm_gateway.subscriber import Subscriber

pytestmark = pytest.mark.anyio

HASH = "sha256:" + hashlib.sha256(b"paulas-key").hexdigest()
FRED = ConfiguredSubscriber(user="fred", tier="free", key="freds-key")
PAULA = ConfiguredSubscriber(user="paula", tier="pro", key_hash=HASH)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_knows_subscribers_by_key_and_by_hash() -> None:
    keys = ConfiguredKeys([FRED, PAULA])
    assert await keys.authenticate(b"freds-key") == Subscriber(user="fred", tier="free")
    assert await keys.authenticate(b"paulas-key") == Subscriber(user="paula", tier="pro")


@pytest.mark.parametrize(
    "guess", [b"freds-kez", b"freds-ke", b"freds-key ", b"", HASH.encode(), b"\xff" * 99]
)
async def test_refuses_every_other_key_with_the_same_words(guess: bytes) -> None:
    with pytest.raises(Fault) as caught:
        await ConfiguredKeys([FRED, PAULA]).authenticate(guess)
    fault = caught.value
    assert (fault.kind, fault.message, fault.should_retry) == ("unauthenticated", MESSAGE, False)


async def test_needs_no_issuer() -> None:
    keys = ConfiguredKeys([])
    await keys.start()
    assert (keys.state(), keys.jwks_age_s()) == ("ok", None)
    await keys.stop()


def test_reports_every_unusable_entry_without_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        ConfiguredKeys(
            [
                ConfiguredSubscriber(user="both", tier="free", key="canary", key_hash=HASH),
                ConfiguredSubscriber(user="none", tier="free"),
                ConfiguredSubscriber(user="empty", tier="free", key=""),
                PAULA,
                ConfiguredSubscriber(user="same", tier="free", key="paulas-key"),
            ]
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        f"subscribers[{position}]" for position in (0, 1, 2, 4)
    ]
    assert "canary" not in str(caught.value)


async def test_logs_why_but_never_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Fault):
        await ConfiguredKeys([FRED]).authenticate(b"canary-77aa")
    assert "no subscriber has this key" in caplog.text
    assert "canary" not in caplog.text
