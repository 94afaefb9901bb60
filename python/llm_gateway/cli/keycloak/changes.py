"""What has to be changed in a realm so that it is as wanted; pure."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from llm_gateway.auth.token import ALGORITHMS
from llm_gateway.cli.keycloak import wanted as wanted_of
from llm_gateway.cli.keycloak.found import Found
from llm_gateway.cli.keycloak.wanted import ACCOUNT_ROLE, POST_LOGOUT, SIGNED_WITH, URI_SEPARATOR, Wanted
from llm_gateway.cli.keycloak.writer import ClientChange, Writer

_NEEDED_SCOPE = "basic"
_ROLES_SCOPE = "roles"
# What `auth.scopes` asks for beside openid: Keycloak lets nobody sign in at the page for a scope that the
# client lacks.
_ASKED_SCOPES = ("profile", "email")
_SECRET_CHARACTERS = 16
_LABELS = {
    "enabled": "enabled",
    "publicClient": "public client",
    "bearerOnly": "bearer only",
    "clientAuthenticatorType": "client authenticator",
    "standardFlowEnabled": "standard flow",
    "implicitFlowEnabled": "implicit flow",
    "directAccessGrantsEnabled": "direct access grants",
    "serviceAccountsEnabled": "service account",
    wanted_of.DEVICE_GRANT: "device authorization grant",
    wanted_of.TOKEN_LIFE: "access token life in seconds",
    wanted_of.PKCE: "compulsory PKCE (the device grant has none)",
    wanted_of.LIGHTWEIGHT: "lightweight access tokens",
    SIGNED_WITH: "access tokens signed with",
    "redirectUris": "redirect URIs",
    POST_LOGOUT: "post logout redirect URIs",
}


class Change(NamedTuple):
    """What is shown of a change, as one or more lines, and what makes it."""

    lines: tuple[str, ...]
    make: Callable[[Writer], None]


def changes(wanted: Wanted, found: Found) -> list[Change]:
    """What is to be done, in this order; nothing if all is as wanted."""
    needed: list[Change] = []
    if found.realm is None:
        needed.append(Change((f"+ realm {wanted.realm}",), Writer.create_realm))
    needed += _new_client(wanted) if found.client is None else _client(wanted, found.client, found)
    needed += [
        Change((f"+ role {tier} of the client",), partial(Writer.create_role, name=tier))
        for tier in wanted.tiers
        if tier not in found.roles
    ]
    # A realm that is to be made has Keycloak's own scopes.
    if found.realm is not None:
        needed += _scopes(found)
        needed += _mappers(wanted, found)
    if wanted.account_check:
        needed += _account(found)
    needed += [
        Change((f"+ role {tier} for {user}",), partial(Writer.give_tier, user=user, tier=tier))
        for user, tier in wanted.members
        if tier not in found.member_roles.get(user, ())
    ]
    return needed


def notes(wanted: Wanted, found: Found) -> list[str]:
    """What is left as it is, but should be known."""
    client = found.client or {}
    said = [
        f"the redirect URI {uri} is kept, but matches more than one page; remove it if nobody needs it"
        for uri in client.get("redirectUris") or ()
        if "*" in uri
    ]
    if client.get("fullScopeAllowed"):
        said.append(
            "full scope is allowed: a token for the gateway carries all roles of its user; turn it off in "
            "the client's dedicated scope unless tiers come from realm roles"
        )
    if found.realm is not None and (missing := [name for name in _ASKED_SCOPES if name not in found.scopes]):
        said.append(f"the realm has no scope {' or '.join(missing)}; take it out of auth.scopes")
    if not wanted.gateway_urls and not client.get("redirectUris"):
        said.append("without --gateway-url nobody can sign in at the gateway's page; `/login` works")
    return said


def _new_client(wanted: Wanted) -> Iterator[Change]:
    client = wanted_of.new_client(wanted)
    shown = [*_LABELS.items()]
    lines = [f"+ client {wanted.client_id}"]
    lines += [f"    {label}: {_shown(client[name])}" for name, label in shown if name in client]
    lines += [
        f"    {label}: {_shown(client['attributes'][name])}"
        for name, label in shown
        if name in client["attributes"]
    ]
    lines += ["    scope: its own roles only", f"    audience of its access tokens: {wanted.client_id}"]
    yield Change(tuple(lines), Writer.create_client)


def _client(wanted: Wanted, client: dict[str, Any], found: Found) -> Iterator[Change]:
    has = client.get("attributes") or {}
    members = {
        name: value for name, value in wanted_of.members(wanted).items() if client.get(name, False) != value
    }
    attributes = {
        name: value
        for name, value in {**wanted_of.attributes(wanted), **_signature(has, found)}.items()
        if not _is_same(has.get(name, ""), value)
    }
    lines = [_line(name, client.get(name, False), value) for name, value in members.items()]
    lines += [_line(name, has.get(name, ""), value) for name, value in attributes.items()]

    uris = list(client.get("redirectUris") or ())
    missing = _missing(wanted.redirect_uris, uris)
    if missing:
        members["redirectUris"] = [*uris, *missing]
        lines += [f"+ client's redirect URI {uri}" for uri in missing]
    after = _uris(has.get(POST_LOGOUT))
    missing = _missing(wanted.post_logout_uris, after)
    if missing:
        attributes[POST_LOGOUT] = URI_SEPARATOR.join([*after, *missing])
        lines += [f"+ client's post logout redirect URI {uri}" for uri in missing]

    if lines:
        yield Change(tuple(lines), partial(Writer.change_client, change=ClientChange(members, attributes)))
    if _is_guessable(client.get("secret")):
        yield Change(
            ("~ client's secret: one that can be guessed (hidden) -> a new one",), Writer.renew_secret
        )


def _signature(has: dict[str, str], found: Found) -> dict[str, str]:
    used = has.get(SIGNED_WITH) or (found.realm or {}).get("defaultSignatureAlgorithm") or ALGORITHMS[0]
    return {} if used in ALGORITHMS else {SIGNED_WITH: ALGORITHMS[0]}


def _scopes(found: Found) -> Iterator[Change]:
    assigned = found.default_scopes | found.optional_scopes
    lacking = [name for name in (_NEEDED_SCOPE,) if name not in found.default_scopes]
    lacking += [name for name in _ASKED_SCOPES if name not in assigned]
    for name in lacking:
        if name in found.scopes:
            yield _assigned(name, found)


def _mappers(wanted: Wanted, found: Found) -> Iterator[Change]:
    own = [] if found.client is None else found.client.get("protocolMappers") or []
    inherited = [
        mapper
        for name in found.default_scopes
        for mapper in found.scopes.get(name, {}).get("protocolMappers") or []
    ]
    # A new client is made with the mapper for its audience.
    if found.client is not None and not any(
        wanted_of.gives_audience(mapper, wanted) for mapper in [*own, *inherited]
    ):
        yield _mapper(wanted_of.audience_mapper(wanted), own)
    if any(wanted_of.gives_roles(mapper, wanted) for mapper in [*own, *inherited]):
        return
    scope = found.scopes.get(_ROLES_SCOPE, {})
    if any(wanted_of.gives_roles(mapper, wanted) for mapper in scope.get("protocolMappers") or []):
        yield _assigned(_ROLES_SCOPE, found)
    else:
        yield _mapper(wanted_of.roles_mapper(wanted), own)


def _mapper(mapper: dict[str, Any], own: Iterable[dict[str, Any]]) -> Change:
    there = next((one for one in own if one.get("name") == mapper["name"]), None)
    if there is None:
        return Change((f"+ mapper {mapper['name']}",), partial(Writer.create_mapper, mapper=mapper))
    has, needed = there.get("config") or {}, mapper["config"]
    differs = [(name, has.get(name), value) for name, value in needed.items() if has.get(name) != value]
    if there.get("protocolMapper") != mapper["protocolMapper"]:
        differs.insert(0, ("type", there.get("protocolMapper"), mapper["protocolMapper"]))
    lines = [
        f"~ mapper {mapper['name']}: {name}: {_shown(old)} -> {_shown(new)}" for name, old, new in differs
    ]
    change = {**there, **mapper, "config": {**has, **needed}}
    return Change(tuple(lines), partial(Writer.change_mapper, mapper=change))


def _assigned(name: str, found: Found) -> Change:
    key = found.scopes[name]["id"]
    optional = name in found.optional_scopes
    text = f"~ scope {name}: optional -> default" if optional else f"+ scope {name} of the client"
    return Change((text,), partial(Writer.assign_scope, scope_id=key, is_optional=optional))


def _account(found: Found) -> Iterator[Change]:
    if ACCOUNT_ROLE not in found.account_roles:
        text = f"+ role {ACCOUNT_ROLE} for the client's service account"
        yield Change((text,), Writer.grant_account_role)
    # A client of full scope has it there already.
    if ACCOUNT_ROLE not in found.scope_roles:
        text = f"+ role {ACCOUNT_ROLE} in the scope of the client's tokens"
        yield Change((text,), Writer.scope_account_role)


def _line(name: str, old: object, new: object) -> str:
    return f"~ client's {_LABELS[name]}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    words = {True: "on", False: "off", "true": "on", "false": "off", "": "not set", None: "not set"}
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return words.get(value, str(value)) if isinstance(value, bool | str | None) else str(value)


def _is_same(old: str, new: str) -> bool:
    # An attribute that says false and one that is not there are the same to Keycloak.
    return old == new or {old, new} == {"", "false"}


def _missing(needed: list[str], there: list[str]) -> list[str]:
    return [uri for uri in needed if uri not in there]


def _uris(attribute: str | None) -> list[str]:
    # Without the attribute, and with `+`, the redirect URIs count; with `-` none does.
    if attribute == "-":
        return []
    return attribute.split(URI_SEPARATOR) if attribute else ["+"]


def _is_guessable(secret: object) -> bool:
    # A public client has none. An import leaves a placeholder as it is if its variable is not set.
    return not isinstance(secret, str) or len(secret) < _SECRET_CHARACTERS or "${" in secret
