import json
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.config.core import core_settings
from llm_gateway.config.environment import VARIABLES
from llm_gateway.config.load import load
from llm_gateway.config.schema import Capabilities, Profile, Settings
from llm_gateway.errors import ConfigError
from tests.servers.certificates import Authority

KEYCLOAK = {"AUTH_PROVIDER": "keycloak", "KEYCLOAK_URL": "https://keycloak.example.org/realms/ai-hub"}
GPT_4 = Capabilities(
    vision=False, documents=False, max_output_tokens=8192, thinking="none", structured_output=False
)
SECRETS = [variable.name for variable in VARIABLES if variable.secret]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str, name: str = "gateway.yaml") -> str:
        file = tmp_path / name
        file.write_text(text)
        return str(file)

    return write_file


def problems(environ: dict[str, str], config_file: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(environ, config_file)
    return refused.value.problems


def core(settings: Settings) -> Any:
    return json.loads(core_settings(settings))


class TestDefaults:
    def test_the_seeds_environment_is_enough(self) -> None:
        settings = load(
            KEYCLOAK
            | {
                "INTERNAL_LLM_URL": "http://vllm.ai-hub.svc:8000/v1",
                "CLAUDE_API_KEY": "claude-key",
                "OPENAI_API_KEY": "openai-key",
                "QUOTA_REDIS_URL": "redis://valkey.ai-hub.svc:6379",
            }
        )

        assert settings.upstreams["internal"].urls == ("http://vllm.ai-hub.svc:8000",)
        assert settings.upstreams["internal"].apis == "auto"
        assert settings.upstreams["anthropic"].api_key == "claude-key"
        assert settings.upstreams["openai"].api_key == "openai-key"
        assert settings.quota.redis_url == "redis://valkey.ai-hub.svc:6379"
        assert settings.auth.issuer == "https://keycloak.example.org/realms/ai-hub"
        assert settings.data_dir == "./data"

    def test_built_in_tiers_are_the_seeds(self) -> None:
        tiers = load(KEYCLOAK).tiers

        assert [(name, tier.rank, tier.models) for name, tier in tiers.items()] == [
            ("free", 10, ("internal",)),
            ("pro", 20, ("internal", "haiku")),
            ("enterprise", 30, ("*",)),
        ]
        assert [tier.quota[0].limit for tier in tiers.values()] == [10, 1000, None]

    def test_internal_upstream_needs_a_url(self) -> None:
        assert "internal" not in load(KEYCLOAK | {"INTERNAL_LLM_API_KEY": "key"}).upstreams

    def test_provider_keys_without_subscribers_says_how_to_add_one(self) -> None:
        (problem,) = problems({})

        assert "{user: alice, tier: free, key: ...}" in problem
        assert "AUTH_PROVIDER=keycloak" in problem

    def test_keycloak_without_a_realm_is_a_mistake(self) -> None:
        (problem,) = problems({"AUTH_PROVIDER": "keycloak"})

        assert "set KEYCLOAK_URL to the realm's URL" in problem


class TestEnvironment:
    def test_beats_the_file_which_beats_the_default(self, write: Any) -> None:
        file = write("server: {log_level: debug, port: 9000}\nquota: {timezone: Europe/Berlin}")

        settings = load(KEYCLOAK | {"LLM_GATEWAY_LOG_LEVEL": "error"}, file)

        assert settings.server.log_level == "error"
        assert settings.server.port == 9000
        assert settings.quota.timezone == "Europe/Berlin"
        assert settings.server.workers == 1

    def test_names_the_file(self, write: Any) -> None:
        file = write("server: {port: 9000}")

        assert load(KEYCLOAK | {"LLM_GATEWAY_CONFIG": file}).server.port == 9000

    def test_argument_beats_the_variable_that_names_a_file(self, write: Any) -> None:
        named, given = write("server: {port: 9000}", "a.yaml"), write("server: {port: 9001}", "b.yaml")

        assert load(KEYCLOAK | {"LLM_GATEWAY_CONFIG": named}, given).server.port == 9001

    def test_empty_variable_counts_as_unset(self, write: Any) -> None:
        file = write("upstreams: {anthropic: {api_key: from-file}}")
        environ = KEYCLOAK | {variable.name: "" for variable in VARIABLES if variable.name not in KEYCLOAK}

        settings = load(environ | {"CLAUDE_API_KEY_FILE": ""}, file)

        assert settings.upstreams["anthropic"].api_key == "from-file"
        assert settings.data_dir == "./data"

    def test_several_replicas(self) -> None:
        settings = load(KEYCLOAK | {"INTERNAL_LLM_URL": "http://a:8000/v1, http://b:8000 ,"})

        assert settings.upstreams["internal"].urls == ("http://a:8000", "http://b:8000")

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("http://host:8080", "http://host:8080"),
            ("http://host:8080/", "http://host:8080"),
            ("http://host:8080/v1", "http://host:8080"),
            ("http://host:8080/v1/", "http://host:8080"),
            ("https://host/some/path/v1", "https://host/some/path"),
            ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ],
    )
    @pytest.mark.parametrize(
        ("variable", "upstream"),
        [("INTERNAL_LLM_URL", "internal"), ("CLAUDE_API_URL", "anthropic"), ("OPENAI_API_URL", "openai")],
    )
    def test_base_urls_are_taken_with_and_without_v1(
        self, given: str, stored: str, variable: str, upstream: str
    ) -> None:
        assert load(KEYCLOAK | {variable: given}).upstreams[upstream].urls == (stored,)

    @pytest.mark.parametrize(
        ("word", "apis"),
        [("openai", ("openai",)), ("anthropic", ("anthropic",)), ("auto", "auto"), ("", "auto")],
    )
    def test_internal_api(self, word: str, apis: str | tuple[str, ...]) -> None:
        settings = load(KEYCLOAK | {"INTERNAL_LLM_URL": "http://a", "INTERNAL_LLM_API": word})

        assert settings.upstreams["internal"].apis == apis
        assert settings.upstreams["internal"].kind == "vllm"

    @pytest.mark.parametrize(
        ("environ", "audience"),
        [
            ({}, "llm-gateway"),
            ({"OIDC_CLIENT_ID": "proxy"}, "proxy"),
            ({"OIDC_CLIENT_ID": "proxy", "OIDC_AUDIENCE": "api"}, "api"),
            ({"OIDC_AUDIENCE": "api"}, "api"),
        ],
    )
    def test_audience_is_the_client_unless_set(self, environ: dict[str, str], audience: str) -> None:
        assert load(KEYCLOAK | environ).auth.audience == audience

    def test_internal_model_takes_the_place_of_the_built_in_one(self) -> None:
        settings = load(KEYCLOAK | {"INTERNAL_LLM_MODEL": "Qwen/Qwen3-32B"})

        assert [model.id for model in settings.models if model.model_class == "internal"] == [
            "Qwen/Qwen3-32B"
        ]

    def test_slash_at_the_end_is_part_of_an_issuer_unless_it_is_keycloak(self) -> None:
        issuer = {"KEYCLOAK_URL": "https://issuer.example.org/"}

        assert load(issuer | {"AUTH_PROVIDER": "oidc"}).auth.issuer == "https://issuer.example.org/"
        assert load(issuer | {"AUTH_PROVIDER": "keycloak"}).auth.issuer == "https://issuer.example.org"


