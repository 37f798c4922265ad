"""Records, commands and descriptors against golden words, and against tables written down a second time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdasync_hip08.smmu import (
    Command,
    ContextDescriptor,
    ContextL1,
    EventCode,
    EventRecord,
    FaultClass,
    Opcode,
    PageRequest,
    StreamTableEntry,
    StreamTableL1,
    atc_span,
    range_commands,
)

from .support import VECTORS

#: Golden names that are not the model's in lower case: (model's name, shift from the golden unit to bytes).
UNITS = {
    "op": ("opcode", 0),
    "type": ("code", 0),
    "cls": ("fault_class", 0),
    "input": ("input_address", 0),
    "addr_hi52": ("addr", 12),
    "page": ("addr", 12),
    "ipa_page": ("ipa", 12),
    "fetch_dw": ("fetch_address", 3),
    "S1ContextPtr64": ("s1contextptr", 6),
}
CODECS: dict[str, Any] = {
    "command": Command,
    "event": EventRecord,
    "ppr": PageRequest,
    "ste": StreamTableEntry,
    "cd": ContextDescriptor,
}
ZERO_DEFAULTS = {"ste": {"v": 0}, "cd": {"v": 0, "aa64": 0}}


def golden(vector: dict[str, Any]) -> tuple[Any, tuple[int, ...]]:
    """The model's object for a vector, and the words that it must become."""
    values: dict[str, int | None] = dict(ZERO_DEFAULTS.get(vector["kind"], {}))
    for name, text in vector["fields"].items():
        renamed, shift = UNITS.get(name, (name.lower(), 0))
        values[renamed] = int(text, 16) << shift
    if vector["kind"] in {"event", "ppr"} and not values.pop("ssv", 0):
        values["ssid"] = None
    if vector["kind"] == "event":
        code, fault_class = values["code"], values.get("fault_class", 0)
        assert code is not None
        assert fault_class is not None
        values |= {"code": EventCode(code), "fault_class": FaultClass(fault_class)}
    words = tuple(int(w, 16) for w in vector["words"])
    return CODECS[vector["kind"]](**values), words


@pytest.mark.parametrize("vector", VECTORS["codec_vectors"], ids=lambda v: v["id"])
def test_golden_words_both_ways(vector: dict[str, Any]) -> None:
    thing, words = golden(vector)
    assert tuple(thing.encode()) == words
    assert type(thing).decode(words) == thing
    packed = b"".join(w.to_bytes(8, "little") for w in words)
    assert thing.pack() == packed
    assert type(thing).unpack(packed) == thing


# Layouts, written down once more: name -> (word, high, low, log2 of the unit) -------------------------------------------

