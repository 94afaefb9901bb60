"""What all settings are made of: frozen structs that refuse unknown keys and hide secrets."""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Seconds = Annotated[float, Meta(gt=0)]

SECRET_FIELDS = frozenset(
    {"api_key", "client_secret", "headers", "key", "key_hash", "pepper", "redis_url", "token"}
)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the settings; an unknown key is a mistake, never ignored. Secrets are not in its `repr`."""

    def __repr__(self) -> str:
        shown = (
            f"{field}=<hidden>" if field in SECRET_FIELDS and value is not None else f"{field}={value!r}"
            for field in self.__struct_fields__
            for value in (getattr(self, field),)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
