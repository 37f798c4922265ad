"""Tables of the reference pages, made from the tables of the code: nothing is written down twice.

A page says which table it wants::

    ```{wdasync-table} settings
    ```

Each function of :data:`TABLES` gives a head and rows, whose cells are Markdown.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NamedTuple

import wdasync
import wdasync_cpu.codecs as cpu
import wdasync_uacce.errnos as uacce
from wdasync import operations, registry
from wdasync.backend import Backend, Capabilities, Capability
from wdasync.config import Config, Rule
from wdasync.errors import ADVICE, ERRORS, BackendUnavailable, DataCause, Status, WdasyncError
from wdasync.integrations import decisions
from wdasync.integrations.negotiation import EXAMPLES
from wdasync.scheduling import Reason
from wdasync.sources import FOREIGN, RESERVED
from wdasync.values import describe, field_types, is_settable, settings_of
from wdasync_hip08.kernel.modes import MODES, Mode
from wdasync_uacce import hpre_descriptor as hpre
from wdasync_uacce import sec_descriptor as sec
from wdasync_uacce import zip_descriptor
from wdasync_uacce.attributes import ATTRIBUTES, TOLD
from wdasync_uacce.layout import Layout
from wdasync_uacce.states import CALLS, REFUSALS, QueueState

Row = tuple[str, ...]


class Table(NamedTuple):
    """A head and rows of Markdown cells.

    :ivar title: above the table; empty: none
    """

    title: str
    head: Row
    rows: list[Row]


#: The ``#:`` comment above a member of an enum, and the member's name.
COMMENTED = re.compile(r"((?:^ *#:.*\n)+) *(\w+) = ", re.MULTILINE)


def comments(kind: type[enum.Enum]) -> dict[str, str]:
    """Member -> the comment above it, in one line; of an enum."""
    found = COMMENTED.findall(inspect.getsource(kind))
    return {
        name: " ".join(
            line.strip().removeprefix("#:").strip() for line in text.splitlines()
        ).replace("``", "`")
        for text, name in found
    }


def summary(thing: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split()).replace(
        "``", "`"
    )


# -- settings -----------------------------------------------------------------------------------------------


def default_of(item: Any) -> str:
    """A field's default, as a file would have it."""
    value = item.default
    if value is MISSING:
        return "must be given"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.name.lower() if isinstance(value, enum.Enum) else value}`"


def settings_rows(options: type[Any]) -> list[Row]:
    """Name, what it may be, default, meaning: of each setting that can be written in a file."""
    kinds = field_types(options)
    return [
        (
            f"`{name}`",
            describe(item, kinds[name]).replace("'", "`"),
            default_of(item),
            item.metadata.get("help", ""),
        )
        for name, item in settings_of(options).items()
        if is_settable(kinds[name])
    ]


SETTINGS_HEAD = ("Setting", "May be", "Default", "What it is")


def settings() -> Iterator[Table]:
    """The settings of the framework."""
    yield Table("", SETTINGS_HEAD, settings_rows(Config))


def rules() -> Iterator[Table]:
    """The columns of the scheduling policy."""
    yield Table("", SETTINGS_HEAD, settings_rows(Rule))


def options() -> Iterator[Table]:
    """The options of each installed backend."""
    for name, backend in backends():
        if rows := settings_rows(backend.Options):
            yield Table(f"`[{name}]`", SETTINGS_HEAD, rows)


def variables() -> Iterator[Table]:
    """Environment variables that are no settings."""
    yield Table(
        "",
        ("Variable", "What it is"),
        [(f"`{name}`", text) for name, text in RESERVED.items()]
        + [
            (f"`{name}`", f"of UADK: stands for `{setting}`, if nothing of ours gives it")
            for name, setting in FOREIGN.items()
        ],
    )


# -- errors -------------------------------------------------------------------------------------------------


def linked(kind: type[BaseException]) -> str:
    """A class, linked to its place in the reference."""
    return f"{{py:exc}}`~wdasync.{kind.__name__}`"


def statuses() -> Iterator[Table]:
    """How an operation can end, and what the caller sees."""
    meanings = comments(Status)
    rows = [
        (
            f"`{status.name}`<br>"
            + (linked(ERRORS[status]) if status in ERRORS else "a result"),
            meanings.get(status.name, "It succeeded."),
            ADVICE.get(status, "–"),
        )
        for status in Status
    ]
    yield Table("", ("Status, and what the caller gets", "What it means", "What to do"), rows)


