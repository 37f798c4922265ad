"""Turns what people write in files, environment variables and calls into the typed fields of a dataclass.

A setting is a field of a dataclass. Its annotation says what it may be: ``bool``, ``int``, ``float``, ``str``,
an enum, ``None``, ``tuple[…, ...]`` of these, or a union. Its metadata says the rest, all of it optional:

* ``help``: one line for people;
* ``least``, ``most``: bounds of a number;
* ``choices``: what a string may be;
* ``check``: is called with the value, and raises ValueError with what was expected;
* ``example``: a good value, for error messages; otherwise the default.

A field of any other type (a callable, a clock) can only be given in the program, and is not looked at.
"""

from __future__ import annotations

import enum
import inspect
import math
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

__all__ = ["Mismatch", "convert", "describe", "example", "field_types", "is_settable", "settings_of"]

TRUE: Final = frozenset({"true", "yes", "on", "1"})
FALSE: Final = frozenset({"false", "no", "off", "0"})
NOTHING: Final = frozenset({"", "none"})

#: Type -> its name for people. The order is that in which the members of a union are tried on a text.
WORDS: Final[dict[object, str]] = {
    types.NoneType: "nothing",
    bool: "true or false",
    int: "an int",
    float: "a number",
    str: "a string",
}
EXAMPLES: Final[dict[object, object]] = {bool: True, int: 1, float: 0.5, str: "name"}


class Mismatch(Exception):
    """Raised when a value is not what its field may be. Its text says what was expected."""


def settings_of(options: type[Any]) -> dict[str, Field[Any]]:
    """Name -> field, of all fields that a caller may give."""
    if not is_dataclass(options):
        raise TypeError(f"Options: expected a dataclass, got {options!r}")
    return {item.name: item for item in fields(options) if item.init}


def field_types(options: type[Any]) -> dict[str, object]:
    """Name of each field -> its type. A name that only exists for type checkers stands for ``object``."""
    return {name: _resolve(options, item) for name, item in settings_of(options).items()}


def _resolve(options: type[Any], item: Field[Any]) -> object:
    if not isinstance(item.type, str):
        return item.type
    owner = next(base for base in options.__mro__ if item.name in inspect.get_annotations(base))
    holder = types.SimpleNamespace(__annotations__={item.name: item.type})
    try:
        return get_type_hints(holder, vars(sys.modules[owner.__module__]))[item.name]
    except NameError:
        return object


def _members(annotation: object) -> tuple[object, ...]:
    """The members of a union; of anything else, itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _is_enum(annotation: object) -> TypeGuard[type[enum.Enum]]:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def is_settable(annotation: object) -> bool:
    """Whether a value of this type can be written in a file or an environment variable."""
    if get_origin(annotation) is tuple:
        return all(is_settable(part) for part in get_args(annotation) if part is not Ellipsis)
    if len(_members(annotation)) > 1:
        return all(map(is_settable, _members(annotation)))
    return annotation in WORDS or _is_enum(annotation) or get_origin(annotation) is Literal


def _choices_of(annotation: object) -> dict[str, object]:
    """Spelling -> value, of an enum or a ``Literal``."""
    if _is_enum(annotation):
        return {_spelling(member.name): member for member in annotation}
    if get_origin(annotation) is Literal:
        return {_spelling(str(value)): value for value in get_args(annotation)}
    return {}


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(repr(name) for name in names)


def describe(item: Field[Any], annotation: object) -> str:
    """What the field may be, for people: ``an int of at least 1``."""
    text = _describe(annotation, tuple(item.metadata.get("choices", ())))
    if (least := item.metadata.get("least")) is not None:
        text += f" of at least {least}"
    if (most := item.metadata.get("most")) is not None:
        text += f" and at most {most}" if least is not None else f" of at most {most}"
    return text


def _describe(annotation: object, choices: tuple[str, ...]) -> str:
    members = [part for part in _members(annotation) if part is not types.NoneType]
    if len(members) > 1:
        return " or ".join(_describe(part, choices) for part in members)
    kind = members[0]
    if get_origin(kind) is tuple:
        return f"a list, each item {_describe(get_args(kind)[0], choices)}"
    if names := _choices_of(kind) or (choices if kind is str else ()):
        return f"one of {_quoted(names)}"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def example(item: Field[Any], annotation: object) -> object:
    """A value that would be right."""
    for value in (
        item.metadata.get("example"),
        item.default,
        next(iter(item.metadata.get("choices", ())), None),
    ):
        if value is not None and value is not MISSING:
            return value.name.lower() if isinstance(value, enum.Enum) else value
    kind = next(part for part in _members(annotation) if part is not types.NoneType)
    return next(iter(_choices_of(kind)), None) or item.metadata.get("least") or EXAMPLES.get(kind, ["name"])


def convert(value: object, item: Field[Any], annotation: object, *, text: bool) -> object:
    """``value`` as the field wants it.

    :param value: what was given
    :param item: the field
    :param annotation: its type, from :func:`field_types`
    :param text: the value is the text of an environment variable
    :raises Mismatch: if the field cannot be that; its text says what was expected
    """
    try:
        result = _from_text(str(value), annotation) if text else _checked(value, annotation)
    except ValueError:
        raise Mismatch(describe(item, annotation)) from None
    for part in result if isinstance(result, tuple) else (result,):
        if not _within(part, item):
            raise Mismatch(describe(item, annotation))
    if (check := item.metadata.get("check")) is not None:
        try:
            check(result)
        except ValueError as error:
            raise Mismatch(str(error)) from None
    return result


def _within(value: object, item: Field[Any]) -> bool:
    if isinstance(value, str):
        return value in item.metadata.get("choices", (value,))
    if isinstance(value, int | float) and not isinstance(value, bool | enum.Enum):
        least, most = item.metadata.get("least", value), item.metadata.get("most", value)
        return bool(least <= value <= most) and (isinstance(value, int) or math.isfinite(value))
    return True


def _from_text(text: str, annotation: object) -> object:
    """The first member of the union that the text can be, strings last."""
    members = _members(annotation)
    order = [*WORDS]
    ranked = sorted(members, key=lambda kind: order.index(kind) if kind in order else 3.5)
    for kind in ranked:
        if len(ranked) > 1 and get_origin(kind) is tuple and "," not in text and str in ranked:
            continue
        try:
            return _one_from_text(text.strip(), kind)
        except ValueError:
            continue
    raise ValueError(text)


def _one_from_text(text: str, kind: object) -> object:
    if kind is types.NoneType:
        if text.lower() in NOTHING:
            return None
    elif kind is bool:
        if text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
    elif kind in (int, float, str):
        assert isinstance(kind, type)
        return kind(text)
    elif get_origin(kind) is tuple:
        parts = [part.strip() for part in text.split(",")] if text else []
        return tuple(_from_text(part, get_args(kind)[0]) for part in parts)
    elif _spelling(text) in (choices := _choices_of(kind)):
        return choices[_spelling(text)]
    raise ValueError(text)


def _spelling(text: str) -> str:
    """Of the name of a choice: case does not count, nor which of - and _ joins its words."""
    return text.lower().replace("-", "_")


def _checked(value: object, annotation: object) -> object:
    """The first member of the union that the value is."""
    for kind in _members(annotation):
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(_checked(part, get_args(kind)[0]) for part in value)
        if type(value) is kind:
            return value
        choices = _choices_of(kind)
        if value in choices.values():
            return value
        if isinstance(value, str) and _spelling(value) in choices:
            return choices[_spelling(value)]
    if float in _members(annotation) and type(value) is int:
        with suppress(OverflowError):
            return float(value)
    raise ValueError(value)
