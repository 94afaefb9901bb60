"""What the gateway needs in a Keycloak realm, as Keycloak's own representations say it.

Source: Keycloak 26, Admin REST API (ClientRepresentation, ProtocolMapperRepresentation); the attributes are
those that its console writes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

CALLBACK = "/signin/callback"
ROLE_DESCRIPTION = "tier of LLM Gateway"
# Who may read whether an account is enabled, and in which of a realm's clients that role is.
ACCOUNT_ROLE, ACCOUNT_ROLE_CLIENT = "view-users", "realm-management"

DEVICE_GRANT = "oauth2.device.authorization.grant.enabled"
TOKEN_LIFE = "access.token.lifespan"  # noqa: S105 - an attribute's name
PKCE = "pkce.code.challenge.method"
LIGHTWEIGHT = "client.use.lightweight.access.token.enabled"
SIGNED_WITH = "access.token.signed.response.alg"
POST_LOGOUT = "post.logout.redirect.uris"
# Between the URIs in that attribute.
URI_SEPARATOR = "##"

Representation = dict[str, Any]


class Wanted(NamedTuple):
    """What is to be there: a client for the gateways at `gateway_urls`, with a role per tier.

    `members` are (user, tier). With `account_check` the client may see whether an account is enabled.
    """

    realm: str
    client_id: str
    gateway_urls: tuple[str, ...]
    tiers: tuple[str, ...]
    members: tuple[tuple[str, str], ...]
    token_life_s: int
    account_check: bool
    create_realm: bool

    @property
    def redirect_uris(self) -> list[str]:
        """Where people come back to after signing in."""
        return [url + CALLBACK for url in self.gateway_urls]

    @property
    def post_logout_uris(self) -> list[str]:
        """Where people come back to after signing out."""
        return [f"{url}/" for url in self.gateway_urls]


def members(wanted: Wanted) -> Representation:
    """The members that the client must have, whatever else it has."""
    needed: Representation = {
        "enabled": True,
        "publicClient": False,
        "bearerOnly": False,
        "clientAuthenticatorType": "client-secret",
        "implicitFlowEnabled": False,
        # A password is for Keycloak's own page. Source: RFC 9700 section 2.4.
        "directAccessGrantsEnabled": False,
    }
    if wanted.gateway_urls:
        needed["standardFlowEnabled"] = True
    if wanted.account_check:
        needed["serviceAccountsEnabled"] = True
    return needed


def attributes(wanted: Wanted) -> dict[str, str]:
    """The attributes that the client must have; an empty one must not be there.

    PKCE is not made compulsory: Keycloak would then refuse every device grant, which has no place for it in
    RFC 8628, and so `/login` in Claude Code. The page sends a challenge all the same, and Keycloak checks it.
    """
    return {
        DEVICE_GRANT: "true",
        TOKEN_LIFE: str(wanted.token_life_s),
        PKCE: "",
        LIGHTWEIGHT: "",
    }


def new_client(wanted: Wanted) -> Representation:
    """The client, where there is none.

    It is in the scope of its own roles only: a token that an administrator shows the gateway opens nothing
    of Keycloak's.
    """
    given = {name: value for name, value in attributes(wanted).items() if value}
    if wanted.gateway_urls:
        given[POST_LOGOUT] = URI_SEPARATOR.join(wanted.post_logout_uris)
    return {
        "clientId": wanted.client_id,
        "name": "LLM Gateway",
        "protocol": "openid-connect",
        "standardFlowEnabled": False,
        "serviceAccountsEnabled": False,
        **members(wanted),
        "fullScopeAllowed": False,
        "redirectUris": wanted.redirect_uris,
        "webOrigins": [],
        "attributes": given,
        "protocolMappers": [audience_mapper(wanted)],
    }


def audience_mapper(wanted: Wanted) -> Representation:
    """The mapper that names the gateway as the audience of its access tokens."""
    config = {
        "included.client.audience": wanted.client_id,
        "access.token.claim": "true",
        "id.token.claim": "false",
    }
    return _mapper("gateway-audience", "oidc-audience-mapper", config)


def roles_mapper(wanted: Wanted) -> Representation:
    """The mapper that puts the client's roles into access tokens, where the scope `roles` does not."""
    config = {
        "usermodel.clientRoleMapping.clientId": wanted.client_id,
        "claim.name": "resource_access.${client_id}.roles",
        "jsonType.label": "String",
        "multivalued": "true",
        "access.token.claim": "true",
        "id.token.claim": "false",
    }
    return _mapper("gateway-roles", "oidc-usermodel-client-role-mapper", config)


def gives_audience(mapper: Representation, wanted: Wanted) -> bool:
    """Whether a mapper names the gateway as an audience of access tokens."""
    config = mapper.get("config") or {}
    named = (config.get("included.client.audience"), config.get("included.custom.audience"))
    return _is_of(mapper, "oidc-audience-mapper") and wanted.client_id in named


def gives_roles(mapper: Representation, wanted: Wanted) -> bool:
    """Whether a mapper puts the client's roles where the gateway looks for them by default."""
    config = mapper.get("config") or {}
    return (
        _is_of(mapper, "oidc-usermodel-client-role-mapper")
        and config.get("multivalued") == "true"
        and not config.get("usermodel.clientRoleMapping.rolePrefix")
        and config.get("usermodel.clientRoleMapping.clientId") in (None, "", wanted.client_id)
        and config.get("claim.name") == "resource_access.${client_id}.roles"
    )


def _is_of(mapper: Representation, kind: str) -> bool:
    config: Mapping[str, Any] = mapper.get("config") or {}
    return mapper.get("protocolMapper") == kind and config.get("access.token.claim") == "true"


def _mapper(name: str, kind: str, config: dict[str, str]) -> Representation:
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}
