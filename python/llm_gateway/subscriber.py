"""Who is asking."""

from typing import Literal

import msgspec

USER_BYTES = 255

Means = Literal["configured_key", "token", "personal_key", "session"]


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """A person with a subscription, as authentication found them.

    `user` is the stable id that quota is counted under (at most `USER_BYTES` of UTF-8, never empty);
    `tier` is a key of `Settings.tiers`; `expires_at` is the Unix time in seconds at which the credential
    ends, or None when it does not. `means` is what they showed; `email` what the credential says, for
    their own eyes only.
    """

    user: str
    tier: str
    expires_at: float | None = None
    means: Means = "configured_key"
    email: str | None = None
