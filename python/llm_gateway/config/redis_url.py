"""The forms in which the address of Redis or Valkey is given.

- `redis://[user:password@]host[:port][/database]`
- `redis+sentinel://[user:password@]host:port,host:port/primary[/database]?sentinel_user=&sentinel_password=`
- `redis+cluster://[user:password@]host:port,host:port`
- `unix:///path.sock?db=&user=&pass=`

`rediss` in place of `redis` is TLS, `valkey` and `valkeys` mean the same two. What passes here is read by
`rust/quota/src/redis/target.rs`; it is checked before, so that its mistakes are told with all others.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

_NAMES = ("redis", "rediss", "valkey", "valkeys")
_TLS = ("rediss", "valkeys")
_SOCKET = ("unix", "redis+unix", "valkey+unix")

_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?")
_DATABASE = re.compile(r"[0-9]{0,9}")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})")

_OTHER_URL = (
    f"expected a URL like redis://host:6379 (schemes: {', '.join(_NAMES)}, each also with +sentinel and "
    "+cluster, and unix), found another (hidden)"
)
_OTHER_HOST = (
    "expected a URL like redis://host:6379, the port from 1 to 65535, an IPv6 address in brackets, special "
    "characters of a password percent-encoded; found another (hidden)"
)
_OTHER_SOCKET = "expected the whole path of a socket, like unix:///run/redis.sock, found another (hidden)"
_OTHER_DATABASE = "expected the database's number or nothing, found something else (hidden)"
_LONELY_USER = "expected user:password or :password, found a user without a password (hidden)"


def is_encrypted(url: str) -> bool:
    """Whether the scheme of `url` is one of TLS."""
    return url.partition(":")[0].partition("+")[0] in _TLS


def problem_with(url: str) -> str | None:
    """What is wrong with `url`, without any part of it, since it may hold a password; None if nothing is."""
    match = _URL.fullmatch(url)
    if match is None or _NOT_IN_A_URL.search(url):
        return _OTHER_URL
    if match["fragment"] is not None:
        return "expected a URL without #: a certificate is always checked, set `redis_ca_file` for your own"
    try:
        unquote_to_bytes(url).decode()
    except UnicodeDecodeError:
        return "expected a URL that is UTF-8 where percent-encoded, found another (hidden)"
    scheme, authority, path = match["scheme"], match["authority"], (match["path"] or "").removeprefix("/")
    parameters = _parameters(match["query"] or "")
    if scheme in _SOCKET:
        return _problem_with_socket(authority, path, parameters)
    name, _, shape = scheme.partition("+")
    if name not in _NAMES or shape not in ("", "sentinel", "cluster"):
        return _OTHER_URL
    credentials, at, hosts = authority.rpartition("@")
    checks = (
        None if not at or credentials.partition(":")[2] else _LONELY_USER,
        "expected one host; give several to redis+sentinel:// or redis+cluster://"
        if not shape and "," in hosts
        else None,
        None if all(map(_is_host, hosts.split(","))) else _OTHER_HOST,
        _problem_with_place(shape, path),
        _problem_with_parameters(
            parameters, ("sentinel_user", "sentinel_password") if shape == "sentinel" else ()
        ),
    )
    return next(filter(None, checks), None)


def _problem_with_socket(authority: str, path: str, parameters: dict[str, str]) -> str | None:
    if authority or not path:
        return _OTHER_SOCKET
    if not _DATABASE.fullmatch(parameters.get("db", "")):
        return _OTHER_DATABASE
    return _problem_with_parameters(parameters, ("user", "pass", "db"))


def _problem_with_place(shape: str, path: str) -> str | None:
    if shape == "cluster":
        return None if path in ("", "0") else "expected no database: a cluster has only one"
    if shape == "sentinel":
        primary, _, path = path.partition("/")
        if not primary:
            return "expected the primary's name behind the sentinels: redis+sentinel://host:26379/mymaster"
    return None if _DATABASE.fullmatch(path) else _OTHER_DATABASE


def _problem_with_parameters(parameters: dict[str, str], allowed: Sequence[str]) -> str | None:
    """`allowed` begins with the names of a user and a password, if there may be any."""
    if not parameters.keys() <= set(allowed):
        return f"expected {', '.join(allowed) or 'nothing'} behind the ?, found something else (hidden)"
    user, password, *_ = (*allowed, "", "")
    return _LONELY_USER if parameters.get(user) and not parameters.get(password) else None


def _parameters(query: str) -> dict[str, str]:
    parts = (part.partition("=") for part in query.split("&") if part)
    return {name: value for name, _, value in parts}


def _is_host(place: str) -> bool:
    match = _HOST.fullmatch(place)
    return match is not None and 0 < int(match["port"] or 1) < 65536
