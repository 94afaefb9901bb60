"""Untyped data → structs of the schema, with every mistake found and not only the first."""

import copy
import json
import re
from typing import TypeVar

import msgspec
from msgspec import inspect

from llm_gateway.config.schema import SECRET_FIELDS

Path = tuple[str | int, ...]
Mistakes = list[tuple[Path, str]]
T = TypeVar("T")

_WHERE = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`\Z")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_WORDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def convert(raw: object, kind: type[T], path: Path, mistakes: Mistakes) -> T | None:
    """`raw` as `kind`, or None after adding each mistake, with its path below `path`, to `mistakes`.

    msgspec stops at the first mistake. So what is at fault is taken out and the rest is tried again.
    """
    draft = _Draft(copy.deepcopy(raw), inspect.type_info(kind))
    while True:
        try:
            value = msgspec.convert(draft.data, kind)
        except msgspec.ValidationError as error:
            more = draft.take_out(str(error))
        else:
            mistakes.extend((path + at, text) for at, text in draft.mistakes)
            return None if draft.mistakes else value
        if not more:
            mistakes.extend((path + at, text) for at, text in draft.mistakes)
            return None


def found(value: object, *, secret: bool = False) -> str:
    """`value` in a few printable characters, or only what it is where that is long or a secret."""
    if value is None:
        return "null"
    if isinstance(value, dict | list) or secret:
        return _WORDS.get(type(value), "something else")
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Draft:
    """Data from which the parts at fault are removed one by one."""

    def __init__(self, data: object, kind: inspect.Type) -> None:
        self.data = data
        self.kind = kind
        self.mistakes: Mistakes = []
        self._removed: set[Path] = set()
        self._original_indexes: dict[int, list[int]] = {}

    def take_out(self, message: str) -> bool:
        """Record what `message` says and remove its cause; False when nothing is left to try."""
        match = _WHERE.search(message)
        path, node = self._walk(match["path"] if match else "")
        kind = _kind_at(self.kind, path)
        if isinstance(node, dict):
            if self._remove_unknown(path, node, kind):
                return True
            if isinstance(kind, inspect.StructType):
                self._record_missing(path, node, kind)
                return self._remove(path)
        # A list that is too short only since an entry was taken out of it is no second mistake.
        original = self._original(path)
        if not any(removed[: len(original)] == original for removed in self._removed):
            self._record(path, self._wrong(kind, node, path))
        return self._remove(path)

    def _record_missing(self, path: Path, node: dict[object, object], kind: inspect.StructType) -> None:
        original = self._original(path)
        for entry in kind.fields:
            # A field that was there but wrong has been reported already.
            was_wrong = (*original, entry.encode_name) in self._removed
            if entry.required and entry.encode_name not in node and not was_wrong:
                self._record(path, f"`{entry.encode_name}` is missing: {_describe(entry.type)}")

    def _remove_unknown(self, path: Path, node: dict[object, object], kind: inspect.Type) -> bool:
        """Take out the keys that cannot be in `node`; False when there are none."""
        fields = (
            [entry.encode_name for entry in kind.fields] if isinstance(kind, inspect.StructType) else None
        )
        unknown = [
            key for key in node if not isinstance(key, str) or (fields is not None and key not in fields)
        ]
        for key in unknown:
            if isinstance(key, str):
                self._record((*path, key), f"unknown setting; allowed here: {', '.join(fields or ())}")
            else:
                self._record(path, f"expected text as a key, found {found(key)}")
            del node[key]
        return bool(unknown)

    def _wrong(self, wanted: inspect.Type, node: object, path: Path) -> str:
        if isinstance(wanted, inspect.DictType) and isinstance(node, dict):
            return f"expected {_describe(wanted)}, found another value"
        # Text where a mapping belongs may be a mistyped secret: it is named, not shown.
        secret = isinstance(wanted, inspect.StructType | inspect.DictType) or bool(
            path and path[-1] in SECRET_FIELDS
        )
        return f"expected {_describe(wanted)}, found {found(node, secret=secret)}"

    def _record(self, path: Path, text: str) -> None:
        self.mistakes.append((self._original(path), text))

    def _walk(self, text: str) -> tuple[Path, object]:
        """Where msgspec points to, no deeper than it can be followed (`[...]` is some value of a map)."""
        path: list[str | int] = []
        node = self.data
        for name, index in _STEP.findall(text):
            step = int(index) if index else name
            if not step and step != 0:
                break
            path.append(step)
            node = node[step]  # type: ignore[index]  # msgspec went the same way
        return tuple(path), node

    def _original(self, path: Path) -> Path:
        """`path` with the list indexes that stood in the file, before entries were removed."""
        original: list[str | int] = []
        node = self.data
        for step in path:
            indexes = self._original_indexes.get(id(node))
            original.append(indexes[step] if indexes is not None and isinstance(step, int) else step)
            if isinstance(node, dict):
                node = node.get(step)
            elif isinstance(node, list) and isinstance(step, int):
                node = node[step]
        return tuple(original)

    def _remove(self, path: Path) -> bool:
        if not path:
            return False
        self._removed.add(self._original(path))
        parent = self.data
        for step in path[:-1]:
            parent = parent[step]  # type: ignore[index]  # the path was walked just before
        last = path[-1]
        if isinstance(parent, list) and isinstance(last, int):
            self._original_indexes.setdefault(id(parent), list(range(len(parent)))).pop(last)
            del parent[last]
        elif isinstance(parent, dict):
            del parent[last]
        return True


def _kind_at(kind: inspect.Type, path: Path) -> inspect.Type:
    """The type that the schema wants at `path` below `kind`."""
    for step in path:
        if isinstance(kind, inspect.UnionType):
            around = inspect.VarTupleType if isinstance(step, int) else inspect.StructType | inspect.DictType
            kind = next(member for member in kind.types if isinstance(member, around))
        if isinstance(kind, inspect.StructType):
            kind = next(entry.type for entry in kind.fields if entry.encode_name == step)
        elif isinstance(kind, inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
    return kind


def _describe(kind: inspect.Type) -> str:
    """What is allowed, in words."""
    match kind:
        case inspect.UnionType():
            return " or ".join(_describe(member) for member in kind.types)
        case inspect.LiteralType():
            values = ", ".join(json.dumps(value) for value in kind.values)
            return values if len(kind.values) == 1 else f"one of {values}"
        case inspect.IntType() | inspect.FloatType():
            return _describe_number(kind)
        case inspect.StrType():
            return _describe_text(kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.VarTupleType():
            words = isinstance(kind.item_type, inspect.LiteralType)
            items = f" of {_describe(kind.item_type).removeprefix('one of ')}" if words else ""
            return f"a list{items}{' that is not empty' if kind.min_length else ''}"
        case inspect.StructType():
            return f"a mapping of {', '.join(entry.encode_name for entry in kind.fields)}"
        case inspect.DictType():
            return f"a mapping of {_describe(kind.key_type)} to {_describe(kind.value_type)}"
        case inspect.NoneType():
            return "null"
    return "another value"


def _describe_number(kind: inspect.IntType | inspect.FloatType) -> str:
    word = "an integer" if isinstance(kind, inspect.IntType) else "a number"
    bounds = ((">", kind.gt), (">=", kind.ge), ("<", kind.lt), ("<=", kind.le))
    return word + " and".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)


def _describe_text(kind: inspect.StrType) -> str:
    if kind.pattern is not None:
        return f"text matching {kind.pattern}"
    if kind.max_length is not None:
        return f"text of {kind.min_length or 0} to {kind.max_length} characters"
    return "text"