# Those that are more than any text.
SECRET_SHAPES = {
    "QUOTA_REDIS_URL": "redis://:file-secret@valkey:6379",
    "LLM_GATEWAY_KEY_PEPPER": "a pepper of many characters that nobody guesses",
}


class TestSecrets:
    @pytest.mark.parametrize("name", SECRETS)
    def test_can_come_from_a_file(self, name: str, write: Any) -> None:
        secret = SECRET_SHAPES.get(name, "file-secret")
        file = write(f"  {secret}\n", "secret")

        settings = load(KEYCLOAK | {"INTERNAL_LLM_URL": "http://a", f"{name}_FILE": file})

        assert secret in (
            settings.upstreams["internal"].api_key,
            settings.upstreams["anthropic"].api_key,
            settings.upstreams["openai"].api_key,
            settings.auth.client_secret,
            settings.quota.redis_url,
            settings.keys.pepper,
        )

    @pytest.mark.parametrize("name", SECRETS)
    def test_given_twice_is_a_mistake(self, name: str, write: Any) -> None:
        value = SECRET_SHAPES.get(name, "secret")

        (problem,) = problems(KEYCLOAK | {name: value, f"{name}_FILE": write("secret", "secret")})

        assert problem == f"{name}: set together with {name}_FILE; unset one of them"

    def test_file_that_is_missing_or_empty_is_a_mistake(self, write: Any, tmp_path: Path) -> None:
        lines = problems(
            KEYCLOAK
            | {"CLAUDE_API_KEY_FILE": str(tmp_path / "none"), "OPENAI_API_KEY_FILE": write(" \n", "empty")}
        )

        assert lines[0].startswith("CLAUDE_API_KEY_FILE: ")
        assert "cannot be read: No such file" in lines[0]
        assert lines[1].endswith("is empty; write the secret into it")

    def test_are_in_no_message_and_no_repr(self, write: Any) -> None:
        file = write(
            """
            subscribers:
              - {user: a, tier: free, key: [hunter2]}
              - {user: b, tier: free, key: "hunter2 hunter2"}
              - hunter2
              - {user: c, tier: free, key: 31337}
              - {user: d, tier: free, key_hash: hunter2}
            upstreams: {extra: {urls: ["http://user:hunter2@host"], apis: [openai], api_key: {hunter2: 1}}}
            metrics: {token: 31337}
            auth: {client_secret: [hunter2]}
            quota: {redis_url: "hunter2:hunter2@host"}
            """
        )
        lines = "\n".join(
            problems({"CLAUDE_API_KEY": "hunter2\nhunter2", "OPENAI_API_KEY": "hunter2é"}, file)
        )

        assert lines.count("\n") >= 8
        assert "hunter2" not in lines
        assert "31337" not in lines

        settings = load(KEYCLOAK | {"CLAUDE_API_KEY": "hunter2", "QUOTA_REDIS_URL": "redis://:hunter2@host"})
        assert "hunter2" not in repr(settings)
        assert "hunter2" not in str(settings.upstreams["anthropic"])


