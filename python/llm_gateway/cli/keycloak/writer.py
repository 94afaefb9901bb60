"""The writes that set a realm up; each looks up what it writes to, so that one may follow another."""

from typing import Any, NamedTuple

from llm_gateway.cli.keycloak.admin import Admin, AdminError
from llm_gateway.cli.keycloak.found import find_client, user_id
from llm_gateway.cli.keycloak.wanted import (
    ACCOUNT_ROLE,
    ACCOUNT_ROLE_CLIENT,
    ROLE_DESCRIPTION,
    Representation,
    Wanted,
    new_client,
)


class ClientChange(NamedTuple):
    """Members and attributes of the client that get another value; an empty attribute is removed."""

    members: dict[str, Any]
    attributes: dict[str, str]


class Writer:
    """Writes what is wanted through the admin API. Every method raises AdminError."""

    def __init__(self, admin: Admin, wanted: Wanted) -> None:
        self._admin = admin
        self._wanted = wanted

    def create_realm(self) -> None:
        """Makes the realm."""
        self._admin.create_realm({"realm": self._wanted.realm, "enabled": True, "sslRequired": "external"})

    def create_client(self) -> None:
        """Makes the client; Keycloak makes its secret."""
        self._admin.write("make the client", "POST", "clients", body=new_client(self._wanted))

    def change_client(self, *, change: ClientChange) -> None:
        """Changes the client, and leaves alone what `change` does not name."""
        # Read anew: what somebody else changed since then stays.
        client = self._client()
        attributes = {**(client.get("attributes") or {}), **change.attributes}
        body = {**client, **change.members, "attributes": attributes}
        self._admin.write("change the client", "PUT", "clients", client["id"], body=body)

    def renew_secret(self) -> None:
        """Has Keycloak make another secret for the client."""
        self._admin.write(
            "renew the client's secret", "POST", "clients", self._client()["id"], "client-secret"
        )

    def create_role(self, *, name: str) -> None:
        """Makes a role of the client."""
        body = {"name": name, "description": ROLE_DESCRIPTION}
        self._admin.write(
            f"make the role {name}", "POST", "clients", self._client()["id"], "roles", body=body
        )

    def assign_scope(self, *, scope_id: str, is_optional: bool) -> None:
        """Gives the client a scope for all its tokens."""
        key = self._client()["id"]
        if is_optional:
            # Keycloak leaves a scope that is optional as it is when it is made a default one.
            place = ("clients", key, "optional-client-scopes", scope_id)
            self._admin.write("take the optional scope from the client", "DELETE", *place)
        place = ("clients", key, "default-client-scopes", scope_id)
        self._admin.write("give the client a scope", "PUT", *place)

    def create_mapper(self, *, mapper: Representation) -> None:
        """Makes a mapper of the client."""
        place = ("clients", self._client()["id"], "protocol-mappers", "models")
        self._admin.write(f"make the mapper {mapper['name']}", "POST", *place, body=mapper)

    def change_mapper(self, *, mapper: Representation) -> None:
        """Changes a mapper of the client."""
        place = ("clients", self._client()["id"], "protocol-mappers", "models", mapper["id"])
        self._admin.write(f"change the mapper {mapper['name']}", "PUT", *place, body=mapper)

    def grant_account_role(self) -> None:
        """Lets the client's service account see whether accounts are enabled."""
        realm_client, role = self._account_role()
        account = self._admin.get("clients", self._client()["id"], "service-account-user")
        place = ("users", account["id"], "role-mappings", "clients", realm_client)
        self._admin.write(f"give the client the role {ACCOUNT_ROLE}", "POST", *place, body=[role])

    def scope_account_role(self) -> None:
        """Lets that role into tokens of the client."""
        realm_client, role = self._account_role()
        place = ("clients", self._client()["id"], "scope-mappings", "clients", realm_client)
        self._admin.write(f"let the role {ACCOUNT_ROLE} into tokens", "POST", *place, body=[role])

    def give_tier(self, *, user: str, tier: str) -> None:
        """Gives a user the client's role `tier`."""
        key = self._client()["id"]
        role = self._admin.get("clients", key, "roles", tier)
        place = ("users", user_id(self._admin, user), "role-mappings", "clients", key)
        self._admin.write(f"give {user} the role {tier}", "POST", *place, body=[role])

    def _client(self) -> Representation:
        client = find_client(self._admin, self._wanted.client_id)
        if client is None:
            raise AdminError(f"the client {self._wanted.client_id} is gone; run it again")
        return client

    def _account_role(self) -> tuple[str, Representation]:
        realm_client = find_client(self._admin, ACCOUNT_ROLE_CLIENT)
        if realm_client is None:
            raise AdminError(f"the realm has no client {ACCOUNT_ROLE_CLIENT}; give --without-account-check")
        return realm_client["id"], self._admin.get("clients", realm_client["id"], "roles", ACCOUNT_ROLE)
