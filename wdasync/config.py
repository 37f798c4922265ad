"""Settings: one table, read from keyword, environment and file, each value with where it came from.

A keyword argument beats an environment variable, which beats the file, which beats the default. The file is
``./wdasync.toml``, or the one that ``WDASYNC_CONFIG`` names; no other directory is searched. A setting that
nobody knows is an error that names the nearest known one.

The settings of the framework are the fields of :class:`Config`. Those of a backend are the fields of its
``Options``: a table in the file with the backend's name, ``WDASYNC_<BACKEND>_<OPTION>`` in the environment, a
plain keyword in a call. How many queues are opened (``open_queues``) may stand in either: for all backends, or for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from . import registry
from .errors import BackendUnavailable, ConfigError
from .operations import DEFAULT_MAX_LENGTH, Kind, Level, Priority
from .queue_counts import QueueCounts
from .sources import FILE_NAME, FOREIGN, SHARED, Given, Layers, find_file, options_class, unknown_name
from .values import Mismatch, convert, describe, example, field_types, is_settable, settings_of

__all__ = ["Config", "Effective", "Rule", "load"]

LEVEL_CHOICES: Final = ("fast", "balanced", "best")

#: Seconds that a setting may be, at most: some 31 years. Timers and counters of their ticks can have that.
LONGEST: Final = 1e9

T = TypeVar("T")


def _setting(default: object, help: str, **metadata: object) -> Any:  # noqa: A002  (it is the key's name)
    return field(default=default, metadata={"help": help, **metadata})


def _seconds(default: float | None, help: str, *, least: float = 0.0) -> Any:  # noqa: A002  (it is the key's name)
    return _setting(default, help, least=least, most=LONGEST)


def _names(table: type[Kind | Priority]) -> tuple[str, ...]:
    return tuple(member.name.lower() for member in table)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the scheduling policy: this backend takes operations that meet every condition of the row.

    The first row that holds wins; a condition that is not given always holds.
    """

    backend: str = field(metadata={"help": "the backend that takes the operation", "example": "cpu"})
    operation: str = _setting("*", "kind of operation; * is any", choices=("*", *_names(Kind)))
    min_size: int = _setting(0, "input bytes, at least", least=0)
    max_size: int | None = _setting(None, "input bytes, at most", least=0)
    levels: tuple[Level, ...] | None = _setting(
        None, "one of these levels, as the caller gave it", choices=LEVEL_CHOICES, example=("fast", 1)
    )
    max_window: int | None = _setting(None, "base-2 logarithm of the history in bytes, at most", least=0)
    max_load: float | None = _setting(None, "fraction of its depth in flight, at most", least=0.0, most=1.0)
    min_deadline: float | None = _seconds(None, "the caller's timeout in seconds, at least")
    priority: str | None = _setting(None, "priority of the operation", choices=_names(Priority))


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the framework, with its default."""

    backend: str | tuple[str, ...] | None = _setting(
        None, "backends to use, best first; none: chosen automatically", example="cpu"
    )
    fallback: bool = _setting(True, "a fallback backend may do what the others cannot")
    depth: int = _setting(1024, "operations in flight in one queue", least=1)
    open_queues: int | str = _setting(
        1,
        "queues that each device opens for each of its classes; or a list as in UADK's WD_COMP_CTX_NUM. May also stand in "
        "a backend's table, for that backend alone",
        check=QueueCounts.parse,
        example="sync-comp:2@0,sync-decomp:2@0",
    )
    numa_node: int | None = _setting(
        None,
        "the memory node whose devices are near; none: that of the processors this thread may use",
        least=0,
    )
    inline: bool = _setting(True, "tiny operations may run in the event loop's thread")
    inline_cost: int = _setting(25_000, "ns; the longest operation that may", least=0)
    inline_budget: int = _setting(100_000, "ns of such work in one turn of the loop", least=0)
    inline_in_flight: int = _setting(4, "only while at most this many are in flight", least=0)
    inline_tiny: int = _setting(
        4_000,
        "ns; a digest or AES-GCM that takes no longer is done there whatever is in flight: to send it away takes the loop longer",
        least=0,
    )
    deadline: float = _seconds(
        30.0, "s that a device may hold an operation; then its queue is reset", least=0.001
    )
    reopen_delay: float = _seconds(
        0.5,
        "s until a lost device, or a queue that others used, is tried again; doubled each time",
        least=0.001,
    )
    reopen_limit: float = _seconds(60.0, "s between two such attempts, at most", least=0.001)
    close_timeout: float = _seconds(5.0, "s to wait for what is in flight when closing")
    reap_budget: float = _seconds(0.0005, "s of taking completions in one turn of the loop")
    safety_interval: float = _seconds(0.25, "s between looks for a lost wake-up", least=0.001)
    max_length: int = _setting(DEFAULT_MAX_LENGTH, "bytes that one decompression may produce", least=0)
    level: str | int = _setting("fast", "level of compression", choices=LEVEL_CHOICES)
    policy: tuple[Rule, ...] = _setting((), "rows of [[policy]]: which operation goes where")


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings that hold.

    :ivar config: those of the framework
    :ivar origins: name of each setting, and ``backend.option`` of each option that was given -> where its
        value came from: ``keyword``, ``environment WDASYNC_DEPTH``, ``file /path/wdasync.toml``, ``default``
    :ivar file: the file that was read, if there was one
    """

    config: Config
    origins: dict[str, str]
    file: Path | None
    _tables: Mapping[str, Mapping[str, Given]] = field(default_factory=dict, repr=False)

    def options(self, backend_name: str, options_class: type[T]) -> T:
        """The options of one backend, as an instance of its ``Options``.

        :raises ConfigError: if an option is unknown, or its value of another type
        """
        given = self._tables.get(backend_name, {})
        table = {name: value for name, value in given.items() if name not in SHARED}
        values = _values(options_class, table, f"{backend_name}.", f"table [{backend_name}]")
        try:
            return options_class(**values)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            places = ", ".join(dict.fromkeys(given.place for given in table.values())) or "its defaults"
            raise ConfigError(f"options of backend {backend_name!r}: {error} ({places})") from error

    def shared(self, backend_name: str) -> dict[str, Any]:
        """Settings of the framework that hold for one backend: those of its table, or those for all. The source
        decides, a keyword before the environment before the file; and the table, if both are from the same.

        :raises ConfigError: if a value is wrong
        """
        table = self._tables.get(backend_name, {})
        own = {
            name: table[name]
            for name in SHARED
            if name in table and _rank(table[name].origin) >= _rank(self.origins[name])
        }
        return {name: getattr(self.config, name) for name in SHARED} | _values(
            Config, own, f"{backend_name}.", ""
        )

    def queues(self, backend_name: str) -> QueueCounts:
        """How many queues its devices open.

        :raises ConfigError: if the value is wrong
        """
        return QueueCounts.parse(self.shared(backend_name)["open_queues"])


