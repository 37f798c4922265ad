"""The schedule: rules in order, conditions fixed and changing, and the reason of each choice."""

from typing import Any, ClassVar

import pytest

import wdasync
from wdasync import Capabilities, Capability, Compress, Config, Kind, Priority, Reason, Rule
from wdasync.scheduling import Place, Schedule


class Device:
    """As much of a device as the schedule asks for."""

    def __init__(self, name: str, *rows: Capability) -> None:
        self.info = wdasync.backend.DeviceInfo("", name)
        self.capabilities = Capabilities(rows)
        self.lost: str | None = None


class Lane:
    """As much of a lane."""

    def __init__(self, load: int = 0) -> None:
        self.load = load
        self.parked = 0
        self.depth = 100
        self.state = wdasync.dispatch.LaneState.OPEN
        self.reason = ""

    def lose(self, reason: str) -> None:
        self.state, self.reason = wdasync.dispatch.LaneState.LOST, reason


GZIP = Capability(Kind.COMPRESS, "gzip")


@pytest.fixture
def chip() -> Place:
    return place("chip", Capability(Kind.COMPRESS, "gzip", max_input=10_000, window=14, levels=(0, 5)))


@pytest.fixture
def cpu() -> Place:
    return place("cpu", GZIP, Capability(Kind.COMPRESS, "br", scale=(0, 11)))


def place(backend: str, *rows: Capability, name: str = "0") -> Place:
    made = Place(backend, Device(name, *rows))  # type: ignore[arg-type]
    made.put(("", Priority.NORMAL, ""), [Lane()])  # type: ignore[list-item]
    return made


def choose(places: list[Place], *rules: Rule, size: int = 100, algorithm: str = "gzip", **how: Any) -> Any:
    schedule = Schedule(places, Config(policy=rules))
    given = {name: how.pop(name) for name in ("level", "window") if name in how}
    operation = Compress(bytes(size), algorithm, **given)
    chosen, _, reason = schedule.choose(operation, how.pop("priority", Priority.NORMAL), **how)
    return chosen.name, reason


def test_the_first_that_can_do_it(chip: Place, cpu: Place) -> None:
    assert choose([chip, cpu]) == ("chip/0", Reason.PREFERRED)
    assert choose([cpu, chip]) == ("cpu/0", Reason.PREFERRED)
    assert choose([chip, cpu], algorithm="br") == ("cpu/0", Reason.UNSUPPORTED)


def test_a_device_s_own_limit(chip: Place, cpu: Place) -> None:
    assert choose([chip, cpu], size=10_000) == ("chip/0", Reason.PREFERRED)
    assert choose([chip, cpu], size=10_001) == ("cpu/0", Reason.SIZE)
    with pytest.raises(wdasync.UnsupportedOperation, match=r"no backend takes 10001 bytes.*use a stream"):
        choose([chip], size=10_001)


def test_a_window(chip: Place, cpu: Place) -> None:
    assert choose([chip, cpu], window=14) == ("chip/0", Reason.PREFERRED)
    assert choose([chip, cpu], window=15) == ("cpu/0", Reason.UNSUPPORTED)
    with pytest.raises(wdasync.UnsupportedOperation, match=r"no backend has a window of 2\*\*15"):
        choose([chip], window=15)