class TestFile:
    def test_tiers_are_laid_over_the_built_in_ones_by_field(self, write: Any) -> None:
        settings = load(KEYCLOAK, write("tiers: {free: {quota: [{limit: 3}]}, team: {rank: 25}}"))

        assert settings.tiers["free"].quota[0].limit == 3
        assert settings.tiers["free"].models == ("internal",)
        assert settings.tiers["team"].rank == 25
        assert settings.tiers["pro"].quota[0].limit == 1000

    def test_upstreams_and_models_are_laid_over_the_built_in_ones(self, write: Any) -> None:
        file = write(
            """
            upstreams:
              anthropic: {deadlines: {idle_s: 60}}
              local: {urls: ["http://local"], apis: [openai]}
            models:
              - {id: claude-3-haiku, wire: claude-haiku-6}
              - {id: coder, class: internal, upstream: local}
            routes: [{match: "x*", model: coder}]
            """
        )

        settings = load(KEYCLOAK | {"CLAUDE_API_KEY": "key"}, file)

        anthropic = settings.upstreams["anthropic"]
        assert (anthropic.urls, anthropic.api_key, anthropic.auth) == (
            ("https://api.anthropic.com",),
            "key",
            "x-api-key",
        )
        assert anthropic.deadlines.idle_s == 60
        haiku = next(model for model in settings.models if model.id == "claude-3-haiku")
        assert (haiku.wire, haiku.model_class) == ("claude-haiku-6", "haiku")
        assert settings.models[-1].id == "coder"
        assert settings.routes[0].match == "x*"

    @pytest.mark.parametrize(
        ("written", "apis"),
        [
            ("openai", ("openai",)),
            ("anthropic", ("anthropic",)),
            ("auto", "auto"),
            ("[openai]", ("openai",)),
            ("[openai, anthropic]", ("openai", "anthropic")),
        ],
    )
    def test_apis_are_a_word_or_a_list(self, write: Any, written: str, apis: str | tuple[str, ...]) -> None:
        file = write(f"upstreams: {{x: {{urls: [http://a], apis: {written}}}}}")

        assert load(KEYCLOAK, file).upstreams["x"].apis == apis

    def test_profiles_and_capabilities_are_taken_as_written(self, write: Any, tmp_path: Path) -> None:
        tokenizer = tmp_path / "tokenizer.json"
        tokenizer.write_text("{}")
        file = write(
            f"""
            upstreams:
              x: {{urls: ["http://a"], apis: auto, kind: vllm, profile: {{lenient_end: true, vision: true}}}}
            models:
              - id: m
                class: internal
                upstream: x
                tokenizer_file: {tokenizer}
                capabilities: {{context_window: 40960, refused_betas: ["effort-*", "*"], thinking: none}}
            """
        )

        settings = load(KEYCLOAK, file)

        assert settings.upstreams["x"].kind == "vllm"
        assert settings.upstreams["x"].profile == Profile(lenient_end=True, vision=True)
        assert settings.models[-1].tokenizer_file == str(tokenizer)
        assert settings.models[-1].capabilities == Capabilities(
            context_window=40960, refused_betas=("effort-*", "*"), thinking="none"
        )

    def test_words_that_old_yaml_took_for_booleans_are_words(self, write: Any) -> None:
        text = """
            upstreams: {x: {urls: ["http://a"], apis: openai, profile: {thinking_when_absent: off}}}
            subscribers: [{user: no, tier: free, key: on}, {user: falsehood, tier: free, key: trueish}]
        """

        settings = load({}, write(text))

        assert (settings.subscribers[1].user, settings.subscribers[1].key) == ("falsehood", "trueish")
        assert settings.upstreams["x"].profile.thinking_when_absent == "off"
        assert (settings.subscribers[0].user, settings.subscribers[0].key) == ("no", "on")

    @pytest.mark.parametrize(
        ("entry", "capabilities"),
        [
            ("aliases: [h]", GPT_4),
            ("wire: gpt-4", Capabilities()),
            ("wire: gpt-5", Capabilities()),
            ("wire: gpt-5, capabilities: {vision: true}", Capabilities(vision=True)),
            ("capabilities: {vision: true}", Capabilities(vision=True)),
            ("capabilities: {}", Capabilities()),
        ],
    )
    def test_built_in_capabilities_hold_until_they_or_the_name_upstream_change(
        self, write: Any, entry: str, capabilities: Capabilities
    ) -> None:
        settings = load(KEYCLOAK, write(f"models: [{{id: gpt-4, {entry}}}]"))

        (model,) = (model for model in settings.models if model.id == "gpt-4")
        assert model.capabilities == capabilities

    def test_empty_file_and_empty_sections_change_nothing(self, write: Any) -> None:
        assert (
            load(KEYCLOAK, write(""))
            == load(KEYCLOAK, write("tiers:\nserver:\n# nothing\n"))
            == load(KEYCLOAK)
        )

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("server: [", ":1: "),
            ("server:\n  port: 1\n bad", ":3: "),
            ("- a\n", ":1: expected a mapping of sections, found a list"),
            ("a: !!python/object:os.system {}", ":1: could not determine a constructor"),
            ("a: 1\n---\nb: 2", ":2: "),
            ("a: &a [*a]", ":1: an anchor contains itself"),
        ],
    )
    def test_what_is_not_usable_yaml_names_the_line(self, write: Any, text: str, line: str) -> None:
        file = write(text)

        (problem,) = problems(KEYCLOAK, file)

        assert problem.startswith(f"{file}{line}")

    def test_repeated_key_names_both_lines(self, write: Any) -> None:
        file = write("tiers:\n  free: {}\n  pro: {}\n  free: {}\ntiers: {}\n")

        assert problems(KEYCLOAK, file) == [
            f"{file}:4: tiers.free: already set on line 2",
            f"{file}:5: tiers: already set on line 1",
        ]

    def test_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        (problem,) = problems(KEYCLOAK, str(tmp_path / "none.yaml"))

        assert problem.endswith("none.yaml: cannot be read: No such file or directory")

    def test_anchors_can_be_shared(self, write: Any) -> None:
        text = "tiers:\n  a: &a {rank: 5, models: [internal]}\n  b: {<<: *a, rank: 6}\n"

        settings = load(KEYCLOAK, write(text))

        assert (settings.tiers["b"].rank, settings.tiers["b"].models) == (6, ("internal",))


