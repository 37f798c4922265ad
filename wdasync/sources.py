"""Where settings are written: a file, environment variables, keywords. Collects them, checks no value.

Each value keeps its origin and its exact place, so that an error about it can say where to look.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from . import registry
from .errors import BackendUnavailable, ConfigError
from .values import settings_of

__all__ = [
    "FILE_NAME",
    "FOREIGN",
    "PREFIX",
    "RESERVED",
    "SHARED",
    "Given",
    "Layers",
    "find_file",
    "options_class",
    "unknown_name",
]

PREFIX: Final = "WDASYNC_"
FILE_NAME: Final = "wdasync.toml"

#: Environment variables that begin like settings and are none: name -> what they are for.
RESERVED: Final[dict[str, str]] = {
    "WDASYNC_CONFIG": "the file with the settings; empty: no file",
    "WDASYNC_DEBUG": "the command line shows tracebacks",
    "WDASYNC_BUILD_NATIVE_CODECS": "build: `0`: of the C libraries only zlib, for tests",
    "WDASYNC_BUILD_SANITIZE": "build: compile the C code with a sanitizer",
    "WDASYNC_BUILD_LINK": "build: link these C libraries, so that they can be put into a wheel",
}


#: Environment variables of others that stand for a setting, if nobody gives that: name -> the setting.
FOREIGN: Final[dict[str, str]] = {"WD_COMP_CTX_NUM": "open_queues"}

#: Settings of the framework that may also stand in the table of a backend. No option of a backend has such a name.
SHARED: Final = ("open_queues",)


class Given(NamedTuple):
    """A value as somebody wrote it.

    :ivar value: as written
    :ivar origin: for :attr:`Effective.origins`
    :ivar place: where exactly, for errors
    :ivar source: the kind of origin
    """

    value: object
    origin: str
    place: str
    source: Literal["keyword", "environment", "file"]


class Layers:
    """What was given so far; a later layer replaces an earlier one, value by value.

    :ivar names: the settings of the framework
    :ivar core: what was given of them
    :ivar tables: backend -> option -> what was given
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.core: dict[str, Given] = {}
        self.tables: dict[str, dict[str, Given]] = {}

    def option(self, backend: str, name: str, given: Given) -> None:
        """Take an option of a backend."""
        self.tables.setdefault(backend, {})[name] = given

    def take_foreign(self, environ: Mapping[str, str]) -> None:
        """Take what users of other libraries have set. Everything of ours beats it."""
        for variable, name in FOREIGN.items():
            if environ.get(variable, "").strip():
                place = f"environment {variable}"
                self.core[name] = Given(environ[variable], place, place, "environment")

    def take_file(self, path: Path) -> None:
        """Take a TOML document."""
        backends = registry.backend_names()
        for key, value in _document(path).items():
            if key in self.names:
                self.core[key] = Given(value, f"file {path}", f"file {path}", "file")
            elif key not in backends:
                known, place = (*self.names, *backends), f"file {path}, top level"
                raise unknown_name(key, known, place, "a setting or an installed backend")
            elif isinstance(value, dict):
                place = f"file {path}, table [{key}]"
                for name, part in value.items():
                    self.option(key, name, Given(part, f"file {path}", place, "file"))
            else:
                raise ConfigError(
                    f"{key}: expected a table, got {value!r} (file {path}); write [{key}], its options below it"
                )

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """Take every variable that begins with ``WDASYNC_``."""
        starts = {_variable(f"{name}_"): name for name in registry.backend_names()}
        for variable in sorted(environ):
            if not variable.startswith(PREFIX) or variable in RESERVED:
                continue
            rest, place = variable.removeprefix(PREFIX), f"environment {variable}"
            given = Given(environ[variable], place, place, "environment")
            owner = max((start for start in starts if rest.startswith(start)), key=len, default=None)
            if rest.lower() in self.names:
                self.core[rest.lower()] = given
            elif owner is not None:
                self.option(starts[owner], rest.removeprefix(owner).lower(), given)
            else:
                raise unknown_name(rest, self._variables(), "environment", "a setting's variable", PREFIX)

    def _variables(self) -> list[str]:
        """Every environment variable that has a meaning, without the prefix."""
        found = [*(name.removeprefix(PREFIX) for name in RESERVED), *map(_variable, self.names)]
        for backend in registry.backend_names():
            found += (_variable(f"{backend}_{name}") for name in _option_names(backend))
        return found

    def take_keywords(self, keywords: Mapping[str, object]) -> dict[str, Given]:
        """Take keywords; what is returned are options whose backend is not known yet."""
        backends, loose = registry.backend_names(), {}
        for name, value in keywords.items():
            given = Given(value, "keyword", "keyword", "keyword")
            if name == "backend" and value is None:
                continue
            if name in self.names:
                self.core[name] = given
            elif name in backends:
                if not isinstance(value, Mapping):
                    raise ConfigError(
                        f"{name}: expected a mapping of the backend's options, got {value!r} (keyword); "
                        f"write for example {name}={{}}, or name the backend: backend={name!r}"
                    )
                for option, part in value.items():
                    self.option(name, option, Given(part, "keyword", f"keyword {name}", "keyword"))
            else:
                loose[name] = given
        return loose

    def take_loose(self, loose: Mapping[str, Given], named: str | tuple[str, ...] | None) -> None:
        """Give each option to its backend.

        :param loose: from :meth:`take_keywords`
        :param named: the backends that were named, best first
        """
        for name, given in loose.items():
            self.option(self._owner(name, named), name, given)

    def _owner(self, option: str, named: str | tuple[str, ...] | None) -> str:
        backends = (named,) if isinstance(named, str) else (named or registry.backend_names())
        for backend in backends if named else ():
            registry.get_backend(
                backend
            )  # One that was named and cannot be imported is the first thing to say.
        owners = [backend for backend in backends if option in _option_names(backend)]
        if not owners:
            known = [*self.names, *(name for backend in backends for name in _option_names(backend))]
            raise unknown_name(
                option, known, "keyword", f"a setting, or an option of {' or '.join(backends)}"
            )
        if named is None and len(owners) > 1:
            raise ConfigError(
                f"{option}: expected an option of one backend, got one of {' and '.join(owners)} (keyword); "
                f"name the backend, or write {owners[0]}={{{option!r}: …}}"
            )
        return owners[0]


