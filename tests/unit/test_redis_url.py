import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.config.redis_url import problem_with

NAMES = ("redis", "rediss", "valkey", "valkeys")
LIKE = "expected a URL like redis://host:6379"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "rest",
    [
        "://valkey.ai-hub.svc:6379",
        "://host",
        "://host/",
        "://host:6379/15",
        "://:password@host",
        "://user:p%40ss%2Fw%23rd@host:6379/0",
        "://user:pass:word@10.0.0.1",
        "://[::1]:6379/1",
        "+sentinel://a:26379,b:26379,c/mymaster",
        "+sentinel://user:password@a:26379/my.master-1/3",
        "+sentinel://a/mymaster?sentinel_user=u&sentinel_password=p",
        "+sentinel://a/mymaster?sentinel_password=p",
        "+cluster://a:7000,b:7001,[::1]:7002",
        "+cluster://user:password@a:7000",
        "+cluster://a:7000/0",
    ],
)
def test_takes_every_form_under_every_name(name: str, rest: str) -> None:
    assert problem_with(f"{name}{rest}") is None


@pytest.mark.parametrize(
    "url",
    [
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=1&user=u&pass=p%20w",
        "redis+unix:///run/redis.sock",
        "valkey+unix:///run/redis.sock?pass=p",
    ],
)
def test_takes_a_socket(url: str) -> None:
    assert problem_with(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "http://host",
            f"{LIKE} (schemes: redis, rediss, valkey, valkeys, each also with +sentinel and +cluster",
        ),
        ("host:6379", f"{LIKE} (schemes:"),
        ("redis+ssl://host", f"{LIKE} (schemes:"),
        ("redis://h h", f"{LIKE} (schemes:"),
        ("redis://:hunter2%zz@host", f"{LIKE} (schemes:"),
        ("redis://", f"{LIKE}, the port from 1 to 65535, an IPv6 address in brackets"),
        ("redis://:hunter2/2@host", f"{LIKE}, the port"),
        ("redis://::1:6379", f"{LIKE}, the port"),
        ("redis://host:65536", f"{LIKE}, the port"),
        ("redis+cluster://a:7000,,b:7000", f"{LIKE}, the port"),
        ("redis://:%ff@host", "expected a URL that is UTF-8 where percent-encoded"),
        ("redis://hunter2@host", "expected user:password or :password"),
        ("redis://hunter2:@host", "expected user:password or :password"),
        ("unix:///run/redis.sock?user=hunter2", "expected user:password or :password"),
        ("redis+sentinel://a/m?sentinel_user=hunter2", "expected user:password or :password"),
        ("rediss+unix:///run/redis.sock", f"{LIKE} (schemes:"),
        ("unix://", "expected the whole path of a socket"),
        ("redis://a,b", "expected one host; give several to redis+sentinel:// or redis+cluster://"),
        ("redis://host/hunter2", "expected the database's number or nothing"),
        ("redis://host?hunter2=1", "expected nothing behind the ?"),
        ("rediss://host/0#insecure", "a certificate is always checked, set `redis_ca_file`"),
        ("redis+sentinel://a:26379", "expected the primary's name behind the sentinels"),
        ("redis+sentinel://a:26379/mymaster/x", "expected the database's number or nothing"),
        ("redis+sentinel://a/m?user=hunter2", "expected sentinel_user, sentinel_password behind the ?"),
        ("redis+cluster://a:7000/1", "expected no database: a cluster has only one"),
        ("unix://run/redis.sock", "expected the whole path of a socket, like unix:///run/redis.sock"),
        ("unix:///run/redis.sock?db=hunter2", "expected the database's number or nothing"),
        ("unix:///run/redis.sock?password=hunter2", "expected user, pass, db behind the ?"),
    ],
)
def test_says_what_is_wrong_with_others_and_shows_nothing_of_them(url: str, words: str) -> None:
    problem = problem_with(url)

    assert problem is not None
    assert words in problem
    assert "hunter2" not in problem


@given(st.text() | st.text(alphabet="redis+cluntvalkymx:/@[]#?%,.1=&"))
def test_any_text_is_taken_or_explained(text: str) -> None:
    problem = problem_with(text)

    assert problem is None or problem.isprintable()
