"""``devices``."""

import json
from collections.abc import Sequence

import pytest

from tests.cli.conftest import Invoke
from wdasync import numa, registry
from wdasync.backend import DeviceInfo
from wdasync.errors import BackendUnavailable


class Invented:
    def __init__(self, automatic: int | None, fallback: bool, infos: Sequence[DeviceInfo]) -> None:
        self.automatic = automatic
        self.fallback = fallback
        self._infos = infos

    def devices(self) -> Sequence[DeviceInfo]:
        return self._infos


BACKENDS = {
    "chip": Invented(
        5, False, [DeviceInfo("chip", "chip-0", "a chip", 1, {"rev": "b\nc\n"}), DeviceInfo("chip", "chip-1")]
    ),
    "empty": Invented(None, False, []),
    "threads": Invented(0, True, [DeviceInfo("threads", "all", "worker threads")]),
}


@pytest.fixture(autouse=True)
def _invented(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_backend(name: str) -> Invented:
        if name == "broken":
            raise BackendUnavailable("no libchip")
        return BACKENDS[name]

    monkeypatch.setattr(registry, "backend_names", lambda: ("broken", *BACKENDS))
    monkeypatch.setattr(registry, "get_backend", get_backend)
    two = numa.Topology({0: frozenset({0}), 1: frozenset({1})}, {0: (10, 21), 1: (21, 10)})
    monkeypatch.setattr(numa.Topology, "read", lambda _: two)
    monkeypatch.setattr(numa.Whereabouts, "now", lambda: numa.Whereabouts(frozenset({0}), 0))


def test_the_table(invoke: Invoke) -> None:
    result = invoke("devices", COLUMNS="200")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "broken – – – – no libchip" in lines
    assert "chip chip-0 1 21 automatically a chip; rev b c" in lines
    assert "chip chip-1 any 10 automatically" in lines
    assert "empty none here – – by name `wdasync doctor -b empty` says why" in lines
    assert "threads all any 10 as fallback worker threads" in lines


def test_it_fits_a_terminal(invoke: Invoke) -> None:
    assert max(map(len, invoke("devices").output.splitlines())) <= 80


def test_the_document(invoke: Invoke) -> None:
    found = {
        backend["name"]: backend for backend in json.loads(invoke("devices", "--json").output)["backends"]
    }
    assert found["broken"] == {"name": "broken", "error": "no libchip", "devices": []}
    assert found["empty"]["devices"] == []
    assert found["threads"]["fallback"] is True
    assert found["chip"]["automatic"] == 5
    assert found["chip"]["devices"][0] == {
        "backend": "chip",
        "name": "chip-0",
        "description": "a chip",
        "numa_node": 1,
        "distance": 21,
        "attributes": {"rev": "b\nc\n"},
    }


@pytest.mark.parametrize("columns", ["0", "1", "40"])
def test_no_terminal_is_too_narrow(invoke: Invoke, columns: str) -> None:
    """It divides the lines, and no name or number is divided by us."""
    assert invoke("devices", COLUMNS=columns).output == invoke("devices", COLUMNS="80").output
