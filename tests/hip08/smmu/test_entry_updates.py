"""Live entries: a driver changes an STE or CD in steps, and traffic sees the old meaning or the new, and nothing else.

The driver here follows the published rule: bits that nobody reads first, then the one 64-bit word that turns the
meaning, then the rest, with an invalidation and a SYNC after each step that wrote something; where two words that are
in use must change at once, through V=0. What it asks of the hardware is single-copy atomicity of a 64-bit word, and
that nothing of an entry is remembered across its CFGI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .support import CD_TABLES, STREAM_TABLE, VECTORS, Rig, Translated, cmd, make_cd, make_ste, view
from .test_caches import GUEST, HOST, S2_ROOT, guest

VA = GUEST  # below 4 GiB, so the same number can be a VA, an IPA and a PA
STE_AT = STREAM_TABLE + 64 * 0x10
V = 1


def ste_used(ste: list[int]) -> list[int]:
    """Which bits the hardware looks at in this form."""
    config, dss = ste[0] >> 1 & 7, ste[1] & 3
    used = [V, 0, 0, 0, 0, 0, 0, 0]
    if not ste[0] & V:
        return used
    used[0] |= 7 << 1
    shcfg, eats = 3 << 44, 3 << 28
    if config & 4 and config & 1:
        used[0] |= 3 << 4 | ((1 << 52) - 64) | 0x1F << 59
        used[1] |= 0xFF | 1 << 27 | eats | 3 << 30 | (shcfg if dss == 1 else 0)
        used[2] |= 0xFFFF
    if config & 4 and config & 2:
        used[1] |= 1 << 25 | eats | shcfg
        used[2] |= (1 << 59) - 1
        used[3] |= (1 << 52) - 16
    if config == 4:
        used[1] |= shcfg
    return used


def cd_used(cd: list[int]) -> list[int]:
    if not cd[0] >> 31 & 1:
        return [1 << 31, 0, 0, 0, 0, 0, 0, 0]
    all_ones = (1 << 64) - 1
    used = [all_ones, all_ones, all_ones, all_ones, 0, 0, 0, 0]
    if cd[0] >> 14 & 1:  # EPD0: size, granule, attributes and table of the lower half are ignored
        used[0] &= ~0x3FFF
        used[1] = 0
    if cd[0] >> 30 & 1:
        used[0] &= ~(0x3FFF << 16)
        used[2] = 0
    return used


def steps(
    now: list[int], target: list[int], used: Callable[[list[int]], list[int]], valid: int
) -> Iterator[list[tuple[int, int]]]:
    """Batches of (word, value); after each that is not empty comes an invalidation and a SYNC."""
    in_use = used(now)
    prepared = [n & u | t & ~u for n, t, u in zip(now, target, in_use, strict=True)]
    needed = used(target)
    critical = [n for n in range(8) if (prepared[n] ^ target[n]) & needed[n]]

    def batch(goal: list[int], words: range | list[int]) -> list[tuple[int, int]]:
        out = [(n, goal[n]) for n in words if now[n] != goal[n]]
        for n, value in out:
            now[n] = value
        return out

    if len(critical) == 1:
        prepared[critical[0]] = now[critical[0]]
        yield batch(prepared, range(8))
        yield batch(target, critical)
        yield batch(target, range(8))
    elif critical:
        yield batch([now[0] & ~valid, *now[1:]], [0])
        yield batch(target, range(1, 8))
        yield batch(target, [0])
    else:
        yield batch(target, range(8))


@dataclass
class Change:
    """One direction of one golden sequence."""

    name: str
    kind: str  # ste or cd
    old: list[int]
    new: list[int]


def stage1_ste(**options: Any) -> list[int]:
    words = make_ste(0b101, cd=CD_TABLES, cdmax=4, dss=2, **options)
    words[1] &= ~(3 << 44)
    return words


S1 = stage1_ste()
S1_DSS_BYPASS = [S1[0], S1[1] & ~3 | 1 | 1 << 44, *S1[2:]]
S1_OTHER = [S1[0] ^ 1 << 16, S1_DSS_BYPASS[1], *S1[2:]]  # another CD table and another S1DSS
ABORT = [V, 0, 0, 0, 0, 0, 0, 0]
BYPASS = [V | 4 << 1, 1 << 44, 0, 0, 0, 0, 0, 0]
S2 = make_ste(0b110, cd=0, s2ttb=S2_ROOT)
S2[1] = 1 << 44

#: The table for CDs; a rig's stage-1 tables are put here when it is known where they are.
CD_S1 = make_cd(0, asid=7, ttb1=None)
CD_ASID = make_cd(0, asid=8)
CD_RELEASED = [CD_S1[0] & ~(3 << 44) & ~0x3FFF | 1 << 14, 0, 0, CD_S1[3], 0, 0, 0, 0]
ZERO = [0] * 8

CHANGES: dict[str, list[Change]] = {
    "EU01": [Change("bypass to abort", "ste", BYPASS, ABORT)],
    "EU02": [Change("abort to bypass", "ste", ABORT, BYPASS)],
    "EU03": [Change("stage 1 to abort", "ste", S1, ABORT)],
    "EU05": [Change("stage 1 to bypass", "ste", S1, BYPASS)],
    "EU06": [Change("bypass to stage 1", "ste", BYPASS, S1)],
    "EU07": [Change("S1DSS", "ste", S1, S1_DSS_BYPASS), Change("S1DSS back", "ste", S1_DSS_BYPASS, S1)],
    "EU09": [Change("stage 2 to abort", "ste", S2, ABORT), Change("abort to stage 2", "ste", ABORT, S2)],
    "EU10": [Change("stage 2 to bypass", "ste", S2, BYPASS), Change("bypass to stage 2", "ste", BYPASS, S2)],
    "EU11": [Change("stage 1 to stage 2", "ste", S1, S2), Change("stage 2 to stage 1", "ste", S2, S1)],
    "EU12": [Change("pointer and S1DSS", "ste", S1, S1_OTHER)],
    "EU13": [Change("valid to invalid", "cd", CD_S1, ZERO), Change("invalid to valid", "cd", ZERO, CD_S1)],
    "EU14": [Change("ASID", "cd", CD_S1, CD_ASID)],
    "EU15": [Change("clear an SVA context", "cd", CD_S1, ZERO)],
    "EU16": [Change("release an SVA context", "cd", CD_S1, CD_RELEASED)],
}
GOLDEN = [(v, change) for v in VECTORS["entry_update_sequences"] for change in CHANGES[v["id"]]]


def build(change: Change, *, caches: bool) -> tuple[Rig, int, list[int]]:
    """A rig in the old state, where the entry stands, and the target."""
    rig, _, _ = guest(0b110)
    space = rig.space(asid=7)
    space.map(VA, 0x8_0000_0000)
    for table in (CD_TABLES, CD_TABLES ^ 1 << 16):
        rig.set_cd(table, 0, space.cd())
    fresh = Rig(memory=rig.memory, options={"caches": caches})
    if change.kind == "ste":
        rig.set_ste(0x10, change.old)
        return fresh, STE_AT, list(change.new)
    rig.set_ste(0x10, S1)

    def placed(cd: list[int]) -> list[int]:
        enabled = cd[0] >> 31 & 1 and not cd[0] >> 14 & 1
        return [cd[0], space.root if enabled else 0, *cd[2:]]

    rig.set_cd(CD_TABLES, 0, placed(change.old))
    return fresh, CD_TABLES, placed(change.new)


def seen(rig: Rig) -> Any:
    """What traffic meets now: the outcome of one access, but for what the TLB made of it."""
    return view(rig.access(VA))


def in_state(change: Change, which: str) -> Any:
    """What traffic meets when the entry has always been so."""
    rig, at, target = build(change, caches=False)
    if which == "new":
        rig.memory.put(at, target)
    return seen(rig)


@pytest.mark.parametrize(("vector", "change"), GOLDEN, ids=[f"{v['id']} {c.name}" for v, c in GOLDEN])
@pytest.mark.parametrize("caches", [True, False], ids=["caches", "no caches"])
def test_golden_sequence(vector: dict[str, Any], change: Change, caches: bool) -> None:
    rig, at, target = build(change, caches=caches)
    before, after = in_state(change, "old"), in_state(change, "new")
    assert seen(rig) == before
    invalidate = cmd.cfgi_ste(0x10) if change.kind == "ste" else cmd.cfgi_cd(0x10, 0)
    used, valid = (ste_used, V) if change.kind == "ste" else (cd_used, 1 << 31)
    now = list(rig.memory.take(at, 8))
    syncs = 0
    gaps = 0

    def look() -> None:
        nonlocal gaps
        outcome = seen(rig)
        if outcome not in (before, after):
            assert outcome.code == (0x04 if change.kind == "ste" else 0x0A)
            gaps += 1

    for batch in steps(now, target, used, valid):
        for n, value in batch:
            rig.memory[at + 8 * n] = value  # one 64-bit store
            look()
        if batch:
            rig.sync(invalidate)
            syncs += 1
            look()
    assert syncs == vector["syncs"]
    assert seen(rig) == after, "nothing of the old entry is left"
    assert rig.memory.take(at, 8) == tuple(target)
    if vector["hitless"]:
        assert gaps == 0
    elif target[0] & valid and change.old[0] & valid:
        assert gaps > 0, "this one cannot be done without a moment of V=0"


def test_the_states_differ() -> None:
    """Else the sequences above would prove nothing."""
    frames = set()
    for change in (GOLDEN[0][1], CHANGES["EU11"][0], CHANGES["EU09"][0]):
        outcome = in_state(change, "old")
        assert outcome.kind == "ok"
        frames.add(outcome.pa)
    assert frames == {VA, 0x8_0000_0000, HOST}
    assert isinstance(build(CHANGES["EU02"][0], caches=True)[0].access(VA), object)
    assert not isinstance(build(CHANGES["EU02"][0], caches=True)[0].access(VA), Translated)
