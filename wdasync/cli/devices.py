"""``wdasync devices``: who could do the work here, without opening anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import click
from rich.table import Table

from .. import numa, registry
from ..backend import Backend, DeviceInfo
from ..errors import BackendUnavailable
from .output import console, json_option, show, table, write_json

__all__ = ["devices"]

#: Of a memory node, as :mod:`wdasync.numa` has it.
Distance = Callable[[int | None], int]


@click.command(short_help="Show the devices of all installed backends.")
@json_option
def devices(as_json: bool) -> None:
    """Show the devices of all installed backends.

    Nothing is opened: `wdasync doctor` tells whether they work.
    """
    found = {name: _look(name) for name in registry.backend_names()}
    machine = numa.Topology.read(numa.SYSFS)
    distance = partial(machine.distance, machine.home(numa.Whereabouts.now()))
    if as_json:
        write_json({"backends": [_document(name, outcome, distance) for name, outcome in found.items()]})
        return
    rows = table("Backend", "Device", ("Node", "right"), ("Distance", "right"), "Chosen", "What it is")
    for name, outcome in found.items():
        _add(rows, name, outcome, distance)
    out = console()
    show(out, rows)
    out.print(
        "Distance: from here to the device's memory node, 10 is the same node; the nearest are used first."
    )


def _look(name: str) -> Backend | str:
    """The backend, or why it cannot be used."""
    try:
        backend = registry.get_backend(name)
        backend.devices()
    except BackendUnavailable as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a stranger's code; the contract says that it never raises
        return f"devices raised {type(error).__name__}: {error}"
    return backend


def _chosen(backend: Backend) -> str:
    if backend.automatic is None:
        return "by name"
    return "as fallback" if backend.fallback else "automatically"


def _add(rows: Table, name: str, outcome: Backend | str, distance: Distance) -> None:
    add = rows.add_row
    if isinstance(outcome, str):
        add(name, "–", "–", "–", "–", outcome)
        return
    infos = outcome.devices()
    if not infos:
        add(name, "none here", "–", "–", _chosen(outcome), f"`wdasync doctor -b {name}` says why")
    for info in infos:
        node = "any" if info.numa_node is None else str(info.numa_node)
        add(name, info.name, node, str(distance(info.numa_node)), _chosen(outcome), _describe(info))


def _describe(info: DeviceInfo) -> str:
    attributes = ", ".join(" ".join([key, *value.split()]) for key, value in info.attributes.items())
    return "; ".join(filter(None, [info.description, attributes]))


def _document(name: str, outcome: Backend | str, distance: Distance) -> dict[str, object]:
    if isinstance(outcome, str):
        return {"name": name, "error": outcome, "devices": []}
    infos = [dataclasses.asdict(info) | {"distance": distance(info.numa_node)} for info in outcome.devices()]
    return {
        "name": name,
        "error": None,
        "automatic": outcome.automatic,
        "fallback": outcome.fallback,
        "devices": infos,
    }