def find_file(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file with the settings, if there is one.

    :raises ConfigError: if ``WDASYNC_CONFIG`` names one that is missing
    """
    named = environ.get("WDASYNC_CONFIG")
    if named is None:
        path = cwd / FILE_NAME
        return path if _is_there(path) else None
    if not named:
        return None
    path = cwd / named
    if not _is_there(path):
        raise ConfigError(
            f"WDASYNC_CONFIG: expected the path of a file, got {named!r}, which does not exist in {cwd}; "
            "correct the path, or unset the variable"
        )
    return path


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; see its owner, mode and encoding") from error
    except (ValueError, RecursionError) as error:  # what is too long or too deep is no TOMLDecodeError
        raise ConfigError(f"{path}: expected TOML, got {error}; see https://toml.io") from error


def _is_there(path: Path) -> bool:
    """Whether there is something of that name, if only a link that leads nowhere: reading it says what is wrong.

    :raises ConfigError: if that cannot be known
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}; see its owner, mode and encoding") from error
    return True


def _variable(name: str) -> str:
    return name.replace("-", "_").upper()


def options_class(backend: str) -> type[Any] | None:
    """The options of an installed backend; ``None`` if it cannot be imported, which its opening will say."""
    try:
        return registry.get_backend(backend).Options
    except BackendUnavailable:
        return None


def _option_names(backend: str) -> tuple[str, ...]:
    options = options_class(backend)
    return () if options is None else (*settings_of(options), *SHARED)


def unknown_name(name: str, known: Iterable[str], place: str, what: str, prefix: str = "") -> ConfigError:
    """The error for a name that nobody knows.

    :param known: the names that would have been right
    :param place: where it stands
    :param what: what was expected
    :param prefix: before the name and each of ``known``
    """
    return ConfigError(
        f"{prefix}{name}: expected {what}, got an unknown name{registry.nearest(name, known, prefix)} ({place}); "
        "see `python -m wdasync config` for all settings"
    )
