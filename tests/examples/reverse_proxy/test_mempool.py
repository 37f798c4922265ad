"""Pools and their buffers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from examples.reverse_proxy.mempool import Mbuf, Mempool


class Pools(RuleBasedStateMachine):
    """Take, hold and free in any order: never more than there are, never one twice, nothing lost."""

    @initialize(exponent=st.integers(0, 4), cache=st.integers(0, 8))
    def make(self, exponent: int, cache: int) -> None:
        self.pool = Mempool(1 << exponent, 16, headroom=4, cache=cache)
        self.held: list[Mbuf] = []
        self.refused = 0

    @rule()
    def get(self) -> None:
        mbuf = self.pool.get()
        if len(set(self.held)) == self.pool.count:
            assert mbuf is None
            self.refused += 1
        else:
            assert mbuf is not None
            assert mbuf not in self.held
            assert (len(mbuf), mbuf.headroom, mbuf.tailroom, mbuf.references) == (0, 4, 16, 1)
            mbuf.append(3)
            mbuf.prepend(b"ab")
            self.held.append(mbuf)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        self.held.append(data.draw(st.sampled_from(self.held)).hold())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1))).free()

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.in_use == len(set(self.held))
            assert self.pool.exhausted == self.refused
            assert all(mbuf.references == self.held.count(mbuf) for mbuf in self.held)


TestPools = Pools.TestCase


@given(head=st.binary(max_size=12), body=st.binary(max_size=40), dropped=st.integers(0, 60))
def test_a_head_in_front_without_moving_the_body(head: bytes, body: bytes, dropped: int) -> None:
    mbuf = Mempool(1, 32, headroom=8).get()
    assert mbuf is not None
    expected = b""
    if len(body) <= 32:
        mbuf.room()[: len(body)] = body
        mbuf.append(len(body))
        expected = body
    else:
        with pytest.raises(ValueError, match="at most 32 bytes of tailroom"):
            mbuf.append(len(body))
    if len(head) <= 8:
        mbuf.prepend(head)
        expected = head + expected
    else:
        with pytest.raises(ValueError, match="at most 8 bytes of headroom"):
            mbuf.prepend(head)
    if dropped <= len(expected):
        mbuf.drop(dropped)
        expected = expected[dropped:]
    else:
        with pytest.raises(ValueError, match=f"at most {len(expected)} bytes, got {dropped}"):
            mbuf.drop(dropped)
    assert bytes(mbuf.data()) == expected
    assert len(mbuf) == len(expected)
    assert mbuf.headroom + len(mbuf) + mbuf.tailroom == 40


def test_freed_twice() -> None:
    mbuf = Mempool(2, 8).get()
    assert mbuf is not None
    mbuf.free()
    with pytest.raises(RuntimeError, match="freed twice"):
        mbuf.free()


def test_the_last_one_back_is_the_first_one_out() -> None:
    pool = Mempool(64, 8)
    mbuf = pool.get()
    assert mbuf is not None
    mbuf.free()
    assert pool.get() is mbuf
