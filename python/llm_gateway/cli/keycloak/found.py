"""What is in a Keycloak realm already."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_gateway.cli.keycloak.admin import Admin, AdminError
from llm_gateway.cli.keycloak.wanted import ACCOUNT_ROLE_CLIENT, Representation, Wanted


class Found(NamedTuple):
    """What there is. `realm` and `client` are None if they are missing.

    `scopes` are the realm's client scopes by name; `default_scopes` and `optional_scopes` name those of the
    client, or those that a new one gets. `account_roles` are the roles that the client's service account has
    for looking after the realm, `scope_roles` those that the client's tokens may carry; `member_roles` the
    client's roles by user.
    """

    realm: Representation | None = None
    client: Representation | None = None
    roles: frozenset[str] = frozenset()
    scopes: Mapping[str, Representation] = {}
    default_scopes: frozenset[str] = frozenset()
    optional_scopes: frozenset[str] = frozenset()
    account_roles: frozenset[str] = frozenset()
    scope_roles: frozenset[str] = frozenset()
    member_roles: Mapping[str, frozenset[str]] = {}


def read(admin: Admin, wanted: Wanted) -> Found:
    """What is there of what is wanted. Raises: AdminError."""
    realm = admin.get()
    if realm is None:
        return Found()
    scopes = {scope["name"]: scope for scope in admin.get("client-scopes") or []}
    users = {user: user_id(admin, user) for user, _ in wanted.members}
    client = find_client(admin, wanted.client_id)
    if client is None:
        return Found(
            realm=realm,
            scopes=scopes,
            default_scopes=_names(admin.get("default-default-client-scopes")),
            optional_scopes=_names(admin.get("default-optional-client-scopes")),
            member_roles=dict.fromkeys(users, frozenset()),
        )
    if client.get("protocol", "openid-connect") != "openid-connect":
        raise AdminError(f"the client {wanted.client_id} is one for SAML; give another name with --client-id")
    key = client["id"]
    account_roles, scope_roles = (
        _account(admin, client) if wanted.account_check else (frozenset(), frozenset())
    )
    return Found(
        realm=realm,
        client=client,
        roles=_names(admin.get("clients", key, "roles")),
        scopes=scopes,
        default_scopes=frozenset(client.get("defaultClientScopes") or ()),
        optional_scopes=frozenset(client.get("optionalClientScopes") or ()),
        account_roles=account_roles,
        scope_roles=scope_roles,
        member_roles={
            name: _names(admin.get("users", one, "role-mappings", "clients", key, "composite"))
            for name, one in users.items()
        },
    )


def find_client(admin: Admin, client_id: str) -> Representation | None:
    """The client of that name, or None. Raises: AdminError."""
    found = admin.get("clients", clientId=client_id)
    return next((dict(one) for one in found or [] if one.get("clientId") == client_id), None)


def user_id(admin: Admin, name: str) -> str:
    """The id of the user of that name. Raises: AdminError, also if there is none."""
    found = admin.get("users", username=name, exact="true")
    if not found:
        raise AdminError(f"there is no user {name} in the realm; look at --tier-of")
    return str(found[0]["id"])


def _account(admin: Admin, client: Representation) -> tuple[frozenset[str], frozenset[str]]:
    realm_client = find_client(admin, ACCOUNT_ROLE_CLIENT)
    if realm_client is None:
        raise AdminError(f"the realm has no client {ACCOUNT_ROLE_CLIENT}; give --without-account-check")
    key = realm_client["id"]
    in_scope = admin.get("clients", client["id"], "scope-mappings", "clients", key, "composite")
    if not client.get("serviceAccountsEnabled"):
        return frozenset(), _names(in_scope)
    account = admin.get("clients", client["id"], "service-account-user")
    held = account and admin.get("users", account["id"], "role-mappings", "clients", key, "composite")
    return _names(held), _names(in_scope)


def _names(representations: Any) -> frozenset[str]:
    return frozenset(one["name"] for one in representations or ())