class TestMistakes:
    def test_all_of_file_and_environment_are_reported_at_once(self, write: Any) -> None:
        file = write(
            "tiers:\n"
            "  free:\n"
            "    quota:\n"
            "      - limit: ten\n"
            "        unit: lines\n"
            "      - 5\n"
            "      - {limit: -1}\n"
            "server: {port: 99999, prot: 1}\n"
            "unknown: 1\n"
        )

        assert problems(KEYCLOAK | {"LLM_GATEWAY_LOG_LEVEL": "loud", "INTERNAL_LLM_API": "grpc"}, file) == [
            'INTERNAL_LLM_API: expected one of openai, anthropic, auto, found "grpc"',
            'LLM_GATEWAY_LOG_LEVEL: expected one of "debug", "error", "info", "warning", found "loud"',
            f"{file}:4: tiers.free.quota[0].limit: expected an integer >= 0 and <= 1e+15 or null, "
            'found "ten"',
            f'{file}:5: tiers.free.quota[0].unit: expected one of "concurrent", "prompts", "requests", '
            '"tokens", found "lines"',
            f"{file}:6: tiers.free.quota[1]: expected a mapping of unit, period, limit, found a number",
            f"{file}:7: tiers.free.quota[2].limit: expected an integer >= 0 and <= 1e+15 or null, found -1",
            f"{file}:8: server.port: expected an integer >= 0 and <= 65535, found 99999",
            f"{file}:8: server.prot: unknown setting; allowed here: host, port, workers, drain_s, "
            "public_url, trusted_proxies, log_level",
            f"{file}:9: unknown: unknown section; allowed: auth, data_dir, internal_model, keys, limits, "
            "metrics, models, page, quota, routes, server, subscribers, telemetry, tiers, upstreams",
        ]

    @pytest.mark.parametrize(
        ("text", "mistake"),
        [
            (
                "auth: {default_tier: gold}",
                'auth.default_tier: unknown tier "gold"; configured: enterprise, free, pro',
            ),
            ("auth: {tier_names: {x: gold}}", 'auth.tier_names.x: unknown tier "gold"'),
            ("auth: {tier_names: {x: 5}}", "auth.tier_names: expected a mapping of text to text"),
            ("auth: {tier_names: {5: free}}", "auth.tier_names: expected text as a key, found 5"),
            ("routes: [{match: x, model: gpt-4, tiers: [gold]}]", 'routes[0].tiers[0]: unknown tier "gold"'),
            (
                "routes: [{match: x, model: nix}]",
                'routes[0].model: unknown model or class "nix"; allowed: itself',
            ),
            ("tiers: {pro: {routes: [{match: x, model: nix}]}}", "tiers.pro.routes[0].model: unknown model"),
            ("tiers: {pro: {otherwise: nix}}", "tiers.pro.otherwise: unknown model"),
            ("tiers: {'a b': {}}", "tiers.a b: expected text matching"),
            ("tiers: {free: null}", "tiers.free: expected a mapping of rank"),
            ("tiers: []", "tiers: expected a mapping by name, found a list"),
            ("models: [{id: x, class: y, upstream: z}]", 'models[0].upstream: unknown upstream "z"'),
            ("models: [{id: x, class: y}]", "models[0]: `upstream` is missing: text matching"),
            ("models: [{id: 'x y', class: y, upstream: openai}]", "models[0].id: expected text matching"),
            ("models: [{id: gpt-4}, {id: gpt-4}]", 'models[1]: "gpt-4" is already models[0]; keep one'),
            (
                "models: [{id: gpt-5, class: gpt, upstream: openai, aliases: [gpt-4]}]",
                '"gpt-4" already means "gpt-4"',
            ),
            ("models: [{id: itself, class: gpt, upstream: openai}]", '"itself" has a meaning in routes'),
            ("models: {}", "models: expected a list of models, found a mapping"),
            ("models: [5]", "models[0]: expected a mapping of id, class"),
            ("internal_model: gpt-4", 'internal_model: "gpt-4" is another built-in model'),
            ("upstreams: {internal: {apis: [openai]}}", "upstreams.internal: `urls` is missing"),
            (
                "upstreams: {internal: {urls: []}}",
                "upstreams.internal.urls: expected a list that is not empty",
            ),
            ("upstreams: {x: {urls: [http://a], apis: [grpc]}}", "upstreams.x.apis[0]: expected one of"),
            (
                "upstreams: {x: {urls: [http://a], apis: []}}",
                'x.apis: expected "auto" or a list of "anthropic", "openai" that is not empty, found a list',
            ),
            (
                "upstreams: {x: {urls: [http://a], apis: grpc}}",
                'x.apis: expected "auto" or a list of "anthropic", "openai" that is not empty, found "grpc"',
            ),
            (
                "upstreams: {x: {urls: [http://a], apis: [openai, auto]}}",
                'x.apis[1]: expected one of "anthropic", "openai", found "auto"',
            ),
            (
                "upstreams: {x: {urls: [http://a], apis: auto, kind: sglang}}",
                'x.kind: expected one of "anthropic", "openai", "vllm" or null, found "sglang"',
            ),
            ("upstreams: {openai: {profile: fold}}", "openai.profile: expected a mapping of vision"),
            ("upstreams: {openai: {profile: {fold: 1}}}", "openai.profile.fold: unknown setting; allowed"),
            (
                "upstreams: {openai: {profile: {inline_system: hoist}}}",
                'profile.inline_system: expected one of "fold", "preserve" or null, found "hoist"',
            ),
            (
                "upstreams: {openai: {profile: {top_effort: none}}}",
                'expected one of "high", "low", "max", "medium", "minimal", "xhigh" or null, found "none"',
            ),
            (
                "upstreams: {openai: {profile: {strict_tools: yes}}}",
                'profile.strict_tools: expected true or false or null, found "yes"',
            ),
            (
                "upstreams: {openai: {profile: {max_output_tokens: -1}}}",
                "profile.max_output_tokens: expected an integer > 0 or null, found -1",
            ),
            (
                "models: [{id: gpt-4, capabilities: {context_window: 0}}]",
                "models[0].capabilities.context_window: expected an integer > 0 or null, found 0",
            ),
            (
                "models: [{id: gpt-4, capabilities: {lenient_end: true}}]",
                "models[0].capabilities.lenient_end: unknown setting; allowed here: vision, documents",
            ),
            (
                'models: [{id: gpt-4, capabilities: {refused_betas: ["a-*-b"]}}]',
                "models[0].capabilities.refused_betas[0]: expected text matching",
            ),
            (
                "models: [{id: gpt-4, tokenizer_file: /no/such/tokenizer.json}]",
                'models[0].tokenizer_file: "/no/such/tokenizer.json" cannot be read: No such file',
            ),
            ("models: [{id: gpt-4, tokenizer_file: /}]", 'models[0].tokenizer_file: "/" cannot be read'),
            (
                "upstreams: {openai: {deadlines: {ping_s: 0}}}",
                "openai.deadlines.ping_s: expected a number > 0, found 0",
            ),
            ("subscribers: [{user: a, tier: gold, key: k}]", 'subscribers[0].tier: unknown tier "gold"'),
            ("subscribers: [{user: a, tier: pro}]", 'give "a" either `key` or `key_hash`, and not both'),
            ("quota: {timezone: Mars/Olympus}", 'quota.timezone: unknown time zone "Mars/Olympus"'),
            ("quota: {timezone: ../etc}", "quota.timezone: unknown time zone"),
            ("quota: {redis_url: http://host}", "quota.redis_url: expected a URL like redis://host:6379"),
            ("quota: {redis_url: 'redis://'}", "quota.redis_url: expected a URL like redis://host:6379"),
        ],
    )
    def test_what_points_nowhere(self, write: Any, text: str, mistake: str) -> None:
        file = write(f"# first line\n{text}\n")

        (problem,) = problems(KEYCLOAK, file)

        assert problem.startswith(f"{file}:2: ")
        assert mistake in problem

    @pytest.mark.parametrize(
        ("windows", "mistake"),
        [
            (
                "{unit: concurrent, period: day, limit: 8}",
                "[0].period: requests in flight are counted at this moment; leave the period of ",
            ),
            (
                "{limit: 5}, {unit: requests, period: day}",
                "[1]: counts requests per day, as quota[0] does; keep one",
            ),
            (
                "{unit: tokens}, {unit: concurrent}, {unit: concurrent, limit: 2}",
                "[2]: counts concurrent, as quota[1] does; keep one",
            ),
            (
                "{unit: tokens, period: year}",
                '[0].period: expected one of "day", "hour", "minute", "month", "week"',
            ),
            ("{limit: 1000000000000001}", "[0].limit: expected an integer >= 0 and <= 1e+15 or null"),
        ],
    )
    def test_windows_that_cannot_be_counted(self, write: Any, windows: str, mistake: str) -> None:
        (problem,) = problems(KEYCLOAK, write(f"tiers:\n  free: {{quota: [{windows}]}}\n"))

        assert f":2: tiers.free.quota{mistake}" in problem

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("models: [{id: gpt-4, weights: {requests: -1}}]", "models[0].weights.requests"),
            ("models: [{id: gpt-4, weights: {prompts: 0.5}}]", "models[0].weights.prompts"),
            ("models: [{id: gpt-4, weights: {tokens: .nan}}]", "models[0].weights.tokens"),
            ("models: [{id: gpt-4, weights: {tokens: .inf}}]", "models[0].weights.tokens"),
            ("tiers: {free: {on_store_failure: shut}}", "tiers.free.on_store_failure"),
            ("quota: {replicas: 0}", "quota.replicas"),
            ("quota: {lease_s: 0.5}", "quota.lease_s"),
            ("quota: {local_for_s: -1}", "quota.local_for_s"),
            ("quota: {cache_read_weight: 1.1}", "quota.cache_read_weight"),
            ("quota: {reserved_output_tokens: -1}", "quota.reserved_output_tokens"),
            ("quota: {timeout_s: 0}", "quota.timeout_s"),
        ],
    )
    def test_amounts_that_make_no_sense(self, write: Any, text: str, path: str) -> None:
        (problem,) = problems(KEYCLOAK, write(text))

        assert f":1: {path}: expected " in problem

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host",
            "host:8000",
            "http://",
            "http://host/?q=1",
            "http://host/#x",
            "http://u:p@host",
            "http://h:99999",
            "http://h h/",
            "http://[::1",
            "//host",
        ],
    )
    @pytest.mark.parametrize(
        "variable", ["INTERNAL_LLM_URL", "CLAUDE_API_URL", "KEYCLOAK_URL", "LLM_GATEWAY_PUBLIC_URL"]
    )
    def test_urls_that_lead_nowhere_name_the_variable(self, variable: str, url: str) -> None:
        (problem,) = problems(KEYCLOAK | {variable: url})

        assert problem.startswith(f"{variable}: expected a URL ")

    def test_certificates_are_for_a_store_that_shows_one(self, write: Any, tmp_path: Path) -> None:
        file = write(f"quota: {{redis_ca_file: {Authority(tmp_path / 'ca').ca_file}}}")

        for scheme in ("rediss", "valkeys+cluster"):
            load(KEYCLOAK | {"QUOTA_REDIS_URL": f"{scheme}://host"}, file)
        (problem,) = problems(KEYCLOAK | {"QUOTA_REDIS_URL": "redis://host"}, file)

        assert ":1: quota.redis_ca_file: the store's URL is not one of TLS" in problem

    def test_two_subscribers_with_one_key_or_one_name(self, write: Any) -> None:
        file = write(
            "subscribers:\n"
            "  - {user: a, tier: pro, key: password}\n"
            "  - {user: b, tier: pro, key: password}\n"
            "  - {user: a, tier: pro, key: other}\n"
            "  - user: c\n"
            "    tier: pro\n"
            '    key_hash: "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"\n'
        )

        assert problems({}, file) == [
            f"{file}:3: subscribers[1]: has the key of subscribers[0]; give each a key of its own",
            f'{file}:4: subscribers[2].user: "a" is already subscribers[0]; keep one',
            f"{file}:5: subscribers[3]: has the key of subscribers[0]; give each a key of its own",
        ]

    def test_unknown_provider_names_the_variable(self) -> None:
        (problem,) = problems({"AUTH_PROVIDER": "ldap"})

        assert problem == 'AUTH_PROVIDER: expected one of "keycloak", "keys", "oidc", found "ldap"'