def errors() -> Iterator[Table]:
    """Every error of ours, and what else it is."""
    rows = [
        (
            linked(kind),
            ", ".join(
                f"`{base.__name__}`" for base in kind.__bases__ if base is not WdasyncError
            )
            or "–",
            summary(kind).removeprefix("Raised "),
        )
        for kind in vars(wdasync).values()
        if isinstance(kind, type)
        and issubclass(kind, WdasyncError)
        and kind is not WdasyncError
    ]
    yield Table("", ("Error", "Is also a", "Raised"), rows)


CAUSES = {
    DataCause.CORRUPT: "A code, length or distance that the format does not have.",
    DataCause.TRUNCATED: "The input ends before its format does.",
    DataCause.TRAILING_DATA: "Something follows the end that is no further member.",
    DataCause.WRONG_FORMAT: "The input does not begin as this format begins.",
    DataCause.CHECKSUM: "It decoded, but its check value or length is another.",
    DataCause.DICTIONARY: "It wants a dictionary, and none or another one was given.",
}


def causes() -> Iterator[Table]:
    """What can be wrong with an input."""
    rows = [(f"`DataCause.{cause.name}`", CAUSES[cause]) for cause in DataCause]
    yield Table("", ("`error.cause`", "What it means"), rows)


# -- scheduling ---------------------------------------------------------------------------------------------


def reasons() -> Iterator[Table]:
    """Why an operation ran where it ran."""
    meanings = comments(Reason)
    rows = [
        (f"`Reason.{reason.name}`", f"`{reason.name.lower()}`", meanings[reason.name])
        for reason in Reason
    ]
    yield Table("", ("Reason", "In `statistics().reasons`", "What it means"), rows)


# -- backends -----------------------------------------------------------------------------------------------


def backends() -> Iterator[tuple[str, Backend]]:
    """The installed backends that can be imported, those that are chosen by themselves first."""
    found = []
    for name in registry.backend_names():
        try:
            found.append((name, registry.get_backend(name)))
        except BackendUnavailable:
            continue
    yield from sorted(
        found, key=lambda entry: (entry[1].automatic is None, -(entry[1].automatic or 0))
    )


KINDS = {
    "one call": (wdasync.Kind.COMPRESS, wdasync.Kind.DECOMPRESS),
    "stream": (wdasync.Kind.COMPRESS_CHUNK, wdasync.Kind.DECOMPRESS_CHUNK),
}


def directions(rows: Sequence[Capability], way: str) -> str:
    """What a device can do with an algorithm, in one call or in a stream."""
    compress, decompress = KINDS[way]
    kinds = {row.kind for row in rows}
    able = [
        name
        for kind, name in ((compress, "compress"), (decompress, "decompress"))
        if kind in kinds
    ]
    return " and ".join(able) or "–"


def levels(rows: Sequence[Capability]) -> tuple[str, str]:
    """The scale of levels, and what the three names mean on it."""
    for row in rows:
        if row.kind in (wdasync.Kind.COMPRESS, wdasync.Kind.COMPRESS_CHUNK):
            return (
                f"{row.scale[0]} to {row.scale[1]}",
                f"{row.default}, {row.balanced}, {row.best}",
            )
    return "–", "–"


def capability_rows(table: Iterable[Capability]) -> list[Row]:
    """A device's table, one row for each algorithm."""
    algorithms: dict[str, list[Capability]] = {}
    for row in table:
        if wdasync.Kind.NOP < row.kind < wdasync.Kind.COPY:
            algorithms.setdefault(row.algorithm, []).append(row)
    return [
        (
            f"`{algorithm}`",
            directions(rows, "one call"),
            directions(rows, "stream"),
            *levels(rows),
            ", ".join(dict.fromkeys(f"2^{row.window}" for row in rows)),
            "yes" if any(row.dictionary for row in rows) else "–",
            mebibytes(rows),
        )
        for algorithm, rows in sorted(algorithms.items())
    ]


