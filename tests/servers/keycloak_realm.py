"""A realm of a test's own in the running Keycloak: made, broken and looked at through the admin API."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx

from tests.servers.approval import Person
from tests.servers.keycloak import ADMIN, Keycloak

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Realm:
    """The realm `name`, which need not be there."""

    def __init__(self, base_url: str, name: str) -> None:
        self.base_url = base_url
        self.name = name
        self.issuer = f"{base_url}/realms/{name}"
        self._http = httpx.Client(base_url=base_url, timeout=30.0, trust_env=False)

    @classmethod
    @contextmanager
    def unmade(cls, keycloak: Keycloak) -> Iterator[Self]:
        """Yields a realm that is not there yet, and removes it afterwards."""
        realm = cls(keycloak.base_url, f"realm-{secrets.token_hex(4)}")
        try:
            yield realm
        finally:
            realm.ask("DELETE", "")
            realm.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def admin(self, method: str, path: str, **arguments: Any) -> Any:
        """Returns what the realm's admin API answers, if anything; raises for a status of 400 and above."""
        answer = self.ask(method, path, **arguments)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Returns the answer of the realm's admin API, whatever it is."""
        headers = {"authorization": f"Bearer {self._admin_token()}"}
        return self._http.request(method, f"/admin/realms/{self.name}{path}", headers=headers, **arguments)

    def make(self) -> None:
        """Makes the realm, as the console does."""
        headers = {"authorization": f"Bearer {self._admin_token()}"}
        made = {"realm": self.name, "enabled": True}
        self._http.post("/admin/realms", headers=headers, json=made).raise_for_status()

    def client(self, client_id: str = "llm-gateway") -> dict[str, Any]:
        """Returns the client of that name."""
        (found,) = self.admin("GET", "/clients", params={"clientId": client_id})
        return dict(found)

    def change_client(self, attributes: dict[str, str] | None = None, **members: Any) -> None:
        """Changes members and attributes of the gateway's client."""
        client = self.client()
        attributes = client["attributes"] | (attributes or {})
        body = client | members | {"attributes": attributes}
        self.admin("PUT", f"/clients/{client['id']}", json=body)

    def add_user(self, name: str, *, admin_role: str | None = None) -> str:
        """Makes a user with the password `<name>-password`, and returns the id.

        `admin_role` is a role of looking after the realm.
        """
        password = {"type": "password", "value": f"{name}-password", "temporary": False}
        names = {"firstName": "Test", "lastName": "Person", "email": f"{name}@example.com"}
        account = {"username": name, "enabled": True, "emailVerified": True, "credentials": [password]}
        self.admin("POST", "/users", json=account | names)
        (user,) = self.admin("GET", "/users", params={"username": name, "exact": "true"})
        if admin_role is not None:
            client = self.client("realm-management")["id"]
            roles = [self.admin("GET", f"/clients/{client}/roles/{admin_role}")]
            self.admin("POST", f"/users/{user['id']}/role-mappings/clients/{client}", json=roles)
        return str(user["id"])

    def record_writes(self) -> None:
        """Has Keycloak remember every write of its admin API from now on."""
        self.admin("PUT", "", json={"adminEventsEnabled": True, "adminEventsDetailsEnabled": True})
        self.admin("DELETE", "/admin-events")

    def writes(self) -> list[tuple[str, str]]:
        """What was written since, as (what was done, where)."""
        found = self.admin("GET", "/admin-events", params={"max": 100})
        return [(event["operationType"], event["resourcePath"]) for event in found]

    def sign_in(self, user: str, secret: str) -> dict[str, Any]:
        """Returns the tokens of a user who approves a device grant on Keycloak's own pages."""
        proof = {"client_id": "llm-gateway", "client_secret": secret}
        begun = self._form("auth/device", proof | {"scope": "openid profile email"})
        with Person(user) as person:
            person.approve(begun["verification_uri_complete"])
        grant = {"grant_type": _DEVICE_GRANT, "device_code": begun["device_code"]}
        return self._form("token", proof | grant)

    def service_token(self, secret: str) -> str:
        """Returns an access token of the client itself."""
        proof = {"client_id": "llm-gateway", "client_secret": secret}
        return str(self._form("token", proof | {"grant_type": "client_credentials"})["access_token"])

    def as_bearer(self, token: str, path: str) -> int:
        """Returns the status of the realm's admin API for what a token asks."""
        headers = {"authorization": f"Bearer {token}"}
        return self._http.get(f"/admin/realms/{self.name}{path}", headers=headers).status_code

    def _form(self, endpoint: str, form: dict[str, str]) -> dict[str, Any]:
        answer = self._http.post(f"/realms/{self.name}/protocol/openid-connect/{endpoint}", data=form)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def _admin_token(self) -> str:
        answer = self._http.post(
            "/realms/master/protocol/openid-connect/token",
            data={"grant_type": "password", "client_id": "admin-cli", **ADMIN},
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])