STE = {
    "v": (0, 0, 0),
    "config": (0, 3, 1),
    "s1fmt": (0, 5, 4),
    "s1contextptr": (0, 51, 6, 6),
    "s1cdmax": (0, 63, 59),
    "s1dss": (1, 1, 0),
    "s1cir": (1, 3, 2),
    "s1cor": (1, 5, 4),
    "s1csh": (1, 7, 6),
    "dre": (1, 12, 12),
    "cont": (1, 16, 13),
    "dcp": (1, 17, 17),
    "ppar": (1, 18, 18),
    "mev": (1, 19, 19),
    "s2fwb": (1, 25, 25),
    "s1stalld": (1, 27, 27),
    "eats": (1, 29, 28),
    "strw": (1, 31, 30),
    "memattr": (1, 35, 32),
    "mtcfg": (1, 36, 36),
    "alloccfg": (1, 40, 37),
    "shcfg": (1, 45, 44),
    "nscfg": (1, 47, 46),
    "privcfg": (1, 49, 48),
    "instcfg": (1, 51, 50),
    "s2vmid": (2, 15, 0),
    "s2t0sz": (2, 37, 32),
    "s2sl0": (2, 39, 38),
    "s2ir0": (2, 41, 40),
    "s2or0": (2, 43, 42),
    "s2sh0": (2, 45, 44),
    "s2tg": (2, 47, 46),
    "s2ps": (2, 50, 48),
    "s2aa64": (2, 51, 51),
    "s2endi": (2, 52, 52),
    "s2affd": (2, 53, 53),
    "s2ptw": (2, 54, 54),
    "s2hd": (2, 55, 55),
    "s2ha": (2, 56, 56),
    "s2s": (2, 57, 57),
    "s2r": (2, 58, 58),
    "s2ttb": (3, 51, 4, 4),
}
CD = {
    "t0sz": (0, 5, 0),
    "tg0": (0, 7, 6),
    "ir0": (0, 9, 8),
    "or0": (0, 11, 10),
    "sh0": (0, 13, 12),
    "epd0": (0, 14, 14),
    "endi": (0, 15, 15),
    "t1sz": (0, 21, 16),
    "tg1": (0, 23, 22),
    "ir1": (0, 25, 24),
    "or1": (0, 27, 26),
    "sh1": (0, 29, 28),
    "epd1": (0, 30, 30),
    "v": (0, 31, 31),
    "ips": (0, 34, 32),
    "affd": (0, 35, 35),
    "wxn": (0, 36, 36),
    "uwxn": (0, 37, 37),
    "tbi0": (0, 38, 38),
    "tbi1": (0, 39, 39),
    "pan": (0, 40, 40),
    "aa64": (0, 41, 41),
    "hd": (0, 42, 42),
    "ha": (0, 43, 43),
    "s": (0, 44, 44),
    "r": (0, 45, 45),
    "a": (0, 46, 46),
    "aset": (0, 47, 47),
    "asid": (0, 63, 48),
    "nscfg0": (1, 0, 0),
    "had0": (1, 1, 1),
    "e0pd0": (1, 2, 2),
    "ttb0": (1, 51, 4, 4),
    "nscfg1": (2, 0, 0),
    "had1": (2, 1, 1),
    "e0pd1": (2, 2, 2),
    "ttb1": (2, 51, 4, 4),
    "mair": (3, 63, 0),
    "amair": (4, 63, 0),
    "partid": (5, 47, 32),
    "pmg": (5, 55, 48),
}
PPR = {
    "sid": (0, 31, 0),
    "priv": (0, 58, 58),
    "x": (0, 59, 59),
    "r": (0, 60, 60),
    "w": (0, 61, 61),
    "last": (0, 62, 62),
    "prg": (1, 8, 0),
    "addr": (1, 63, 12, 12),
}
Layout = dict[str, tuple[int, ...]]
SID: Layout = {"sid": (0, 63, 32)}
SSID: Layout = {"ssid": (0, 31, 12)}
SSV: Layout = {"ssv": (0, 11, 11)}
VA_FORM: Layout = {"leaf": (1, 0, 0), "ttl": (1, 9, 8), "tg": (1, 11, 10), "addr": (1, 63, 12, 12)}
IPA_FORM: Layout = VA_FORM | {"addr": (1, 51, 12, 12)}
RANGE: Layout = {"num": (0, 16, 12), "scale": (0, 24, 20)}
VMID: Layout = {"vmid": (0, 47, 32)}
ASID: Layout = {"asid": (0, 63, 48)}
RANGE_OF_STREAMS: Layout = {"range": (1, 4, 0)}
LEAF: Layout = {"leaf": (1, 0, 0)}
ATC: Layout = {"g": (0, 9, 9), "size": (1, 5, 0), "addr": (1, 63, 12, 12)}
RESPONSE: Layout = {"prg": (1, 8, 0), "resp": (1, 13, 12)}
ANSWER: Layout = {"ac": (0, 12, 12), "ab": (0, 13, 13), "stag": (1, 15, 0)}
COMMANDS: dict[int, Layout] = {
    0x01: SID | SSID | SSV,
    0x03: SID | LEAF,
    0x04: SID | RANGE_OF_STREAMS,
    0x05: SID | SSID | LEAF,
    0x06: SID,
    0x10: VMID,
    0x11: VMID | ASID,
    0x12: VMID | ASID | VA_FORM | RANGE,
    0x13: VMID | VA_FORM | RANGE,
    0x20: {},
    0x28: VMID,
    0x2A: VMID | IPA_FORM | RANGE,
    0x30: {},
    0x40: SID | SSID | SSV | ATC,
    0x41: SID | SSID | SSV | RESPONSE,
    0x44: SID | ANSWER,
    0x45: SID,
    0x46: {
        "cs": (0, 13, 12),
        "msh": (0, 23, 22),
        "msiattr": (0, 27, 24),
        "msidata": (0, 63, 32),
        "msiaddr": (1, 51, 2, 2),
    },
}


