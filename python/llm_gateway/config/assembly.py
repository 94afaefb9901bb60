"""Built-in defaults, file and environment laid over each other and turned into `Settings`."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from llm_gateway.config import consistency, defaults, layers, signin_consistency
from llm_gateway.config.convert import Mistakes, Path, convert, found
from llm_gateway.config.document import Document, dotted
from llm_gateway.config.environment import Overrides
from llm_gateway.config.schema import (
    Auth,
    ConfiguredSubscriber,
    Limits,
    Metrics,
    Model,
    ModelId,
    Name,
    Page,
    PersonalKeys,
    Quota,
    Route,
    Server,
    Settings,
    Telemetry,
    Tier,
    TrustedIssuer,
    Upstream,
)

T = TypeVar("T")

# `internal_model` is INTERNAL_LLM_MODEL in the file: the id of the built-in internal model.
SECTIONS = (*Settings.__struct_fields__, "internal_model")


class Assembly:
    """Puts the layers together, section by section, and gathers `mistakes`; what is wrong is left out."""

    def __init__(self, document: Document, overrides: Overrides) -> None:
        self.mistakes: Mistakes = []
        self._data = layers.overlaid(document.data, overrides)
        self._unknown_sections()
        upstreams = dict(self._named("upstreams"))
        # A key or an API alone, without a URL, does not make an upstream.
        has_url = "urls" in layers.mapping(upstreams.get("internal"))
        if not has_url and not document.holds(("upstreams", "internal")):
            upstreams.pop("internal", None)
        self._raw_upstreams = {name: layers.listed_api(raw) for name, raw in upstreams.items()}

    def settings(self) -> Settings:
        """All settings; only to be used if there are no mistakes."""
        quota = self._section("quota", Quota)
        server = self._section("server", Server)
        if server.public_url is not None:
            consistency.check_url(("server", "public_url"), server.public_url, self.mistakes)
            server = msgspec.structs.replace(server, public_url=server.public_url.rstrip("/"))
        signin_consistency.check_server(server, self.mistakes)
        consistency.check_quota(quota, self.mistakes)
        upstreams = self._upstreams()
        models = self._models()
        tiers = self._tiers()
        routes = self._list("routes", Route)
        self._check_routes(routes, tiers, models)
        auth = self._auth()
        return Settings(
            server=server,
            auth=auth or Auth(),
            tiers=tiers,
            models=tuple(model for _, model in models),
            upstreams=upstreams,
            routes=routes + defaults.routes(self._unchanged_tiers()),
            subscribers=self._subscribers(auth),
            quota=quota,
            limits=self._section("limits", Limits),
            metrics=self._section("metrics", Metrics),
            keys=self._keys(),
            page=self._section("page", Page),
            telemetry=self._telemetry(),
            data_dir=self._convert(self._data.get("data_dir", defaults.DATA_DIR), str, ("data_dir",)) or "",
        )

    def _convert(self, raw: object, kind: type[T], path: Path) -> T | None:
        return convert(raw, kind, path, self.mistakes)

    def _section(self, name: str, kind: type[T]) -> T:
        value = self._convert(self._data.get(name, {}), kind, (name,))
        return kind() if value is None else value

    def _list(self, name: str, kind: type[T]) -> tuple[T, ...]:
        return convert(self._data.get(name, []), tuple[kind, ...], (name,), self.mistakes) or ()  # type: ignore[valid-type]  # a type made at run time

    def _named(self, section: str) -> dict[str, object]:
        """The entries of a section that maps names to structs."""
        entries = self._data.get(section, {})
        if not isinstance(entries, dict):
            self.mistakes.append(((section,), f"expected a mapping by name, found {found(entries)}"))
            return {}
        return {
            name: entry
            for name, entry in entries.items()
            if self._convert(name, Name, (section, name)) is not None
        }

    def _laid_over(
        self, section: str, given: Mapping[str, object], base: Mapping[str, dict[str, object]], kind: type[T]
    ) -> dict[str, T]:
        """Built-in and given entries of `section`, merged by name and field."""
        values: dict[str, T] = {}
        for name in {**base, **given}:
            raw = given.get(name, {})
            merged = base.get(name, {}) | raw if isinstance(raw, dict) else raw
            value = self._convert(merged, kind, (section, name))
            if value is not None:
                values[name] = value
        return values

    def _unknown_sections(self) -> None:
        text = f"unknown section; allowed: {', '.join(sorted(SECTIONS))}"
        self.mistakes += [((str(name),), text) for name in self._data if name not in SECTIONS]

    def _upstreams(self) -> dict[str, Upstream]:
        base = defaults.upstreams()
        if "internal" not in self._raw_upstreams:
            del base["internal"]
        upstreams = self._laid_over("upstreams", self._raw_upstreams, base, Upstream)
        consistency.check_upstreams(upstreams, self.mistakes)
        return {
            name: msgspec.structs.replace(upstream, urls=tuple(map(layers.base_url, upstream.urls)))
            for name, upstream in upstreams.items()
        }

    def _models(self) -> list[consistency.PlacedModel]:
        """The catalogue, each model with its place in the file."""
        raw_models: dict[object, tuple[Path, object]] = {
            model["id"]: (("models",), model) for model in defaults.models(self._internal_model())
        }
        given = self._data.get("models", [])
        if not isinstance(given, list):
            self.mistakes.append((("models",), f"expected a list of models, found {found(given)}"))
            given = []
        for index, entry in enumerate(given):
            path: Path = ("models", index)
            name = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                raw_models[path] = (path, entry)
                continue
            place, base = raw_models.get(name, (("models",), {}))
            if len(place) > 1:
                self.mistakes.append((path, f'"{name}" is already {dotted(place)}; keep one'))
            raw_models[name] = (path, layers.model(layers.mapping(base), entry))
        models = [(path, self._convert(raw, Model, path)) for path, raw in raw_models.values()]
        valid = [(path, model) for path, model in models if model is not None]
        consistency.check_models(valid, self._known_upstreams(), self.mistakes)
        return valid

    def _internal_model(self) -> str:
        path: Path = ("internal_model",)
        name = self._convert(self._data.get("internal_model", defaults.INTERNAL_MODEL), ModelId, path)
        if name in {model["id"] for model in defaults.models(defaults.INTERNAL_MODEL)[1:]}:
            self.mistakes.append((path, f'"{name}" is another built-in model; use another name'))
            return defaults.INTERNAL_MODEL
        return name or defaults.INTERNAL_MODEL

    def _known_upstreams(self) -> set[str]:
        return {"anthropic", "openai", *self._raw_upstreams}

    def _tiers(self) -> dict[str, Tier]:
        tiers = self._laid_over("tiers", self._named("tiers"), defaults.tiers(), Tier)
        consistency.check_windows(tiers, self.mistakes)
        signin_consistency.check_managed_settings(tiers, self.mistakes)
        return tiers

    def _tier_names(self) -> set[str]:
        return {*defaults.tiers(), *layers.mapping(self._data.get("tiers"))}

    def _unchanged_tiers(self) -> frozenset[str]:
        given = layers.mapping(self._data.get("tiers"))
        return frozenset(name for name in defaults.tiers() if "models" not in layers.mapping(given.get(name)))

    def _check_routes(
        self, routes: tuple[Route, ...], tiers: dict[str, Tier], models: list[consistency.PlacedModel]
    ) -> None:
        placed: list[consistency.PlacedRoute] = [
            (("routes", index), route) for index, route in enumerate(routes)
        ]
        for name, tier in tiers.items():
            placed += [(("tiers", name, "routes", index), route) for index, route in enumerate(tier.routes)]
        targets: list[tuple[Path, str]] = [((*path, "model"), route.model) for path, route in placed]
        targets += [
            (("tiers", name, "otherwise"), tier.otherwise) for name, tier in tiers.items() if tier.otherwise
        ]
        consistency.check_targets(targets, models, self.mistakes)
        names: list[tuple[Path, str]] = [
            ((*path, "tiers", index), name)
            for path, route in placed
            for index, name in enumerate(route.tiers)
        ]
        consistency.check_tier_names(names, self._tier_names(), self.mistakes)

    def _auth(self) -> Auth | None:
        raw = self._data.get("auth", {})
        for issuer in (raw, *layers.mapping(layers.mapping(raw).get("issuers")).values()):
            if isinstance(issuer, dict) and "client_id" in issuer:
                issuer.setdefault("audience", issuer["client_id"])
        auth = self._convert(raw, Auth, ("auth",))
        if auth is None:
            return None
        if auth.provider == "keycloak" and auth.issuer is not None:
            # Keycloak writes its issuer without it; elsewhere a slash at the end is part of the name.
            auth = msgspec.structs.replace(auth, issuer=auth.issuer.rstrip("/"))
        signin_consistency.check_auth(auth, self.mistakes)
        others: list[tuple[Path, TrustedIssuer]] = [
            (("auth", "issuers", name), issuer) for name, issuer in auth.issuers.items()
        ]
        for path, issuer in [(("auth",), auth), *others]:
            names: list[tuple[Path, str]] = [
                ((*path, "tier_names", key), tier) for key, tier in issuer.tier_names.items()
            ]
            if issuer.default_tier is not None:
                names.append(((*path, "default_tier"), issuer.default_tier))
            consistency.check_tier_names(names, self._tier_names(), self.mistakes)
        return auth

    def _keys(self) -> PersonalKeys:
        keys = self._section("keys", PersonalKeys)
        signin_consistency.check_keys(keys, self.mistakes)
        return keys

    def _telemetry(self) -> Telemetry:
        telemetry = self._section("telemetry", Telemetry)
        signin_consistency.check_telemetry(telemetry, self.mistakes)
        if telemetry.url is not None:
            telemetry = msgspec.structs.replace(telemetry, url=telemetry.url.rstrip("/"))
        return telemetry

    def _subscribers(self, auth: Auth | None) -> tuple[ConfiguredSubscriber, ...]:
        subscribers = self._list("subscribers", ConfiguredSubscriber)
        consistency.check_subscribers(subscribers, self.mistakes)
        tiers = [(("subscribers", index, "tier"), entry.tier) for index, entry in enumerate(subscribers)]
        consistency.check_tier_names(tiers, self._tier_names(), self.mistakes)
        if auth is not None and auth.provider == "keys" and not self._data.get("subscribers"):
            text = (
                "the provider keys needs at least one; add {user: alice, tier: free, key: ...} to the file, "
                "or set AUTH_PROVIDER=keycloak and KEYCLOAK_URL"
            )
            self.mistakes.append((("subscribers",), text))
        return subscribers
