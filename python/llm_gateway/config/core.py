"""The part of the settings that the Rust core needs, as one value: it has no second source."""

import os

import msgspec

from llm_gateway.config import folders, profiles
from llm_gateway.config.schema import Settings


def core_settings(settings: Settings, *, journal: bool = True) -> bytes:
    """JSON with `upstreams`, `profiles`, `quota`, `metrics` and `limits`; holds secrets, so never logged.

    Without `journal` nothing is kept on disk until the store takes it: for commands, which wait themselves.
    """
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
            "quota": _quota(settings, folders.journal(settings) if journal else None),
            "metrics": {
                "user_label": settings.metrics.user_label,
                "user_series": settings.metrics.user_series,
            },
            "limits": {"exchanges": settings.limits.exchanges},
        }
    )


def _quota(settings: Settings, journal_folder: str | None) -> dict[str, object]:
    quota = settings.quota
    if journal_folder is not None and folders.problem_with(journal_folder):
        journal_folder = None
    # Workers share a file on one machine only; of a server each gateway takes its part.
    sharing = settings.server.workers * (1 if quota.redis_url is None else quota.replicas)
    return {
        "redis_url": quota.redis_url,
        "redis_ca_file": quota.redis_ca_file,
        "sqlite_path": os.path.join(settings.data_dir, "quota.sqlite3"),
        "journal_folder": journal_folder,
        "timezone": quota.timezone,
        "timeout_s": quota.timeout_s,
        "lease_s": quota.lease_s,
        "share": 1 / sharing,
        "local_for_s": quota.local_for_s,
        "cache_read_weight": quota.cache_read_weight,
        "reserved_output_tokens": quota.reserved_output_tokens,
    }
