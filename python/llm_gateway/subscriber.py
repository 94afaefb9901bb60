"""Who is asking."""

import msgspec

USER_BYTES = 255


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """A person with a subscription, as authentication found them.

    `user` is the stable id that quota is counted under (at most `USER_BYTES` of UTF-8, never empty);
    `tier` is a key of `Settings.tiers`; `expires_at` is the Unix time in seconds at which the credential
    ends, or None when it does not.
    """

    user: str
    tier: str
    expires_at: float | None = None