def mebibytes(rows: Sequence[Capability]) -> str:
    """The longest inputs in one call, as they are, or rounded down to MiB."""
    found = [
        f"{row.max_input >> 20:,} MiB"
        for row in rows
        if row.max_input is not None and not row.stateful
    ]
    return ", ".join(dict.fromkeys(found)) or "any"


def able(backend: Backend) -> Capabilities:
    """What all of a backend's devices that are here can do, as one table."""
    rows: list[Capability] = []
    for info in backend.devices():
        device = backend.open(info, backend.Options())
        rows += device.capabilities
        device.close()
    return Capabilities(rows)


def capabilities() -> Iterator[Table]:
    """What the devices of each backend can do that has one here."""
    head = (
        "Algorithm",
        "In one call",
        "As a stream",
        "Levels",
        "fast, balanced, best",
        "Window, bytes",
        "Dictionary",
        "Longest input of a call",
    )
    for name, backend in backends():
        if rows := capability_rows(able(backend)):
            yield Table(f"`{name}`", head, rows)


#: Title of a table -> its kinds of operations.
WORK = {
    "Memory": (
        wdasync.Kind.COPY,
        wdasync.Kind.FILL,
        wdasync.Kind.COMPARE,
        wdasync.Kind.CHECKSUM,
    ),
    "Digests and codes": (wdasync.Kind.DIGEST, wdasync.Kind.MAC),
    "Ciphers": (wdasync.Kind.ENCRYPT, wdasync.Kind.SEAL),
    "Public keys": (
        wdasync.Kind.SIGN,
        wdasync.Kind.PRIVATE_DECRYPT,
        wdasync.Kind.EXCHANGE,
        wdasync.Kind.GENERATE,
    ),
}


def work() -> Iterator[Table]:
    """What else than compression the devices of each backend can do that has one here."""
    devices = {name: table for name, backend in backends() if (table := able(backend))}
    for title, kinds in WORK.items():
        rows = [
            (f"`{algorithm}`", kind.name.lower().replace("_", " "), ", ".join(who))
            for kind in kinds
            for algorithm in dict.fromkeys(
                row.algorithm for table in devices.values() for row in table if row.kind is kind
            )
            if (who := [name for name, table in devices.items() if table.find(kind, algorithm)])
        ]
        yield Table(title, ("Algorithm", "What", "Which backends"), rows)


def lengths(sizes: Sequence[int]) -> str:
    """Some numbers, or a range of them."""
    if isinstance(sizes, range):
        return f"{sizes[0]} to {sizes[-1]}"
    return ", ".join(map(str, sizes)) or "any"


def suites() -> Iterator[Table]:
    """What sizes ciphers and codes have."""
    head = (
        "Algorithm",
        "Key, bytes",
        "Nonce or initialisation vector",
        "Data, a multiple of",
        "Tag, bytes",
    )
    for title, table in (("Ciphers", operations.CIPHERS), ("With a tag", operations.SEALS)):
        rows = [
            (
                f"`{name}`",
                lengths(suite.key),
                str(suite.iv[0])
                if suite.iv[0] == suite.iv[1]
                else f"{suite.iv[0]} to {suite.iv[1]}",
                str(suite.unit),
                lengths(suite.tags) if suite.tags else "–",
            )
            for name, suite in table.items()
        ]
        yield Table(title, head, rows)


def installed() -> Iterator[Table]:
    """The backends that come with the package."""
    rows = [
        (
            f"`{name}`",
            "only by name"
            if backend.automatic is None
            else f"by itself, rank {backend.automatic}",
            "yes" if backend.fallback else "no",
        )
        for name, backend in backends()
    ]
    yield Table("", ("Backend", "Chosen", "Takes over from others"), rows)


def codecs() -> Iterator[Table]:
    """Who does the work of the CPU backend, best first; consecutive levels with the same answer share a row."""
    for kind, title in (
        (wdasync.Kind.COMPRESS, "Compress, in one call"),
        (wdasync.Kind.COMPRESS_CHUNK, "Compress, as a stream"),
        (wdasync.Kind.DECOMPRESS, "Decompress, in one call"),
        (wdasync.Kind.DECOMPRESS_CHUNK, "Decompress, as a stream"),
    ):
        rows = [
            (", ".join(f"`{name}`" for name in names), levels, who)
            for names, by_level in families(kind)
            for levels, who in ranges(by_level)
        ]
        yield Table(title, ("Algorithm", "Level", "Who, best first"), rows)


