"""Two invented backends, so that these tests know every option there is."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from wdasync import registry
from wdasync.errors import BackendUnavailable, ConfigError

if TYPE_CHECKING:
    from fractions import Fraction  # An annotation whose name exists for type checkers only.


class Residency(enum.Enum):
    MIRROR = 1
    ALWAYS_COLD = 2


@dataclass(frozen=True)
class ChipOptions:
    workers: int = field(default=1, metadata={"help": "threads", "least": 1, "most": 64})
    scale: float = 1.0
    pin: bool = False
    residency: Residency = Residency.MIRROR
    nodes: tuple[str, ...] = ()
    seed: int | None = None
    flavour: str = field(default="plain", metadata={"choices": ("plain", "salted")})
    mode: Literal["ring", "poll"] = "ring"
    clock: Callable[[], int] | None = None
    tick: "Fraction | None" = None

    def __post_init__(self) -> None:
        if self.seed == -1:
            raise ConfigError("chip-9.seed: this one is taken")
        if self.pin and self.seed == 0:
            raise ValueError("pin: expected False with seed 0, got True; give another seed")


@dataclass(frozen=True)
class ThreadOptions:
    workers: int = 2
    name: str = "worker"
    token: str = field(default="", init=False)


class Invented:
    def __init__(self, name: str, options: type[Any]) -> None:
        self.name = name
        self.Options = options


BACKENDS = {"chip-9": Invented("chip-9", ChipOptions), "threads": Invented("threads", ThreadOptions)}


def get_backend(name: str) -> Invented:
    if name == "broken":
        raise BackendUnavailable("backend 'broken' cannot be imported: no libchip; reinstall the package")
    return BACKENDS[name]


@pytest.fixture(autouse=True)
def _invented_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "backend_names", lambda: ("broken", *BACKENDS))
    monkeypatch.setattr(registry, "get_backend", get_backend)
