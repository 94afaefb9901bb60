"""What `llm-gateway check` finds of signing in: the provider's endpoints, our client there, personal keys."""

from collections.abc import Mapping
from pathlib import Path

import httpx

from llm_gateway.auth.issuer import Issuer, UnusableAnswerError
from llm_gateway.auth.personal_key_peppers import peppers
from llm_gateway.auth.provider_answer import ProviderRefusalError
from llm_gateway.auth.provider_connection import ProviderConnection
from llm_gateway.cli.check_state import State
from llm_gateway.config.schema import Auth, Settings, Telemetry
from llm_gateway.errors import ConfigError
from llm_gateway.tls import trust

_TIMEOUT_S = 5.0
_ENDPOINTS = {
    "device_authorization_endpoint": "device authorization",
    "revocation_endpoint": "revocation",
    "introspection_endpoint": "introspection",
}
_ADVICE = {
    "invalid_client": "look at OIDC_CLIENT_ID and OIDC_CLIENT_SECRET",
    "unauthorized_client": "look at OIDC_CLIENT_SECRET, and let the client begin device grants",
    "invalid_scope": "give the client these scopes, or take them out of auth.scopes",
    "invalid_request": "do not make PKCE compulsory for the client",
}
# As `personal_key_peppers` calls it.
_PEPPER_FILE = "key-pepper"
_MAKE_ONE = "make one with `openssl rand -hex 32`"


async def sign_in(auth: Auth) -> State:
    """Whether people can sign in: a device grant is begun, and left to expire."""
    try:
        endpoints = await Issuer(auth).endpoints()
    except UnusableAnswerError as cause:
        return State(False, f"the provider's discovery document cannot be used: {cause}")
    missing = [words for name, words in _ENDPOINTS.items() if name not in endpoints]
    if auth.introspect and "introspection_endpoint" not in endpoints:
        return State(False, "the provider has no introspection endpoint; set auth.introspect to false")
    if "token_endpoint" not in endpoints:
        return State(False, "the provider's discovery document names no token endpoint")
    if "device_authorization_endpoint" not in endpoints:
        return State(True, "not in use: the provider has no device authorization endpoint")
    connection = ProviderConnection(auth)
    try:
        return await _begun(auth, connection, endpoints, missing)
    except UnusableAnswerError as cause:
        return State(False, f"the provider cannot be asked: {cause}")
    finally:
        await connection.close()


async def _begun(
    auth: Auth, connection: ProviderConnection, endpoints: Mapping[str, str], missing: list[str]
) -> State:
    try:
        await connection.post(endpoints["device_authorization_endpoint"], {"scope": auth.scopes})
    except ProviderRefusalError as refusal:
        return _refused(auth, refusal)
    words = f"ok (the client {auth.client_id} may begin a sign-in"
    if missing:
        words += f"; the provider has no {' and no '.join(missing)} endpoint"
    if auth.introspect and auth.provider == "keycloak" and (trouble := await _account(connection, endpoints)):
        words += f"; {trouble}"
    return State(True, f"{words})")


def _refused(auth: Auth, refusal: ProviderRefusalError) -> State:
    if auth.client_secret is None and refusal.status == httpx.codes.UNAUTHORIZED:
        return State(True, "not in use: the provider wants the client's secret; set OIDC_CLIENT_SECRET")
    advice = _ADVICE.get(refusal.error, "look at the client there")
    reason = f"{refusal.error}: {refusal.description}".rstrip(".: ")
    return State(
        False, f"the provider does not let the client {auth.client_id} begin it ({reason}); {advice}"
    )


async def _account(connection: ProviderConnection, endpoints: Mapping[str, str]) -> str | None:
    """Why owners of personal keys cannot be looked after, or None."""
    try:
        await connection.post(endpoints["token_endpoint"], {"grant_type": "client_credentials"})
    except ProviderRefusalError:
        return "the client has no service account, so personal keys go on when their owner is disabled"
    return None


def personal_keys(settings: Settings) -> State:
    """Whether there can be personal keys, and under which pepper; nothing is made."""
    if not settings.keys.enabled:
        return State(True, "not in use: keys.enabled is false")
    file = Path(settings.data_dir) / _PEPPER_FILE
    if settings.keys.pepper is None and settings.quota.redis_url is not None:
        return State(True, f"not in use: with Redis they need LLM_GATEWAY_KEY_PEPPER; {_MAKE_ONE}")
    if settings.keys.pepper is None and not file.exists():
        return State(True, f"ok (their pepper is made at start, in {file})")
    try:
        count = len(peppers(settings))
    except ConfigError as error:
        return State(False, error.problems[0])
    if settings.keys.pepper is None:
        return State(True, f"ok (their pepper was made here, in {file})")
    return State(True, f"ok ({count} peppers, the first for new keys)" if count > 1 else "ok")


async def telemetry(telemetry: Telemetry) -> State:
    """Whether the collector takes what clients send: it is sent nothing, in the right form."""
    headers = {"content-type": "application/x-protobuf", **telemetry.headers}
    url = f"{(telemetry.url or '').rstrip('/')}/v1/metrics"
    try:
        roots = trust(telemetry.ca_file, "telemetry.ca_file")
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=roots) as client:
            # An export without a metric. Source: OTLP 1.9, OTLP/HTTP.
            answer = await client.post(url, headers=headers, content=b"")
    except httpx.HTTPError as error:
        return State(False, f"{telemetry.url} cannot be reached: {type(error).__name__}")
    if answer.status_code in {401, 403}:
        return State(False, f"{telemetry.url} refuses what is sent; look at telemetry.headers")
    if not answer.is_success:
        return State(False, f"{url} answers with status {answer.status_code}; look at telemetry.url")
    return State(True, f"ok ({telemetry.url})")
