"""The part of the settings that the Rust core needs, as one value: it has no second source."""

import os

import msgspec

from llm_gateway.config import profiles
from llm_gateway.config.schema import Settings


def core_settings(settings: Settings) -> bytes:
    """JSON with `upstreams`, `profiles`, `quota`, `metrics` and `limits`; holds secrets, so never logged."""
    return msgspec.json.encode(
        {
            "upstreams": {
                name: {
                    "urls": upstream.urls,
                    "apis": upstream.apis,
                    "api_key": upstream.api_key,
                    "auth_header": upstream.auth,
                    "ca_file": upstream.ca_file,
                    "keep_alive_s": upstream.keep_alive_s,
                    "connect_s": upstream.deadlines.connect_s,
                    "first_byte_s": upstream.deadlines.first_byte_s,
                    "idle_s": upstream.deadlines.idle_s,
                    "ping_s": upstream.deadlines.ping_s,
                }
                for name, upstream in settings.upstreams.items()
            },
            "profiles": profiles.by_key(settings),
            "quota": {
                "redis_url": settings.quota.redis_url,
                "redis_ca_file": settings.quota.redis_ca_file,
                "sqlite_path": os.path.join(settings.data_dir, "quota.sqlite3"),
                "timezone": settings.quota.timezone,
                "timeout_s": settings.quota.timeout_s,
            },
            "metrics": {
                "user_label": settings.metrics.user_label,
                "user_series": settings.metrics.user_series,
            },
            "limits": {"exchanges": settings.limits.exchanges},
        }
    )
