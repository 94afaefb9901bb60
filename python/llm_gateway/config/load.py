"""Where settings come from: built-in defaults, under the YAML file, under the environment.

This is the only module that reads the process's environment.
"""

import os
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

from llm_gateway.config import defaults, environment
from llm_gateway.config.assembly import Assembly
from llm_gateway.config.convert import Mistakes
from llm_gateway.config.document import Document, dotted, read
from llm_gateway.config.environment import Overrides
from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError


def from_process(config_file: str | None = None) -> Settings:
    """The settings of this process. Raises: ConfigError as `load`."""
    return load(os.environ, config_file)


def is_set(*names: str) -> bool:
    """Whether one of the variables, or its `…_FILE`, is set in this process's environment."""
    return any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in names)


def data_dir() -> str:
    """The data folder of this process's environment."""
    return os.environ.get("LLM_GATEWAY_DATA_DIR") or defaults.DATA_DIR


def personal_folder() -> Path:
    """Where a person's own things of this program are. Source: XDG Base Directory Specification 0.8."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "llm-gateway"


def claude_folder() -> Path:
    """Where Claude Code has a person's settings."""
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")


def gateway_url() -> str | None:
    """The gateway that a person's commands ask if none is named, from this process's environment."""
    return os.environ.get("LLM_GATEWAY_URL") or None


def load(environ: Mapping[str, str], config_file: str | None = None) -> Settings:
    """The settings in `environ`, over those in `config_file`, over the built-in ones.

    `config_file` is `LLM_GATEWAY_CONFIG` where it is None. Raises: ConfigError with a line for every mistake.
    """
    problems: list[str] = []
    overrides = environment.read(environ, problems)
    file_name = config_file or environ.get(environment.CONFIG_FILE)
    try:
        document = read(file_name) if file_name else Document("", {}, {})
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from error
    assembly = Assembly(document, overrides)
    settings = assembly.settings()
    problems += _lines(document, overrides, assembly.mistakes)
    if problems:
        raise ConfigError(problems)
    return settings


def _lines(document: Document, overrides: Overrides, mistakes: Mistakes) -> list[str]:
    """One line per mistake: those of the environment, then those of the file from top to bottom."""
    in_environment, in_file = [], []
    for path, text in mistakes:
        variable = overrides.name_of(path)
        line = document.line(path)
        if variable is not None:
            in_environment.append(f"{variable}: {text}")
        else:
            place = f"{document.name}:{line}: " if line else f"{document.name}: " if document.name else ""
            in_file.append((line, f"{place}{dotted(path)}: {text}"))
    return in_environment + [text for _, text in sorted(in_file, key=itemgetter(0))]