def named_levels() -> Iterator[Table]:
    """What the three names of levels mean on the CPU."""
    rows = [
        (
            f"`{name}`",
            f"{row.scale[0]} to {row.scale[1]}",
            *map(str, (row.fast, row.balanced, row.best)),
        )
        for name, row in cpu.ALGORITHMS.items()
    ]
    head = ("Algorithm", "Levels", "fast", "balanced", "best")
    yield Table("", head, rows)


def families(kind: wdasync.Kind) -> Iterator[tuple[list[str], dict[int, str]]]:
    """Algorithms that have the same answers, and the answers: level -> who."""
    grouped: dict[tuple[tuple[int, str], ...], list[str]] = {}
    for name, algorithm in cpu.ALGORITHMS.items():
        answers = cpu.TABLE[kind].get(algorithm.format)
        if answers is None:
            continue
        written = tuple(
            (level, ", ".join(names_of(choices))) for level, choices in answers.items()
        )
        grouped.setdefault(written, []).append(name)
    for answers, names in grouped.items():
        yield names, dict(answers)


def names_of(choices: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Names of implementations for people."""
    for name in dict.fromkeys(name for name, _ in choices):
        yield {"isal": "ISA-L", "brotli": "Brotli", "zstd": "Zstandard", "lz4": "LZ4"}.get(
            name, name.replace("-", " ")
        )


def ranges(by_level: dict[int, str]) -> Iterator[tuple[str, str]]:
    """Consecutive levels with the same answer, as one row."""
    for who, group in itertools.groupby(by_level, key=by_level.__getitem__):
        first, *rest = group
        levels = f"{first} to {rest[-1]}" if rest else str(first)
        yield levels if len(by_level) > 1 else "–", who


# -- measurements --------------------------------------------------------------------------------------------

#: The committed run of ``bench``.
RUN = Path(__file__).parent / "_static" / "bench.json"
SERVERS = RUN.with_name("servers.json")

#: Why a target may be missed: how its text begins -> the reason. What is missed must have one.
REASONS = {
    "no-op over": "Much of what is left is the event loop's own: a task that parks and is resumed. The peers were faster in "
    "this run than in the measurements that the bounds came from.",
    "no-op CPU over futures": "uvloop's futures are twice as cheap as asyncio's; checks, schedule, operation and completion "
    "object are the same on both.",
    "1 KiB over": "As the no-op: the way is most of the cost.",
    "16 KiB over": "One worker and a spare one, which gives way to the loop, against a pool that uses both cores.",
    "256 KiB over": "All that counts here is the codec, and both sides have two cores for it.",
    "page fault on cpu": "Two trips through the scheduler of the kernel, and the handler's task.",
    "256 B latency over inline": "uvloop's own part of an inline call is smallest, so the checks weigh most.",
    "1 KiB delay": "A wake-up of a sleeping worker and one of a sleeping loop are two trips through the scheduler of the "
    "kernel, which on a virtual machine cost more than the codec.",
    "4 KiB delay": "As for 1 KiB.",
    "64 KiB on hip08": "Walks, copies and the codec are C; registers, queues, grants and the page table are Python, and each page of "
    "input and output is mapped, translated and unmapped. The CPU backend, with which it is compared, has a spare worker meanwhile on the core that the model needs.",
    "1 KiB on hip08": "The way through driver, queue manager and chip is Python, once for each request.",
    "page fault on hip08": "Event queue, handler's task, page table, RESUME and second translation are Python, one fault after another.",
    "pages of 64 KiB over": "One of two cores is the loop's: a worker and the loop have what two threads that do nothing else have not.",
    "empty pages, 64 in a call": "There is one wait for 64 pages, and the worker has nothing to do while the loop makes the next 64.",
    "1 KiB stall": "One burst of completions and the tasks that it wakes are one turn of the loop.",
    "16 KiB stall": "As for 1 KiB.",
    "256 KiB stall": "As for 1 KiB.",
    "RSA-2048 sign over bare threads": "Bare threads have both cores for themselves. This processor has instructions for such signatures and makes one in less than half a millisecond; "
    "of that the loop takes a twentieth for each, on trio more, since each resumes a task and sends the next.",
    "RSA-2048 sign, stall in ms": "Two threads that sign and the loop's are three on two cores, and who waits for a core is the kernel's choice, in slices "
    "of some milliseconds.",
    "SHA-256 of 1 KiB over to_thread": "The digest is made at once; uvloop's to_thread is twice as fast as asyncio's.",
    "AES-256-GCM of 1 KiB over inline": "What is looked at before it in Python (the key, the accelerator, the loop, the budget) takes longer "
    "than encrypting; inline has none of that.",
    "three steps on 64 KiB over three awaits": "The worker does the same work either way; the two trips that a sequence saves are the event loop's.",
}


def measured() -> list[dict[str, Any]]:
    """The targets, as the committed run found them: one entry for each and each event loop."""
    found: list[dict[str, Any]] = json.loads(RUN.read_text())["targets"]
    return found


def by_target() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Text -> its entries, in the order of the run's first loop."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for entry in measured():
        grouped.setdefault(entry["text"], []).append(entry)
    yield from grouped.items()


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def targets() -> Iterator[Table]:
    """What was aimed at, and what came of it on each event loop; what was missed is bold."""
    loops = list(dict.fromkeys(entry["loop"] for entry in measured()))
    rows = []
    for text, entries in by_target():
        cells = dict.fromkeys(loops, "–")
        for entry in entries:
            shown = figure(entry["median"])
            cells[entry["loop"]] = shown if entry["reached"] else f"**{shown}**"
        rows.append((text, entries[0]["bound"], *cells.values()))
    yield Table("", ("64 in flight, two cores", "Wanted", *loops), rows)


def reason_for(text: str) -> str:
    """Why a target was missed.

    :raises LookupError: nobody has written it down
    """
    found = [reason for begin, reason in REASONS.items() if text.startswith(begin)]
    if not found:
        raise LookupError(
            f"docs/tables.py: expected a reason why {text!r} was missed, got none: add it to REASONS"
        )
    return found[0]


def missed() -> Iterator[Table]:
    """The targets that were missed on at least one event loop, each with the reason."""
    rows = [
        (
            text,
            ", ".join(entry["loop"] for entry in entries if not entry["reached"]),
            reason_for(text),
        )
        for text, entries in by_target()
        if not all(entry["reached"] for entry in entries)
    ]
    yield Table("", ("Target", "Missed on", "Why"), rows)


def server_targets() -> Iterator[Table]:
    """What was aimed at in web servers and in the proxy, and what came of it; what was missed is bold."""
    rows = []
    for entry in json.loads(SERVERS.read_text())["targets"]:
        found, spread = (
            figure(entry["median"]),
            f"{figure(entry['low'])} to {figure(entry['high'])}",
        )
        bound = f"{'≥' if entry['least'] else '≤'} {entry['wanted']:.3g}"
        rows.append(
            (entry["text"], bound, found if entry["reached"] else f"**{found}**", spread)
        )
    yield Table("", ("From outside", "Wanted", "Found", "Lowest and highest round"), rows)


def memory_modes() -> Iterator[Table]:
    """How programs' memory gets to the emulated chip, and what its SMMU is told."""
    head = (
        "Mode",
        "Settings",
        "In a descriptor stands",
        "The device's table shows",
        "{term}`STE`",
        "{term}`CD`",
        "`flags`",
    )
    rows = [
        (
            row.name,
            settings_text(row),
            row.addresses,
            row.mapped,
            ("`S1CDMax=16`, `S1DSS=2`" if row.substreams else "`S1CDMax=0`")
            + f", `S1STALLD={int(not row.stall)}`",
            ("of the PASID" if row.substreams else "of the function")
            + f", `S={int(row.stall)}`",
            str(int(row.flags)),
        )
        for row in MODES
    ]  # fmt: skip
    yield Table("", head, rows)


def settings_text(row: Mode) -> str:
    """The settings that ask for a mode; defaults are left out of those that need no second one."""
    if len(row.residency) == 1 and row.memory != "sva":
        return f"`memory={row.memory}`"
    return f"`memory={row.memory}`, `residency={'` or `'.join(row.residency)}`"


# -- servers ------------------------------------------------------------------------------------------------


def negotiation() -> Iterator[Table]:
    """Which coding a client gets."""
    rows = [
        (
            "no such field" if field is None else f"`{field}`" if field else "an empty field",
            "*nothing*" if chosen is None else f"`{chosen}`",
            why
            if offered == EXAMPLES[0].offered
            else f"{why}; offered: {', '.join(f'`{name}`' for name in offered) or 'nothing'}",
        )
        for field, offered, chosen, why in EXAMPLES
    ]
    yield Table("", ("`Accept-Encoding`", "Chosen", "Why"), rows)


def content_codings() -> Iterator[Table]:
    """Whether a response is compressed."""
    rows = [
        (row.name, row.situation, row.behaviour, "yes" if row.varies else "–", row.source)
        for row in decisions.ROWS
    ]
    yield Table("", ("Row", "It holds if", "What is done", "`Vary`", "Source"), rows)


# -- uacce --------------------------------------------------------------------------------------------------


def errnos() -> Iterator[Table]:
    """Every error number of the kernel's, what it means, and which exception it becomes."""
    rows = []
    for row in uacce.ROWS:
        number = f"`{uacce.name_of(row.number)}`" if row.number else "any other"
        calls = ", ".join(call.value for call in row.calls) or "any"
        rows.append((number, calls, row.cause, linked(row.error), row.advice))
    yield Table("", ("Number", "Of", "What it means", "Exception", "What to do"), rows)


def queue_states() -> Iterator[Table]:
    """Which call is allowed in which state of an opened queue, and what else it gives."""
    rows = [
        (
            call.value,
            *(
                "yes" if state in allowed else f"`{uacce.name_of(REFUSALS[state])}`"
                for state in QueueState
            ),
        )
        for call, allowed in CALLS.items()
    ]
    yield Table("", ("Call", *(state.value for state in QueueState)), rows)


def attributes() -> Iterator[Table]:
    """Where sysfs has what a driver wants to know."""
    rows = [
        (
            f"`{attribute.field}`",
            ", ".join(f"`{path}`" for path in attribute.paths),
            "yes" if attribute.needed else "no",
        )
        for attribute in ATTRIBUTES
    ]
    rows += [("only shown", f"`{name}`, `attrs/{name}`", "no") for name in TOLD]
    yield Table("", ("Field", "File, the first that can be read", "Needed"), rows)


def descriptor(layout: Layout) -> Table:
    """The fields of a submission entry."""
    rows = [
        (
            f"`{field.name}`",
            f"{field.bit // 32}",
            f"{field.bit % 32}"
            if field.width == 1
            else f"{field.bit % 32} to {field.bit % 32 + field.width - 1}",
            field.owner.value,
            field.meaning,
        )
        for field in layout.fields
    ]
    return Table(
        f"{layout.name}, {layout.size} bytes",
        ("Field", "Word", "Bits", "Written by", "Meaning"),
        rows,
    )


def descriptors() -> Iterator[Table]:
    """The submission entries of all engines."""
    for layout in (zip_descriptor.SQE, hpre.SQE, *sec.SQES.values()):
        yield descriptor(layout)


def hpre_algorithms() -> Iterator[Table]:
    """What HPRE computes, from what."""
    rows = [
        (f"`{algorithm:#x}`", blocks.meaning, *(written(block) for block in blocks[:3]))
        for algorithm, blocks in hpre.BLOCKS.items()
    ]
    yield Table("", ("Code", "What", "Key block", "Input", "Output"), rows)


def written(block: hpre.Block) -> str:
    """The numbers of a block."""
    names = [f"`{name}`" for name in block.names] + [f"`{name}`/2" for name in block.halves]
    return ", ".join(names) or "–"


TABLES: dict[str, Callable[[], Iterator[Table]]] = {
    function.__name__: function
    for function in (
        settings, rules, options, variables, statuses, errors, causes, reasons, capabilities, work, suites, installed,
        codecs, named_levels, targets, missed, server_targets, memory_modes, negotiation, content_codings,
        errnos, queue_states, attributes, descriptors, hpre_algorithms,
    )
}  # fmt: skip


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    written = [
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    ]
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, *written, ""])
