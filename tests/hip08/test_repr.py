"""Every object of the model says what it is and how it is."""

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

import wdasync_hip08
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.memory import PAGE

VA = 0x10_0000

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(wdasync_hip08.__path__, "wdasync_hip08.")
    if not module.name.endswith(("_native", "build_native"))
]

CLASSES = [
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and value.__module__ == module.__name__
]


def speaks(cls: type) -> bool:
    """Whether its objects, if there are any, have a repr of their own."""
    if issubclass(cls, BaseException | enum.Enum) or Protocol in cls.__bases__:
        return True
    return cls.__repr__ is not object.__repr__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_every_class_has_a_repr(cls: type) -> None:
    assert speaks(cls)


def reachable(root: object) -> Iterator[object]:
    """Objects of the model that can be reached from one, through attributes and containers."""
    seen: set[int] = set()
    left: list[Any] = [root]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            left += value
        if type(value).__module__.partition(".")[0] == "wdasync_hip08":
            yield value
            slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
            left += [getattr(value, name, None) for name in slots]
            left += getattr(value, "__dict__", {}).values()


def test_every_object_of_a_machine_tells(new_machine: Any, raw_driver: Any, tmp_path: Any) -> None:
    machine = new_machine(trace=str(tmp_path / "trace.txt"))
    space = machine.new_space("shown", residency=Residency.COLD)
    machine.map_memory(space, VA, 16 * PAGE)
    space.grant(VA, 8 * PAGE, writable=True)
    driver = raw_driver(machine, space=space)
    driver.run(driver.entry(VA, 200, VA + 4 * PAGE, 500))
    machine.timers.after(1, machine.run)
    driver.submit(driver.entry(VA + 12 * PAGE, 200, VA + 4 * PAGE, 500))
    machine.chip.lose["smmu events"] = 1
    machine.run()
    kinds = set()
    for value in reachable([machine.chip, machine.nodes, machine.program, machine.timers]):
        text = repr(value)
        assert " object at 0x" not in text, text
        kinds.add(type(value).__name__)
    assert len(kinds) > 50, kinds
    assert repr(machine).startswith("<Machine on, ")
    assert {"Attachment", "Chip", "Stall", "Task", "Timer", "Frame", "Walker", "HisiQm", "Readiness"} <= kinds