@pytest.mark.parametrize(
    ("rule", "how", "expected"),
    [
        (Rule("cpu", min_size=50), {"size": 100}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", min_size=200), {"size": 100}, ("chip/0", Reason.SIZE)),
        (Rule("cpu", max_size=200), {"size": 100}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", max_size=50), {"size": 100}, ("chip/0", Reason.SIZE)),
        (Rule("cpu", operation="compress"), {}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", operation="decompress"), {}, ("chip/0", Reason.PREFERRED)),
        (Rule("cpu", levels=("best", 5)), {"level": 5}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", levels=("best", 5)), {"level": "fast"}, ("chip/0", Reason.POLICY)),
        (Rule("cpu", max_window=12), {"window": 12}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", max_window=12), {"window": 13}, ("chip/0", Reason.POLICY)),
        (Rule("cpu", priority="high"), {"priority": Priority.HIGH}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", priority="high"), {"priority": Priority.LOW}, ("chip/0", Reason.POLICY)),
        (Rule("cpu", min_deadline=0.1), {"timeout": 1.0}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", min_deadline=0.1), {"timeout": None}, ("cpu/0", Reason.PREFERRED)),
        (Rule("cpu", min_deadline=0.1), {"timeout": 0.01}, ("chip/0", Reason.DEADLINE)),
    ],
)
def test_each_condition_of_a_rule(
    chip: Place, cpu: Place, rule: Rule, how: dict[str, Any], expected: tuple[str, Reason]
) -> None:
    assert choose([chip, cpu], rule, **how) == expected


@pytest.mark.parametrize(("load", "expected"), [(50, "cpu/0"), (51, "chip/0")])
def test_load_spills_over(chip: Place, cpu: Place, load: int, expected: str) -> None:
    cpu.every[0].load = load  # type: ignore[misc]
    assert choose([chip, cpu], Rule("cpu", max_load=0.5))[0] == expected
    if load > 50:
        assert choose([chip, cpu], Rule("cpu", max_load=0.5))[1] is Reason.LOAD


def test_rules_in_order(chip: Place, cpu: Place) -> None:
    rules = (Rule("cpu", max_size=10), Rule("chip", max_size=100), Rule("cpu"))
    assert choose([chip, cpu], *rules, size=5) == ("cpu/0", Reason.PREFERRED)
    assert choose([chip, cpu], *rules, size=50) == ("chip/0", Reason.SIZE)
    assert choose([chip, cpu], *rules, size=500) == ("cpu/0", Reason.SIZE)


def test_a_lost_device(chip: Place, cpu: Place) -> None:
    chip.device.lost = "unplugged"  # type: ignore[misc]
    assert choose([chip, cpu]) == ("cpu/0", Reason.DEVICE_LOST)
    assert chip.every[0].reason == "unplugged", "noticed, though it had nothing to do"
    with pytest.raises(wdasync.DeviceError, match=r"every device .* is lost .chip/0: unplugged"):
        choose([chip])


def test_the_least_loaded_of_equals() -> None:
    places = [place("chip", GZIP, name=str(number)) for number in range(3)]
    for made, load in zip(places, (5, 2, 9), strict=True):
        made.every[0].load = load  # type: ignore[misc]
    assert choose(places)[0] == "chip/1"
    assert choose(places, avoid=[places[1]])[0] == "chip/0"


def test_queues_that_are_away_have_no_free_slots() -> None:
    """What is lost does not count; what is being opened again is full."""
    key = ("", Priority.NORMAL, "")
    made = Place("chip", Device("0", GZIP))  # type: ignore[arg-type]
    made.put(key, [Lane(80), Lane(0), Lane(0)])  # type: ignore[list-item]
    open_lane, lost, resetting = made.every
    assert (made.load, made.full(key)) == (80 / 300, False)
    lost.lose("broken")
    assert (made.load, made.full(key)) == (80 / 200, False)
    resetting.state, resetting.parked = wdasync.dispatch.LaneState.RESETTING, 10
    assert (made.load, made.full(key)) == ((80 + 100 + 10) / 200, False)
    open_lane.load = 100  # type: ignore[misc]
    assert (made.load, made.full(key)) == (210 / 200, True)
    open_lane.lose("broken")
    assert (made.load, made.full(key)) == (110 / 100, True), "whoever comes waits"
    resetting.lose("broken")
    assert made.load == 0, "it is not asked"


def test_a_farther_device_when_what_is_left_of_the_near_one_is_full() -> None:
    near, far = place("chip", GZIP, name="near"), place("chip", GZIP, name="far")
    far.distance = 20
    near.put(("", Priority.NORMAL, ""), [Lane(100), Lane(0)])  # type: ignore[list-item]
    near.every[1].lose("broken")
    assert choose([near, far]) == ("chip/far", Reason.LOAD)


def test_levels_outside_of_every_scale(chip: Place, cpu: Place) -> None:
    assert choose([chip, cpu], level=9)[0] == "chip/0", "its device takes the nearest that it has"
    with pytest.raises(wdasync.InvalidArgument, match=r"level: expected 0\.\.9"):
        choose([chip, cpu], level=10)


def test_nobody_has_the_algorithm(chip: Place) -> None:
    with pytest.raises(wdasync.UnsupportedOperation, match=r"compress: expected one of gzip, got 'br'"):
        choose([chip], algorithm="br")


def test_nobody_does_such_work() -> None:
    idle = place("keys", Capability(Kind.SIGN, "rsa"))
    with pytest.raises(
        wdasync.UnsupportedOperation,
        match=r"compress: expected a device that does such work, and there is none",
    ):
        choose([idle])


def test_what_to_install_to_have_the_algorithm(chip: Place, cpu: Place) -> None:
    class Poor(Device):
        lacking: ClassVar[dict[str, str]] = {"br": "pip install Brotli"}

    poor = Place("cpu", Poor("1", GZIP))  # type: ignore[arg-type]
    with pytest.raises(wdasync.UnsupportedOperation, match=r"got 'br'; to have it: pip install Brotli; see"):
        choose([chip, poor], algorithm="br")
    with pytest.raises(wdasync.UnsupportedOperation, match=r"got 'gzipp' \(did you mean 'gzip'\?\)"):
        choose([chip, poor], algorithm="gzipp")


def test_reasons_are_named_and_numbered_without_gaps() -> None:
    assert [reason.value for reason in Reason] == list(range(len(Reason)))