def load(
    keywords: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Effective:
    """Collect the settings from everywhere.

    :param keywords: settings of this call: those of :class:`Config`, a mapping under a backend's name, or an
        option of the first named backend that has it. ``backend=None`` is the same as not given
    :param environ: instead of ``os.environ``
    :param cwd: instead of the current directory
    :raises ConfigError: if a name is unknown or a value is of the wrong type
    :raises BackendUnavailable: if a backend is named that is not installed
    """
    environ = os.environ if environ is None else environ
    layers = Layers(settings_of(Config))
    layers.take_foreign(environ)
    path = find_file(environ, _here() if cwd is None else Path(cwd))
    if path is not None:
        layers.take_file(path)
    layers.take_environment(environ)
    loose = layers.take_keywords(keywords or {})
    config = _core(layers)
    layers.take_loose(loose, config.backend)
    effective = Effective(config, _origins(layers), path, layers.tables)
    for backend in layers.tables:
        if (options := options_class(backend)) is not None:
            effective.options(backend, options)
        effective.shared(backend)
    return effective


def _rank(origin: str) -> int:
    """Which origin of a value beats which."""
    source, _, variable = origin.partition(" ")
    return 0 if variable in FOREIGN else ("default", "file", "environment", "keyword").index(source)


def _here() -> Path:
    """The current directory; one that was removed has no file in it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.devnull)


def _origins(layers: Layers) -> dict[str, str]:
    origins = dict.fromkeys(layers.names, "default")
    origins.update((name, given.origin) for name, given in layers.core.items())
    for backend, table in layers.tables.items():
        origins.update((f"{backend}.{name}", given.origin) for name, given in table.items())
    return origins


def _core(layers: Layers) -> Config:
    given = dict(layers.core)
    policy = given.pop("policy", None)
    values = _values(Config, given, "", "")
    if policy is not None:
        values["policy"] = tuple(_rules(policy))
    config = Config(**values)
    if (backend := layers.core.get("backend")) is not None:
        _check_backends(config.backend, "backend", backend.place)
    return config


def _check_backends(named: str | tuple[str, ...] | None, name: str, place: str) -> None:
    known = registry.backend_names()
    backends = (named,) if isinstance(named, str) else (named or ())
    if named == () or len(set(backends)) < len(backends):
        raise ConfigError(
            f"{name}: expected one backend, or several different ones, got {named!r} ({place}); "
            "name each once, best first"
        )
    for backend in backends:
        if backend not in known:
            raise BackendUnavailable(
                f"{name}: expected one of {', '.join(known)}, got {backend!r}{registry.nearest(backend, known)} "
                f"({place}); install the package that has this backend, or name another"
            )


def _rules(given: Given) -> Iterable[Rule]:
    if given.source == "environment" or not isinstance(given.value, list | tuple):
        raise ConfigError(
            f"policy: expected a list of rules, got {given.value!r} ({given.place}); "
            f"write tables [[policy]] in {FILE_NAME}, or give the keyword a list of Rule"
        )
    for number, row in enumerate(given.value, 1):
        place = f"{given.place}, rule {number}"
        if isinstance(row, Rule):
            table = {item: getattr(row, item.name) for item in fields(row)}
            row = {item.name: value for item, value in table.items() if value is not item.default}
        yield _rule(row, given._replace(place=place))


def _rule(row: object, given: Given) -> Rule:
    if not isinstance(row, Mapping):
        raise ConfigError(
            f"policy: expected a table for each rule, got {row!r} ({given.place}); "
            'write [[policy]] and below it backend = "cpu"'
        )
    table = {str(key): given._replace(value=value) for key, value in row.items()}
    values = _values(Rule, table, "policy.", given.place)
    _check_backends(values["backend"], "policy.backend", given.place)
    return Rule(**values)


def _values(options: type[Any], table: Mapping[str, Given], prefix: str, place: str) -> dict[str, Any]:
    """Each given value, checked against the field of its name.

    :param prefix: before each name, for errors
    :param place: where the table is, for errors about what it lacks
    """
    known, kinds = settings_of(options), field_types(options)
    values = {}
    for name, given in table.items():
        if name not in known:
            raise unknown_name(name, known, given.place, "a setting", prefix)
        values[name] = _value(f"{prefix}{name}", given, known[name], kinds[name])
    for name, item in known.items():
        if name not in table and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(
                f"{prefix}{name}: expected {describe(item, kinds[name])}, got nothing ({place}); "
                f"add {name} = {_literal(example(item, kinds[name]))}"
            )
    return values


def _value(name: str, given: Given, item: Any, kind: object) -> object:
    if not is_settable(kind):
        if given.source == "keyword":
            return given.value
        raise ConfigError(
            f"{name}: expected a keyword argument, got {given.value!r} ({given.place}); "
            "this setting takes an object, so it can only be given in the program"
        )
    try:
        return convert(given.value, item, kind, text=given.source == "environment")
    except Mismatch as mismatch:
        good = example(item, kind)
        write = {
            "keyword": f"{item.name}={good!r}",
            "environment": f"{given.place.removeprefix('environment ')}={_plain(good)}",
            "file": f"{item.name} = {_literal(good)}",
        }[given.source]
        raise ConfigError(
            f"{name}: expected {mismatch}, got {given.value!r} ({given.place}); write for example {write}"
        ) from None


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _literal(value: object) -> str:
    """As TOML writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return f'"{value}"' if isinstance(value, str) else _plain(value)
