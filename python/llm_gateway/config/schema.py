"""Every setting there is, as frozen structs: what `config/load.py` returns and nothing changes afterwards.

The YAML file has this shape. `deploy/gateway.example.yaml` shows every section and is a test fixture.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from llm_gateway.config.section import SECRET_FIELDS, Name, Seconds, Section
from llm_gateway.config.signin import Auth, Page, PersonalKeys, Telemetry, TrustedIssuer
from llm_gateway.subscriber import USER_BYTES

__all__ = [
    "SECRET_FIELDS",
    "Auth",
    "Name",
    "Page",
    "PersonalKeys",
    "Seconds",
    "Section",
    "Telemetry",
    "TrustedIssuer",
]

Dialect = Literal["anthropic", "openai"]
Apis = Literal["auto"] | Annotated[tuple[Dialect, ...], Meta(min_length=1)]
ServerKind = Literal["vllm", "openai", "anthropic"]
Unit = Literal["requests", "prompts", "tokens", "concurrent"]
Period = Literal["minute", "hour", "day", "week", "month"]
OnStoreFailure = Literal["local", "closed", "open"]

ModelId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}\Z")]
Tokens = Annotated[int, Meta(gt=0)]
# Every store counts exactly up to here; Redis' scripts reckon in floating point.
Amount = Annotated[int, Meta(ge=0, le=10**15)]
BetaGlob = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]*\*?\Z", min_length=1)]

# The target of a route that leaves the requested name as it is.
ITSELF = "itself"


class Window(Section, frozen=True, kw_only=True):
    """At most `limit` of `unit` per `period`; `limit: null` counts without refusing.

    Units: `requests` to a model, `prompts` (those that a person typed: the last message is no tool's result),
    `tokens` (input and output), `concurrent` (requests in flight). Periods are those of the calendar in
    `quota.timezone`; without one it is the day, and `concurrent` has none.
    """

    unit: Unit = "requests"
    period: Period | None = None
    limit: Amount | None = None

    def __post_init__(self) -> None:
        # Here, so that nobody behind it has to know what a window without a period means.
        if self.period is None and self.unit != "concurrent":
            msgspec.structs.force_setattr(self, "period", "day")


class Route(Section, frozen=True, kw_only=True):
    """A requested name (exact or glob, first match wins) → the model that serves it.

    `model` is a model id of the catalogue, a class (its first model that the tier has), or `itself`.
    `tiers` limits the route to those tiers; empty means all.
    """

    match: str
    model: str
    tiers: tuple[Name, ...] = ()


class Tier(Section, frozen=True, kw_only=True):
    """A class of limits. `models` holds classes (`internal`, `haiku`), model ids or globs (`"*"`).

    `routes` go before those of all tiers. `otherwise` (a model id or a class) serves the names that no route
    and no class decides; without it they are refused. `on_store_failure` holds while the quota store does not
    answer: `local` goes on from the last known counts with this worker's share of what is left, `closed`
    refuses, `open` lets everybody in. It concerns windows with a limit only. `managed_settings` are settings
    for the Claude Code of those who signed in here, in the words of its `settings.json`.
    """

    rank: int = 0
    models: tuple[str, ...] = ()
    quota: tuple[Window, ...] = ()
    routes: tuple[Route, ...] = ()
    otherwise: str | None = None
    on_store_failure: OnStoreFailure = "local"
    managed_settings: dict[str, Any] | None = None


class Capabilities(Section, frozen=True, kw_only=True):
    """What a model can do, as far as its upstream's profile does not say so; None: as it says.

    `default_max_tokens` is sent where the upstream needs a limit and the client gave none. `thinking` is how
    it is asked for, `thinking_off` whether the model may be asked not to. `sampling`: it takes `temperature`
    and `top_p`. `mid_system`: it takes the role system in mid-conversation. `refused_betas` are names of
    `anthropic-beta` (a `*` at the end is the rest) to take out of requests that were meant for another class.
    """

    vision: bool | None = None
    documents: bool | None = None
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    default_max_tokens: Tokens | None = None
    thinking: Literal["adaptive", "budget", "none"] | None = None
    thinking_off: bool | None = None
    effort: bool | None = None
    structured_output: bool | None = None
    sampling: bool | None = None
    mid_system: bool | None = None
    refused_betas: tuple[BetaGlob, ...] | None = None


class Profile(Capabilities, frozen=True, kw_only=True):
    """How an upstream and its models differ from the preset of its `kind`; None: as there.

    `inline_system` is what becomes of system messages in mid-conversation, `thinking_switch` what turns
    thinking on and off, `thinking_when_absent` what a request means that does not mention it.
    `thinking_budget`: a limit is sent, as `thinking_token_budget`. `effort_none`: the effort `none` is known;
    `top_effort` is the highest one. `lenient_end`: a stream may end without a reason. `send_user`: a hash of
    the user is sent.
    """

    inline_system: Literal["fold", "preserve"] | None = None
    thinking_switch: Literal["enable_thinking", "reasoning_effort", "none"] | None = None
    thinking_when_absent: Literal["off", "leave"] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    strict_tools: bool | None = None
    lenient_end: bool | None = None
    thinking_budget: bool | None = None
    effort_none: bool | None = None
    top_effort: Literal["minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    send_user: bool | None = None


class Weights(Section, frozen=True, kw_only=True):
    """What one request counts as, one prompt, one token: a dear model may use up more than a cheap one."""

    requests: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    prompts: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    tokens: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0


class Model(Section, frozen=True, kw_only=True):
    """One model of the catalogue.

    `wire` is its name at the upstream (default: the id). `aliases` are other names (exact or glob) that mean
    this model. `model_class` (in YAML: `class`) groups models for tiers and routes. `tokenizer_file` is its
    Hugging Face `tokenizer.json`, by which tokens are counted here. `weights` say what its use counts as.
    """

    id: ModelId
    model_class: str = msgspec.field(name="class")
    upstream: Name
    wire: str | None = None
    aliases: tuple[str, ...] = ()
    capabilities: Capabilities = Capabilities()
    tokenizer_file: str | None = None
    weights: Weights = Weights()


class Deadlines(Section, frozen=True, kw_only=True):
    """How long each wait on an upstream may take, in seconds.

    `first_byte_s` ends with the answer's head; `idle_s` is silence inside an answer. After `ping_s` of it the
    client of a stream gets a ping.
    """

    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 600.0
    idle_s: Seconds = 240.0
    ping_s: Seconds = 10.0


class Upstream(Section, frozen=True, kw_only=True):
    """One backend: replicas of the same server, by base URL with or without `/v1`.

    `apis` are the dialects it speaks; with `auto` it is asked once, at start. `kind` is the preset of its
    manners (None: see `profiles.kind_of`), `profile` what differs. `auth` is how `api_key` is sent. `ca_file`
    adds a PEM bundle to the system's roots. `keep_alive_s` is how long an idle pooled connection is trusted;
    it stays under the server's own limit, which is 5 s in vLLM.
    """

    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    apis: Apis
    kind: ServerKind | None = None
    profile: Profile = Profile()
    api_key: str | None = None
    auth: Literal["x-api-key", "bearer"] = "bearer"
    ca_file: str | None = None
    keep_alive_s: Seconds = 4.0
    deadlines: Deadlines = Deadlines()


class ConfiguredSubscriber(Section, frozen=True, kw_only=True):
    """A subscriber of `provider: keys`: exactly one of `key` and `key_hash` (`sha256:` and 64 hex digits)."""

    user: Annotated[str, Meta(min_length=1, max_length=USER_BYTES)]
    tier: Name
    key: str | None = None
    key_hash: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")] | None = None


class Quota(Section, frozen=True, kw_only=True):
    """Where use is counted: Redis or Valkey if `redis_url` is set, else SQLite in the data directory.

    `timeout_s` is what all calls to the store together may add to one request. `lease_s` is how long what a
    request holds outlives its gateway without a sign of life: after that its place among concurrent requests
    is free again.

    While the store does not answer: `replicas` is how many gateways share it, so that each worker of each
    gives out its part of what is left and not more; a tier that goes on alone does so for `local_for_s`.

    Tokens: one that was read from a cache counts `cache_read_weight`. How long an answer gets is not known
    before it is there: `reserved_output_tokens` of its limit are reserved (null: all of it), and corrected to
    what was used. A limit is often far above what is needed; reserved whole, it would keep others out.
    """

    redis_url: str | None = None
    redis_ca_file: str | None = None
    timezone: str = "UTC"
    timeout_s: Seconds = 0.25
    lease_s: Annotated[float, Meta(ge=1)] = 60.0
    replicas: Annotated[int, Meta(ge=1)] = 2
    local_for_s: Annotated[float, Meta(ge=0)] = 600.0
    cache_read_weight: Annotated[float, Meta(ge=0, le=1)] = 0.1
    reserved_output_tokens: Annotated[int, Meta(ge=0)] | None = 4096


class Limits(Section, frozen=True, kw_only=True):
    """What the edge admits; the body's deadline is `body_base_s` plus 1 s per `body_bytes_per_s`."""

    body_bytes: Annotated[int, Meta(gt=0)] = 32 * 1024 * 1024
    body_base_s: Seconds = 30.0
    body_bytes_per_s: Annotated[int, Meta(gt=0)] = 64 * 1024
    header_bytes: Annotated[int, Meta(gt=0)] = 32 * 1024
    exchanges: Annotated[int, Meta(gt=0)] = 10_000


class Metrics(Section, frozen=True, kw_only=True):
    """`user_label`: `pseudonym` (a stable hash), `name`, or `none`; at most `user_series` users are shown."""

    user_label: Literal["pseudonym", "name", "none"] = "pseudonym"
    user_series: Annotated[int, Meta(ge=0)] = 1000
    token: str | None = None


class Server(Section, frozen=True, kw_only=True):
    """The listener. `drain_s` is how long open streams may go on after SIGTERM.

    `public_url` is where clients find it. Without one it is what they ask for by `Host`; a proxy whose
    address is in one of the networks `trusted_proxies` may tell it by `X-Forwarded-Host` and
    `X-Forwarded-Proto`.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a container's port is reached from outside it
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    drain_s: Annotated[int, Meta(ge=1)] = 30
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section, frozen=True, kw_only=True):
    """Everything, after defaults, file and environment were laid over each other."""

    server: Server
    auth: Auth
    tiers: dict[str, Tier]
    models: tuple[Model, ...]
    upstreams: dict[str, Upstream]
    routes: tuple[Route, ...]
    subscribers: tuple[ConfiguredSubscriber, ...]
    quota: Quota
    limits: Limits
    metrics: Metrics
    keys: PersonalKeys
    page: Page
    telemetry: Telemetry
    data_dir: str
