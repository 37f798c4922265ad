"""The three characters of a mock queue's descriptor, against real epoll sets."""

import select
import time
from collections.abc import Iterator

import pytest

from wdasync.testing._wake import Alarm, Readiness, Wake, epoll_sets


@pytest.fixture(params=[readiness for readiness in Readiness if readiness is not Readiness.NEVER])
def wake(request: pytest.FixtureRequest) -> Iterator[Wake]:
    made = Wake(request.param)
    yield made
    made.close()


def made(readiness: Readiness) -> Iterator[Wake]:
    wake = Wake(readiness)
    yield wake
    wake.close()


@pytest.fixture
def consuming() -> Iterator[Wake]:
    yield from made(Readiness.CONSUMING)


@pytest.fixture
def level() -> Iterator[Wake]:
    yield from made(Readiness.LEVEL)


@pytest.fixture
def edge() -> Iterator[Wake]:
    yield from made(Readiness.EDGE)


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    with select.epoll() as made:
        yield made


def readable(epoll: select.epoll) -> bool:
    return bool(epoll.poll(0))


def test_it_is_silent_unless_armed(wake: Wake, epoll: select.epoll) -> None:
    epoll.register(wake.fileno(), select.EPOLLIN)
    wake.ring()
    assert not readable(epoll)
    assert (wake.count, wake.eaten) == (0, 0)


def test_it_rings_once_for_each_arm(wake: Wake, epoll: select.epoll) -> None:
    epoll.register(wake.fileno(), select.EPOLLIN)
    wake.arm()
    wake.ring()
    assert readable(epoll)
    wake.touched(empty=True)
    wake.ring()
    assert not readable(epoll)
    wake.arm()
    wake.ring()
    assert readable(epoll)
    assert wake.count == 2


def test_level_stays_while_completions_are_left(level: Wake, epoll: select.epoll) -> None:
    epoll.register(level.fileno(), select.EPOLLIN)
    level.arm()
    level.ring()
    level.touched(empty=False)
    assert readable(epoll)
    level.touched(empty=True)
    assert not readable(epoll)


def test_edge_goes_with_the_first_touch(edge: Wake, epoll: select.epoll) -> None:
    epoll.register(edge.fileno(), select.EPOLLIN)
    edge.arm()
    edge.ring()
    edge.touched(empty=False)
    assert not readable(epoll)


@pytest.mark.parametrize("readiness", [Readiness.LEVEL, Readiness.EDGE])
def test_an_event_before_the_registration_is_told(readiness: Readiness, epoll: select.epoll) -> None:
    (wake,) = [Wake(readiness)]
    wake.arm()
    wake.ring()
    epoll.register(wake.fileno(), select.EPOLLIN)
    assert readable(epoll)
    wake.close()


def test_consuming_loses_an_event_before_the_registration(consuming: Wake, epoll: select.epoll) -> None:
    consuming.arm()
    consuming.ring()
    epoll.register(consuming.fileno(), select.EPOLLIN)
    assert not readable(epoll)
    assert (consuming.count, consuming.eaten) == (0, 1)


def test_consuming_loses_an_event_before_the_mod_of_a_one_shot(consuming: Wake, epoll: select.epoll) -> None:
    epoll.register(consuming.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
    consuming.arm()
    consuming.ring()
    assert readable(epoll)
    consuming.touched(empty=True)
    consuming.arm()
    consuming.ring()  # The registration has fired, and its MOD comes too late.
    epoll.modify(consuming.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
    assert not readable(epoll)
    assert (consuming.count, consuming.eaten) == (1, 1)


def test_consuming_loses_to_a_second_poller(consuming: Wake, epoll: select.epoll) -> None:
    epoll.register(consuming.fileno(), select.EPOLLIN)
    with select.epoll() as other:
        other.register(consuming.fileno(), select.EPOLLIN)
        assert epoll_sets(consuming.fileno()) == sorted([epoll.fileno(), other.fileno()])
        consuming.arm()
        consuming.ring()
        assert not readable(epoll)
    consuming.arm()
    consuming.ring()
    assert readable(epoll)


def test_consuming_loses_in_a_nested_set(consuming: Wake, epoll: select.epoll) -> None:
    epoll.register(consuming.fileno(), select.EPOLLIN)
    with select.epoll() as outer:
        outer.register(epoll.fileno(), select.EPOLLIN)
        consuming.arm()
        consuming.ring()
        assert not readable(epoll)


def test_a_broken_device_never_rings(epoll: select.epoll) -> None:
    wake = Wake(Readiness.NEVER)
    epoll.register(wake.fileno(), select.EPOLLIN)
    wake.arm()
    wake.ring()
    assert not readable(epoll)
    assert wake.eaten == 1
    wake.close()


def test_ringing_after_close_is_harmless(wake: Wake) -> None:
    wake.arm()
    wake.close()
    wake.ring()
    assert wake.count == 0


def test_alarms_come_in_the_order_of_their_times() -> None:
    alarm, seen = Alarm(), []
    now = time.monotonic()
    alarm.at(now + 0.02, lambda: seen.append("second"))
    alarm.at(now + 0.01, lambda: seen.append("first"))
    while len(seen) < 2:
        time.sleep(0.001)
    alarm.at(time.monotonic(), lambda: seen.append("third"))  # Its thread had ended: another one is made.
    while len(seen) < 3:
        time.sleep(0.001)
    assert seen == ["first", "second", "third"]


def test_cancelled_alarms_do_not_come() -> None:
    alarm, seen = Alarm(), []
    alarm.at(time.monotonic() + 0.01, lambda: seen.append("cancelled"))
    alarm.cancel()
    alarm.at(time.monotonic() + 0.03, lambda: seen.append("kept"))
    while not seen:
        time.sleep(0.001)
    assert seen == ["kept"]


def test_an_alarm_that_never_comes() -> None:
    alarm, seen = Alarm(), []
    alarm.at(1e300, lambda: seen.append("never"))
    alarm.at(time.monotonic() + 0.02, lambda: seen.append("soon"))
    while not seen:
        time.sleep(0.001)
    alarm.cancel()
    assert seen == ["soon"]
