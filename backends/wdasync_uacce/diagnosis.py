"""What ``wdasync doctor`` says of a machine: from the PCI bus to the first compressed byte, and what to type next.

The order is that of causes: a check that fails explains those below it. Where there is no accelerator at all, nothing
else is asked.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from wdasync.backend import Check
from wdasync.errors import BackendUnavailable

from .device import DRIVERS, driver_of
from .engine_device import EngineDevice
from .errnos import AccessDenied, SharingRefused, UacceError, name_of, row_of
from .files import FileLayer, NodeFlag, NodeInfo
from .host import Function, Host, missing
from .linux import LinuxFiles
from .qm import qm_version
from .trials import try_device

__all__ = ["diagnose"]

#: What to type when a user may not open a node.
_GRANT: Final = (
    "sudo groupadd -f uacce; "
    """echo 'SUBSYSTEM=="uacce", GROUP="uacce", MODE="0660"' | sudo tee /etc/udev/rules.d/70-uacce.rules; """
    "sudo udevadm trigger -s uacce; sudo usermod -aG uacce $USER; then log in again"
)


def diagnose(layer: FileLayer, host: Host | None) -> Iterator[Check]:
    """All checks.

    :param host: the machine; ``None``: the layer's devices are no machine's
    """
    nodes = layer.discover()
    troubles = False
    if host is not None:
        functions = host.functions()
        yield _on_the_bus(functions, nodes)
        if not functions and not nodes:
            return
        for check in _round_it(host, functions, nodes) if functions else ():
            troubles = troubles or bool(check.advice)
            yield check
    yield _devices(nodes, troubles)
    for node in nodes:
        yield from _node(layer, node)


def _devices(nodes: Sequence[NodeInfo], troubles: bool) -> Check:
    if nodes:
        return Check("uacce devices", True, ", ".join(node.name for node in nodes))
    advice = (
        "see what is said above"
        if troubles
        else "sudo modprobe hisi_zip uacce_mode=1, then dmesg | grep -e uacce -e hisi"
    )
    return Check("uacce devices", False, "none in /sys/class/uacce", advice)


# -- the machine ----------------------------------------------------------------------------------------------


def _on_the_bus(functions: Sequence[Function], nodes: Sequence[NodeInfo]) -> Check:
    found = ", ".join(f"{function.engine} at {function.address}" for function in functions)
    if found or nodes:
        return Check(
            "accelerators", True if found else None, found or "none on the PCI bus, but there are nodes"
        )
    return Check(
        "accelerators", False, "none on the PCI bus",
        "nothing, unless this is a Kunpeng: then lspci -d 19e5: should show them; a TaiShan server wants the accelerators' "
        "licence in its iBMC, and a guest a virtual function that is passed in",
    )  # fmt: skip


def _round_it(host: Host, functions: Sequence[Function], nodes: Sequence[NodeInfo]) -> Iterator[Check]:
    yield _options(host)
    for module in dict.fromkeys(function.module for function in functions if function.module in DRIVERS):
        yield _module(host, module, [function for function in functions if function.module == module])
        if host.module(module):
            yield _mode(host, module)
    yield _iommu(host, functions, nodes)


def _options(host: Host) -> Check:
    configuration = host.configuration()
    if configuration is None:
        return Check(
            "kernel options", None, f"neither /proc/config.gz nor /boot/config-{host.release} can be read"
        )
    path, options = configuration
    absent = [f"{option.names[0]} ({option.purpose})" for option in missing(options)]
    if not absent:
        return Check("kernel options", True, f"all that matter are in {path}")
    return Check(
        "kernel options", False, f"not in {path}: {', '.join(absent)}",
        "start a kernel that has them, as openEuler's do, or build one; Debian's for arm64 have no shared addresses",
    )  # fmt: skip


def _module(host: Host, module: str, functions: Iterable[Function]) -> Check:
    name = f"module {module}"
    if not host.module(module):
        return Check(name, False, "not loaded", f"sudo modprobe {module} uacce_mode=1")
    unbound = [function.address for function in functions if not function.bound]
    if unbound:
        return Check(
            name, False, f"it did not take {', '.join(unbound)}", f"dmesg | grep {module}: it says why"
        )
    others = [f"{each.address} ({each.bound})" for each in functions if each.bound != module]
    if others:
        return Check(
            name, None, f"loaded; others have {', '.join(others)}",
            "functions of vfio-pci belong to guests; give one back by driverctl unset-override ADDRESS",
        )  # fmt: skip
    return Check(name, True, "loaded")


def _mode(host: Host, module: str) -> Check:
    name, mode = f"{module} uacce_mode", host.parameter(module, "uacce_mode")
    if mode is None:
        return Check(name, None, "the module has no such parameter, or it cannot be read")
    if mode in ("1", "2"):
        return Check(name, True, "1: shared addresses" if mode == "1" else "2: a reserved region")
    return Check(
        name, False, f"{mode}: the module keeps its queues to the kernel",
        f"echo 'options {module} uacce_mode=1' | sudo tee /etc/modprobe.d/{module}.conf; "
        f"sudo modprobe -r {module}; sudo modprobe {module}",
    )  # fmt: skip


def _iommu(host: Host, functions: Iterable[Function], nodes: Sequence[NodeInfo]) -> Check:
    found = host.iommus()
    outside = [function.address for function in functions if not function.isolated]
    told = [word for word in host.command_line() if "iommu" in word or "smmu" in word]
    words = ", ".join(found) + (f" (started with {' '.join(told)})" if told else "")
    if found and not outside:
        return Check("IOMMU", True, words)
    if found:
        return Check(
            "IOMMU", False, f"{words}; not before {', '.join(outside)}",
            "update the firmware: its tables (ACPI IORT) do not place these functions behind the SMMU",
        )  # fmt: skip
    if nodes and not any(node.flags & NodeFlag.SVA for node in nodes):
        return Check("IOMMU", None, "none, and the devices do without")
    return Check(
        "IOMMU", False, "none" + (f" (started with {' '.join(told)})" if told else ""),
        "switch the SMMU on in the firmware (TaiShan: Advanced, MISC Config, Support Smmu)",
    )  # fmt: skip


# -- a node ---------------------------------------------------------------------------------------------------


def _node(layer: FileLayer, node: NodeInfo) -> Iterator[Check]:
    driver = driver_of(node)
    yield Check(f"{node.name} driver", driver is not None or None, driver.__name__ if driver else "none here")
    if driver is None:
        return
    yield from _attributes(node, driver)
    if isinstance(layer, LinuxFiles):
        yield _file(layer, node)
    if node.isolated:
        yield Check(f"{node.name} open", None, "not tried: it is isolated")
        return
    opened = _open(layer, node)
    yield opened
    if opened.passed:
        yield from _trials(layer, node, driver)


def _attributes(node: NodeInfo, driver: type[EngineDevice]) -> Iterator[Check]:
    name = node.name
    if node.problems:
        yield Check(
            f"{name} attributes", False, "; ".join(node.problems),
            "update the kernel: its driver does not tell what programs need to know",
        )  # fmt: skip
    known = (qm_version(node.api) or 0) >= 2
    yield Check(f"{name} api", known, node.api or "none", "" if known else "hisi_qm_v2 or later is needed")
    yield _algorithms(node, driver)
    free = node.available_instances
    yield Check(
        f"{name} free queues", free > 0, str(free),
        "" if free > 0 else f"close other users of the device: sudo fuser -v /dev/{name}",
    )  # fmt: skip
    yield _isolation(node)
    yield _addresses(node)
    near = (
        "not told: as near to one processor as to another" if node.numa_node is None else str(node.numa_node)
    )
    yield Check(f"{name} NUMA node", None if node.numa_node is None else True, near)
    if not node.dus_size or not node.mmio_size:
        yield Check(
            f"{name} regions", False, f"MMIO {node.mmio_size}, DUS {node.dus_size} bytes",
            f"expected a doorbell and rings: reload the driver's module; dmesg | grep {name.partition('-')[0]}",
        )  # fmt: skip


def _algorithms(node: NodeInfo, driver: type[EngineDevice]) -> Check:
    name, text = f"{node.name} algorithms", " ".join(node.algorithms) or "none"
    if not set(driver.needs).isdisjoint(node.algorithms):
        return Check(name, True, text)
    *others, last = driver.needs
    return Check(
        name, False, text,
        f"expected {', '.join(others)} or {last}: the firmware may have switched the engine's cores off; look at dmesg",
    )  # fmt: skip


def _isolation(node: NodeInfo) -> Check:
    name = f"{node.name} isolation"
    if not node.isolated:
        return Check(name, True, "no")
    limit = "" if node.isolate_strategy is None else f" (limit: {node.isolate_strategy} errors an hour)"
    return Check(
        name, False, f"the kernel took it out of use: it broke too often, or could not be reset{limit}",
        "dmesg | grep hisi: it says what broke; reload the module, or restart the machine",
    )  # fmt: skip


def _addresses(node: NodeInfo) -> Check:
    name = f"{node.name} addresses"
    if node.flags & NodeFlag.SVA:
        return Check(name, True, f"flags {node.flags:d}: shared with the process")
    way = "physical" if node.flags & NodeFlag.NO_IOMMU or node.api.endswith("_noiommu") else "of its own"
    return Check(name, None, f"flags {node.flags:d}: {way}, by copies through a reserved region")


def _file(layer: LinuxFiles, node: NodeInfo) -> Check:
    found = layer.describe(node.name)
    name = f"{node.name} node"
    if found is not None:
        return Check(name, True, found)
    return Check(
        name, False, f"there is no {layer.dev / node.name}",
        f"in a container: start it with --device /dev/{node.name}; else sudo udevadm trigger -s uacce",
    )  # fmt: skip


def _open(layer: FileLayer, node: NodeInfo) -> Check:
    name = f"{node.name} open"
    try:
        layer.open(node.name).close()
    except OSError as error:
        number = error.errno or 0
        cause = error.cause if isinstance(error, UacceError) else row_of(number).cause
        return Check(name, False, f"{name_of(number)}: {cause}", _next(node, error))
    return Check(name, True, "a queue was opened, and given back")


def _next(node: NodeInfo, error: OSError) -> str:
    """What to type next."""
    if isinstance(error, AccessDenied) and error.errno == errno.EACCES:
        return _GRANT
    advice = error.advice if isinstance(error, UacceError) else row_of(error.errno or 0).advice
    if isinstance(error, SharingRefused):
        return f"{advice}; dmesg | grep -i -e smmu -e {node.name.partition('-')[0]}"
    return advice


def _trials(layer: FileLayer, node: NodeInfo, driver: type[EngineDevice]) -> Iterator[Check]:
    try:
        device = driver(layer, node)
    except BackendUnavailable:
        return  # its api is told already
    yield from try_device(device)
