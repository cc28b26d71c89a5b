"""Nested frozen dataclasses from YAML files and flags, with errors that name the option."""

import ast
import difflib
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from unlearn_train.settings import TrainOptions

T = TypeVar("T")


class Option(NamedTuple):
    """An option by its full name."""

    name: str
    default: Any
    doc: str = ""


class _Loader(yaml.SafeLoader):
    """YAML that reads `1e-4` as a number, as YAML 1.2 does; YAML 1.1 takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def build(cls: type[T], values: Mapping[str, Any], *, path: str = "") -> T:
    """Build a dataclass, and those nested in it, from plain values.

    Args:
        cls: a dataclass whose fields are annotated.
        values: by field; what is left out keeps its default.
        path: of `values` in a larger whole, for messages.

    Raises:
        ValueError: an option is unknown, of the wrong type or out of its range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"`{path or cls.__name__}` takes options by name, got {values!r}.")
    hints = typing.get_type_hints(cls)
    known = {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]
    for name in values.keys() - known.keys():
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean `{_join(path, near[0])}`? " if near else ""
        raise ValueError(f"there is no option `{_join(path, name)}`; {hint}known here: {', '.join(known)}.")
    converted = {name: _convert(known[name], value, _join(path, name)) for name, value in values.items()}
    try:
        return cls(**converted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else str(error)) from error


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later ones win.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = merge(merged[name], value) if both else value
    return merged


def nest(assignment: str) -> dict[str, Any]:
    """Read one `a.b=value`, the value as YAML.

    Example:
        >>> nest("unlearn.learning_rate=1e-4")
        {'unlearn': {'learning_rate': 0.0001}}

    Raises:
        ValueError: there is no `=`, or the value is no YAML.
    """
    name, sign, text = assignment.partition("=")
    if not sign or not name:
        raise ValueError(f"an option is set as NAME=VALUE, such as unlearn.epochs=5, got {assignment!r}.")
    try:
        value: Any = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"the value in {assignment!r} is no YAML ({error}).") from error
    return place(name, value)


def place(name: str, value: Any) -> dict[str, Any]:
    """Return `value` under its dotted name.

    Example:
        >>> place("data.folder", "2024")
        {'data': {'folder': '2024'}}
    """
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of options.

    Raises:
        ValueError: the file is missing, no YAML, or no mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is not there; a YAML file of options is needed, such as a run's run.yaml.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold options by name, got {type(values).__name__}.")
    return values


def read_run(path: Path) -> dict[str, Any]:
    """Read the options of a `run.yaml`, or of a YAML file that holds options alone.

    Raises:
        ValueError: the file is missing, no YAML, or holds no options.
    """
    values = read_yaml(path)
    chosen = values.get("options", values)
    if not isinstance(chosen, dict):
        raise ValueError(f"`options` in {path} must hold options by name, got {chosen!r}.")
    return chosen


def describe(cls: type, path: str = "") -> list[Option]:
    """List every option of a dataclass and those nested in it, with its default and what is written under it."""
    listed: list[Option] = []
    hints, docs = typing.get_type_hints(cls), _field_docs(cls)
    for field in fields(cls):
        name, kinds = _join(path, field.name), typing.get_args(hints[field.name]) or (hints[field.name],)
        nested = [kind for kind in kinds if is_dataclass(kind) and isinstance(kind, type)]
        if types.NoneType in kinds or not nested:
            listed.append(Option(name, _default(field), docs.get(field.name, "")))
        for kind in nested:
            listed += describe(kind, name)
    return listed


def plain(options: Any) -> dict[str, Any]:
    """Return a dataclass as nested plain values, as YAML and JSON take them."""
    return {name: _plain(value) for name, value in asdict(options).items()}


def decisive(training: TrainOptions) -> dict[str, Any]:
    """Return what a training's result depends on of its options, of a file that they name what it holds."""
    found = plain(training)
    for name in ("save_every", "report_to"):
        del found[name]
    path = Path(training.deepspeed or "")
    if path.suffix == ".json" and path.is_file():
        found["deepspeed"] = path.read_text(encoding="utf-8", errors="replace")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _field_docs(cls: type) -> dict[str, str]:
    """The strings under the fields of a dataclass, which Python itself throws away."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except OSError:  # an installation without sources
        return {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    docs = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docs


def _default(field: "Field[Any]") -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else None


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        return _convert(next(argument for argument in arguments if argument is not types.NoneType), value, path)
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, path=path)
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError(f"`{path}` takes a list, got {value!r}.")
        return tuple(_convert(arguments[0], item, path) for item in items)
    plain_kind = origin or kind
    if plain_kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, plain_kind) or (isinstance(value, bool) and plain_kind is not bool):
        raise ValueError(f"`{path}` takes {_words(plain_kind)}, got {value!r}.")
    return value


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "options by name"}.get(
        kind, kind.__name__
    )
