"""The arrows: who may know whom. Read from the source of each file, imports inside functions included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

# What a backend may know of the framework. Nothing more is promised to a stranger's, so ours get no more.
CONTRACT = {"backend", "buffers", "errors", "faults", "operations", "paged", "statistics"}
MACHINERY = {
    "config", "dispatch", "eventloop", "execution", "forks", "numa", "opener", "queue_counts", "recovery",
    "registry", "results", "scheduling", "sources", "tinywork", "values"
}  # fmt: skip
FRONT = {
    "accelerator",
    "ciphers",
    "companions",
    "cryptowork",
    "digesters",
    "keyhandles",
    "memorywork",
    "publickeys",
    "sequences",
    "defaults",
    "handover",
    "lifecycle",
    "pollmode",
    "sessions",
    "streams",
}

# Each room of wdasync/ and the other rooms that it may know. A new room needs a line here.
ROOMS = {
    **dict.fromkeys(CONTRACT, CONTRACT),
    "values": set[str](),
    "gzipheader": {"buffers", "errors"},
    "dictionarycoding": CONTRACT | {"accelerator", "eventloop"},
    "numa": set(),
    "queue_counts": {"backend", "operations"},
    "registry": CONTRACT,
    "sources": CONTRACT | {"registry", "values"},
    "config": CONTRACT | {"queue_counts", "registry", "sources", "values"},
    "eventloop": {"errors"},
    "dispatch": CONTRACT | {"eventloop"},
    "scheduling": CONTRACT | {"config", "dispatch", "numa", "registry"},
    "forks": {"errors"},
    "results": CONTRACT | {"scheduling"},
    "opener": CONTRACT | {"dispatch", "eventloop", "scheduling"},
    "recovery": CONTRACT | {"dispatch", "eventloop", "opener", "scheduling"},
    "tinywork": CONTRACT | {"dispatch", "eventloop", "execution", "forks", "scheduling"},
    "execution": CONTRACT | MACHINERY,
    **dict.fromkeys(FRONT, CONTRACT | MACHINERY | FRONT),
    "__init__": CONTRACT | MACHINERY | FRONT | {"gzipheader"},
    "integrations": CONTRACT | FRONT | {"wdasync"},
    "testing": CONTRACT | MACHINERY | FRONT | {"wdasync"},
    "cli": CONTRACT | MACHINERY | FRONT | {"wdasync"},
    "__main__": {"cli"},
}

# Each plug-in and the other plug-ins that it may know: the emulated chip offers the kernel's file interface
# to the driver that runs on silicon, and borrows the CPU backend's codec workers.
PLUG_INS = {
    "wdasync_cpu": set[str](),
    "wdasync_uacce": set[str](),
    "wdasync_hip08": {"wdasync_uacce", "wdasync_cpu"},
}

# Packages that only some rooms may know. A command module of a plug-in counts as the room "commands".
ANYIO = FRONT | {
    "dispatch",
    "eventloop",
    "paged",
    "errors",
    "execution",
    "faults",
    "integrations",
    "recovery",
    "testing",
    "cli",
    "commands",
    *PLUG_INS,
}
CONFINED = {
    "asyncio": {"eventloop", "testing", "cli"},
    "trio": {"eventloop", "testing", "cli"},
    "uvloop": {"eventloop", "testing", "cli"},
    "anyio": ANYIO,
    "click": {"cli", "commands"},
    "rich": {"cli", "commands"},
    "pytest": {"testing"},
    "aiohttp": {"integrations"},
    "starlette": {"integrations"},
}


def imports(tree: ast.Module, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a module of that package imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def names_in_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that is not a docstring or a comment's stand-in."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def room_of(name: list[str]) -> str:
    """The room that a dotted name of the framework lies in; "wdasync" for its public names."""
    return name[1] if len(name) > 1 and name[1] in ROOMS else "wdasync"


def complaint(room: str, owner: str, name: str) -> str:
    """What is wrong with an import of that name in a room of the owner (a package, or "examples")."""
    parts = name.split(".")
    top = parts[0]
    if top in PLUG_INS and top != owner and top not in PLUG_INS.get(owner, set()):
        return f"{owner} must not know {top}"
    if (
        top == "wdasync"
        and owner == "wdasync"
        and room_of(parts) not in ROOMS.get(room, {room_of(parts)}) | {room}
    ):
        return f"wdasync.{room} must not know {room_of(parts)}"
    if top == "wdasync" and owner in PLUG_INS and room != "commands" and room_of(parts) not in CONTRACT:
        return f"a backend must not know {name}"
    if owner != "examples" and room not in CONFINED.get(top, {room}):
        return f"{top} must not be known here"
    return ""


def violations(checkout: Path) -> list[str]:
    """Each import below the checkout that no arrow allows: file, line, what is wrong."""
    found = []
    roots = {"wdasync": checkout, "examples": checkout, **dict.fromkeys(PLUG_INS, checkout / "backends")}
    for owner, root in roots.items():
        for path in sorted((root / owner).rglob("*.py")):
            inside = path.relative_to(root).with_suffix("").parts
            tree = ast.parse(path.read_text())
            room = inside[1] if owner == "wdasync" else owner
            if owner in PLUG_INS and inside[1] == "commands":
                room = "commands"
            problems = [
                (line, complaint(room, owner, name)) for line, name in imports(tree, list(inside[:-1]))
            ]
            if owner == "wdasync":
                if room not in ROOMS:
                    problems = [(1, f"{room} has no place in the house: give it a line in ROOMS")]
                problems += [
                    (line, f"wdasync names {plug_in}")
                    for line, text in names_in_strings(tree)
                    for plug_in in PLUG_INS
                    if plug_in in text
                ]
            found += [f"{path.relative_to(checkout)}:{line}: {text}" for line, text in problems if text]
    return found


def test_no_import_without_an_arrow() -> None:
    assert violations(CHECKOUT) == []


def test_every_room_is_seen() -> None:
    """The checker reads this checkout, not an empty folder."""
    read = {path.relative_to(CHECKOUT / "wdasync").parts[0] for path in (CHECKOUT / "wdasync").rglob("*.py")}
    assert {"backend.py", "eventloop", "dispatch"} <= read


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("wdasync/registry.py", "import wdasync_cpu", "wdasync must not know wdasync_cpu"),
        ("wdasync/cli/demo.py", "def f():\n    from wdasync_hip08 import x", "wdasync must not know wdasync_hip08"),
        ("wdasync/registry.py", "import_module('wdasync_cpu')", "wdasync names wdasync_cpu"),
        ("wdasync/errors.py", "from .accelerator import Accelerator", "wdasync.errors must not know accelerator"),
        ("wdasync/dispatch/lane.py", "from .. import config", "wdasync.dispatch must not know config"),
        ("wdasync/dispatch/lane.py", "from ..registry import f", "wdasync.dispatch must not know registry"),
        ("wdasync/dispatch/lane.py", "import wdasync", "wdasync.dispatch must not know wdasync"),
        ("wdasync/dispatch/lane.py", "async def f():\n    import asyncio", "asyncio must not be known here"),
        ("wdasync/accelerator.py", "from trio.lowlevel import x", "trio must not be known here"),
        ("wdasync/scheduling.py", "import anyio.abc", "anyio must not be known here"),
        ("wdasync/attic.py", "from . import errors", "attic has no place in the house"),
        ("backends/wdasync_cpu/ring.py", "import wdasync_uacce.files", "wdasync_cpu must not know wdasync_uacce"),
        ("backends/wdasync_uacce/qm.py", "from wdasync_hip08 import x", "wdasync_uacce must not know wdasync_hip08"),
        ("backends/wdasync_cpu/ring.py", "from wdasync import Accelerator", "must not know wdasync.Accelerator"),
        ("backends/wdasync_cpu/ring.py", "from wdasync import config", "a backend must not know wdasync.config"),
        ("backends/wdasync_cpu/ring.py", "from wdasync.dispatch.lane import x", "must not know wdasync.dispatch"),
        ("backends/wdasync_hip08/model.py", "import asyncio", "asyncio must not be known here"),
        ("backends/wdasync_hip08/model.py", "import rich.table", "rich must not be known here"),
        ("examples/web.py", "import wdasync_cpu", "examples must not know wdasync_cpu"),
    ],
)  # fmt: skip
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, expected: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:")
    assert expected in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("wdasync/cli/demo.py", "import asyncio, click, wdasync\nfrom .. import registry"),
        ("wdasync/eventloop/_trio.py", "import trio\nfrom . import x\nfrom ..errors import y"),
        (
            "wdasync/dispatch/lane.py",
            '"""Unlike wdasync_cpu."""\nfrom .flight import x\nfrom ..backend import y',
        ),
        (
            "backends/wdasync_hip08/chip.py",
            "from wdasync_uacce.files import x\nfrom wdasync import backend, errors",
        ),
        ("backends/wdasync_hip08/commands.py", "import click\nimport wdasync"),
        ("examples/web.py", "import asyncio, starlette, wdasync"),
    ],
)
def test_an_allowed_import_is_not(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert violations(tmp_path) == []