def place(layout: dict[str, tuple[int, ...]], values: dict[str, int], count: int) -> tuple[int, ...]:
    words = [0] * count
    for name, value in values.items():
        word, high, low, *unit = layout[name]
        assert value >> (unit[0] if unit else 0) < 1 << (high - low + 1)
        words[word] |= value >> (unit[0] if unit else 0) << low
    return tuple(words)


def values_of(layout: dict[str, tuple[int, ...]]) -> st.SearchStrategy[dict[str, int]]:
    def one(field: tuple[int, ...]) -> st.SearchStrategy[int]:
        _, high, low, *unit = field
        shift = unit[0] if unit else 0
        return st.integers(0, (1 << (high - low + 1)) - 1).map(lambda v: v << shift)

    return st.fixed_dictionaries({name: one(field) for name, field in layout.items()})


@given(values_of(STE))
def test_stream_table_entry_layout(values: dict[str, int]) -> None:
    words = place(STE, values, 8)
    assert tuple(StreamTableEntry(**values).encode()) == words
    assert StreamTableEntry.decode(words) == StreamTableEntry(**values)


@given(values_of(CD))
def test_context_descriptor_layout(values: dict[str, int]) -> None:
    words = place(CD, values, 8)
    assert tuple(ContextDescriptor(**values).encode()) == words
    assert ContextDescriptor.decode(words) == ContextDescriptor(**values)


@given(values_of(PPR), st.none() | st.integers(0, 0xFFFFF))
def test_page_request_layout(values: dict[str, int], ssid: int | None) -> None:
    dw0, dw1 = place(PPR, values, 2)
    if ssid is not None:
        dw0 |= 1 << 63 | ssid << 32
    assert tuple(PageRequest(ssid=ssid, **values).encode()) == (dw0, dw1)
    assert PageRequest.decode((dw0, dw1)) == PageRequest(ssid=ssid, **values)


@pytest.mark.parametrize("opcode", COMMANDS, ids=hex)
@given(data=st.data())
def test_command_layouts(opcode: int, data: st.DataObject) -> None:
    layout = COMMANDS[opcode]
    values = data.draw(values_of(layout))
    dw0, dw1 = place(layout, values, 2)
    words = (dw0 | opcode, dw1)
    command = Command(Opcode(opcode), **values)
    assert tuple(command.encode()) == words
    assert Command.decode(words) == command


@given(st.integers(0, 31), st.integers(0, (1 << 46) - 1))
def test_stream_table_level_1_layout(span: int, pointer: int) -> None:
    word = span | pointer << 6
    assert tuple(StreamTableL1(span=span, l2ptr=pointer << 6).encode()) == (word,)
    assert StreamTableL1.decode((word,)) == StreamTableL1(span=span, l2ptr=pointer << 6)


@given(st.integers(0, 1), st.integers(0, (1 << 40) - 1))
def test_context_level_1_layout(v: int, pointer: int) -> None:
    word = v | pointer << 12
    assert tuple(ContextL1(v=v, l2ptr=pointer << 12).encode()) == (word,)
    assert ContextL1.decode((word,)) == ContextL1(v=v, l2ptr=pointer << 12)


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=8, max_size=8))
def test_any_words_decode_and_only_known_bits_come_back(words: list[int]) -> None:
    for layout, kind in ((STE, StreamTableEntry), (CD, ContextDescriptor)):
        masks = [0] * 8
        for word, high, low, *_ in layout.values():
            masks[word] |= ((1 << (high - low + 1)) - 1) << low
        back = tuple(kind.decode(words).encode())
        assert back == tuple(w & m for w, m in zip(words, masks, strict=True))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (StreamTableEntry, "s1cdmax", 32),
        (StreamTableEntry, "s1cdmax", -1),
        (StreamTableEntry, "s2vmid", 1 << 16),
        (ContextDescriptor, "asid", 1 << 16),
        (ContextDescriptor, "t0sz", 64),
        (ContextDescriptor, "ttb0", 1 << 52),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(kind: Any, field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        kind(**{field: value}).encode()


def test_unknown_opcode_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"(?i)opcode|ff"):
        Command.decode((0xFF, 0))


# Events: which fields a record of each code carries -------------------------------------------------------------------

