"""A device's attributes in sysfs, as a table: where each is found, and what it means.

The directory ``/sys/class/uacce`` has an entry for each function. Its files were spelt differently over the years: the first
WarpDrive kept them in ``attrs/``, and named the NUMA node itself, for which today's kernel has the parent device's own
attribute. Some are there only when they mean something: a region without size has none, and isolation needs a driver
that knows it. So nothing here is required, nothing raises, and what is missing or cannot be read is told as a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from .files import NodeFlag, NodeInfo

__all__ = ["ATTRIBUTES", "TOLD", "Attribute", "read_node"]

#: Longer attributes are none.
_LONGEST: Final = 4096


class Attribute(NamedTuple):
    """One field of :class:`~wdasync_uacce.NodeInfo`.

    :ivar field: its name there
    :ivar paths: where its text is, relative to the entry; the first that can be read counts
    :ivar parse: makes its value from the text
    :ivar otherwise: its value when it is missing or wrong
    :ivar needed: a driver cannot do without
    """

    field: str
    paths: tuple[str, ...]
    parse: Callable[[str], Any]
    otherwise: Any
    needed: bool = False


def _spelt(name: str) -> tuple[str, ...]:
    return name, f"attrs/{name}"


def _size(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _numa_node(text: str) -> int | None:
    number = int(text)
    return None if number < 0 else number


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ATTRIBUTES: Final = (
    Attribute("api", _spelt("api"), str, "", True),
    Attribute("flags", _spelt("flags"), lambda text: NodeFlag(_size(text)), NodeFlag(0), True),
    Attribute("algorithms", _spelt("algorithms"), _lines, (), True),
    Attribute("available_instances", _spelt("available_instances"), int, 0, True),
    Attribute("mmio_size", _spelt("region_mmio_size"), _size, 0, True),
    Attribute("dus_size", _spelt("region_dus_size"), _size, 0, True),
    Attribute("numa_node", ("device/numa_node", *_spelt("node_id")), _numa_node, None),
    Attribute("isolated", _spelt("isolate"), lambda text: bool(_size(text)), False),
    Attribute("isolate_strategy", _spelt("isolate_strategy"), _size, None),
)

#: What no driver needs, but people may want to see: of the first WarpDrive, and of later drivers.
TOLD: Final = ("numa_distance", "dev_state", "dev_usage")


def read_node(entry: Path) -> NodeInfo:
    """A device as the files below its entry tell it. Never raises."""
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    problems: list[str] = []
    for attribute in ATTRIBUTES:
        name = Path(attribute.paths[0]).name
        values[attribute.field] = attribute.otherwise
        text = _first(entry, attribute.paths)
        if text is None:
            if attribute.needed:
                problems.append(f"{name} is missing")
            continue
        texts[name] = text
        try:
            values[attribute.field] = attribute.parse(text)
        except ValueError:
            problems.append(f"{name}: expected a number, got {text[:40]!r}")
    for name in TOLD:
        if text := _first(entry, _spelt(name)):
            texts[name] = text
    return NodeInfo(entry.name, **values, attributes=_described(texts), problems=tuple(problems))


def _described(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: ", ".join(text.splitlines()) for name, text in texts.items()}


def _first(entry: Path, paths: tuple[str, ...]) -> str | None:
    for path in paths:
        try:
            with entry.joinpath(path).open(encoding="ascii", errors="replace") as file:
                return file.read(_LONGEST).strip()
        except OSError:
            continue
    return None
