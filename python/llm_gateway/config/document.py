"""A YAML file as plain data, and the line on which each part of it stands."""

import re
from collections.abc import Iterator

import yaml

from llm_gateway.config.convert import Path
from llm_gateway.errors import ConfigError

_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML whose only booleans are `true` and `false`, as in YAML 1.2: `off` and `no` are words."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the parser's own name for it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


class Document:
    """The content of one YAML file: `data` is its top-level mapping, `name` the file as it was given."""

    def __init__(self, name: str, data: dict[str, object], lines: dict[Path, int]) -> None:
        self.name = name
        self.data = data
        self._lines = lines

    def holds(self, path: Path) -> bool:
        """Whether something is written at `path`."""
        return path in self._lines

    def line(self, path: Path) -> int:
        """The line of what stands at `path`, or of the nearest part around it; 0 when there is none."""
        around = (path[:end] for end in range(len(path), 0, -1))
        return next((self._lines[part] for part in around if part in self._lines), 0)


def read(name: str) -> Document:
    """The document in the file `name`.

    Raises: ConfigError when it cannot be read, is not YAML, repeats a key or is not a mapping.
    """
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from error
    return parse(name, text)


def parse(name: str, text: str) -> Document:
    """The document in `text`, which came from the file `name`. Raises: ConfigError as `read`."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return Document(name, {}, {})
        lines: dict[Path, int] = {}
        repeated: list[str] = []
        for path, line in _walk(root, (), ()):
            if path in lines:
                repeated.append(f"{name}:{line}: {dotted(path)}: already set on line {lines[path]}")
            lines.setdefault(path, line)
        if repeated:
            raise ConfigError(repeated)
        data = loader.construct_document(root)
    except yaml.YAMLError as error:
        raise ConfigError([_syntax_mistake(name, error)]) from error
    if not isinstance(data, dict):
        raise ConfigError([f"{name}:1: expected a mapping of sections, found a {type(data).__name__}"])
    return Document(name, data, lines)


def dotted(path: Path) -> str:
    """`path` as people write it: `tiers.free.quota[0].limit`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return text if text.isprintable() else ascii(text)


def _walk(node: yaml.Node, path: Path, around: tuple[yaml.Node, ...]) -> Iterator[tuple[Path, int]]:
    if node in around:
        raise yaml.MarkedYAMLError(problem="an anchor contains itself", problem_mark=node.start_mark)
    inside = (*around, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            step = (*path, str(key.value))
            yield step, key.start_mark.line + 1
            yield from _walk(value, step, inside)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _walk(value, (*path, index), inside)


def _syntax_mistake(name: str, error: yaml.YAMLError) -> str:
    # The parser quotes the offending text only in its snippet, which may be a secret: it is left out.
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{name}:{error.problem_mark.line + 1}: {error.problem or 'not YAML'}"
    return f"{name}: not YAML"