FULL = {"pnu", "ind", "rnw", "s2", "fault_class", "input_address"}
CARRIES = {
    0x02: set(),
    0x03: {"fetch_address"},
    0x04: set(),
    0x06: set(),
    0x07: {"rnw", "input_address"},
    0x08: set(),
    0x09: {"fetch_address"},
    0x0A: set(),
    0x0B: FULL | {"fetch_address"},
    0x10: FULL | {"stall", "stag", "ipa"},
    0x11: FULL | {"stall", "stag", "ipa"},
    0x12: FULL | {"stall", "stag", "ipa"},
    0x13: FULL | {"stall", "stag", "ipa", "ttrnw"},
}
DW1 = {
    "stag": (1, 15, 0),
    "stall": (1, 31, 31),
    "pnu": (1, 33, 33),
    "ind": (1, 34, 34),
    "rnw": (1, 35, 35),
    "s2": (1, 39, 39),
    "fault_class": (1, 41, 40),
    "ttrnw": (1, 44, 44),
    "input_address": (2, 63, 0),
    "ipa": (3, 51, 12, 12),
    "fetch_address": (3, 51, 3, 3),
}


@pytest.mark.parametrize("code", CARRIES, ids=hex)
@given(data=st.data())
def test_event_layouts(code: int, data: st.DataObject) -> None:
    layout = {name: DW1[name] for name in sorted(CARRIES[code])}
    values = data.draw(values_of(layout))
    if "fault_class" in values:
        values["fault_class"] %= 3
    if values.get("stall") == 0:
        values["stag"] = 0
    if values.get("s2") == 0 and "ipa" in values:
        values["ipa"] = 0
    if "ttrnw" in values and not (values["s2"] and values["fault_class"] == 1):
        values["ttrnw"] = 0
    sid = data.draw(st.integers(0, 0xFFFFFFFF))
    ssid = data.draw(st.none() | st.integers(0, 0xFFFFF))
    if code == 0x08:
        ssid = ssid or 0
    elif code in {0x06, 0x07}:
        ssid = None
    dw0, *rest = place(layout, values, 4)
    dw0 |= code | sid << 32
    if ssid is not None:
        dw0 |= ssid << 12 | (0 if code == 0x08 else 1 << 11)
    words = (dw0, *rest)
    fault_class = FaultClass(values.pop("fault_class", 0))
    record = EventRecord(code=EventCode(code), sid=sid, ssid=ssid, fault_class=fault_class, **values)
    assert tuple(record.encode()) == words
    assert tuple(EventRecord.decode(words).encode()) == words


# Ranges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["tlbi_range"], ids=lambda v: v["id"])
def test_golden_range_commands(vector: dict[str, Any]) -> None:
    want = [(int(c["NUM"], 16), int(c["SCALE"], 16)) for c in vector["commands"]]
    assert list(range_commands(int(vector["pages"], 16))) == want


@given(st.integers(1, (1 << 32) - 1), st.booleans())
def test_range_commands_cover_exactly_what_was_asked(pages: int, leaf: bool) -> None:
    commands = list(range_commands(pages, leaf=leaf))
    assert all(0 <= num < 32 and 0 <= scale < 32 for num, scale in commands)
    total = sum((num + 1) << scale for num, scale in commands)
    if leaf or pages & 31 != 1:
        assert total == pages
    else:
        assert total == pages + 1
        assert (0, 0) not in commands


@pytest.mark.parametrize("vector", VECTORS["atc_inv_span"], ids=lambda v: v["id"])
def test_golden_atc_spans(vector: dict[str, Any]) -> None:
    size, address = atc_span(int(vector["first_page"], 16), int(vector["last_page"], 16))
    assert (size, address) == (int(vector["Size"], 16), int(vector["Addr"], 16))
    first = address >> 12
    assert [first, first + (1 << size) - 1] == [int(p, 16) for p in vector["invalidated_pages"]]


@given(st.integers(0, (1 << 52) - 1), st.integers(0, (1 << 52) - 1))
def test_atc_span_is_the_smallest_aligned_one(a: int, b: int) -> None:
    first, last = sorted((a, b))
    size, address = atc_span(first, last)
    start = address >> 12
    assert start % (1 << size) == 0
    assert start <= first
    assert last < start + (1 << size)
    if size:
        assert first >> (size - 1) != last >> (size - 1), "half of it would do"