class TestCoreSettings:
    def test_is_the_slice_the_relay_reads(self) -> None:
        slice_ = core(
            load(
                KEYCLOAK
                | {
                    "CLAUDE_API_KEY": "c",
                    "INTERNAL_LLM_URL": "http://a/v1,http://b",
                    "LLM_GATEWAY_DATA_DIR": "var/gw",
                }
            )
        )

        assert slice_["upstreams"]["internal"] == {
            "urls": ["http://a", "http://b"],
            "apis": "auto",
            "api_key": None,
            "auth_header": "bearer",
            "ca_file": None,
            "keep_alive_s": 4.0,
            "connect_s": 5.0,
            "first_byte_s": 600.0,
            "idle_s": 240.0,
            "ping_s": 10.0,
        }
        assert slice_["upstreams"]["anthropic"]["apis"] == ["anthropic"]
        assert slice_["upstreams"]["anthropic"]["auth_header"] == "x-api-key"
        assert slice_["upstreams"]["anthropic"]["api_key"] == "c"
        assert slice_["profiles"]["upstream:internal"] == {"wire": {"kind": "vllm"}, "tokenizer_file": None}
        assert slice_["quota"] == {
            "redis_url": None,
            "redis_ca_file": None,
            "sqlite_path": "var/gw/quota.sqlite3",
            "timezone": "UTC",
            "journal_folder": "var/gw/journal",
            "timeout_s": 0.25,
            "lease_s": 60.0,
            "share": 1.0,
            "local_for_s": 600.0,
            "cache_read_weight": 0.1,
            "reserved_output_tokens": 4096,
        }
        assert slice_["metrics"] == {"user_label": "pseudonym", "user_series": 1000}
        assert slice_["limits"] == {"exchanges": 10_000}

    @pytest.mark.parametrize(
        ("redis_url", "share"), [(None, 1 / 4), ("redis://host", 1 / 12)], ids=["a file", "a server"]
    )
    def test_a_workers_share_is_that_of_all_who_share_the_store(
        self, write: Any, redis_url: str | None, share: float
    ) -> None:
        file = write("server: {workers: 4}\nquota: {replicas: 3}")

        quota = core(load(KEYCLOAK | {"QUOTA_REDIS_URL": redis_url or ""}, file))["quota"]

        assert quota["share"] == pytest.approx(share)

    def test_without_a_folder_that_may_be_written_there_is_no_journal(self, write: Any) -> None:
        file = write("")

        settings = load(KEYCLOAK | {"LLM_GATEWAY_DATA_DIR": file})

        assert core(settings)["quota"]["journal_folder"] is None

    def test_a_command_leaves_the_journal_to_the_gateway(self) -> None:
        slice_ = json.loads(core_settings(load(KEYCLOAK), journal=False))

        assert slice_["quota"]["journal_folder"] is None
