"""``wdasync doctor``: is everything as it should be, and if not, what to type next."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import platform
import sys
import textwrap
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Final, NamedTuple

import click
from anyio import to_thread
from rich.console import Console

from .. import Accelerator, Compress, Decompress, open_accelerator, registry
from ..backend import Backend, Check
from ..config import Config, Effective, load
from ..errors import BackendUnavailable, ConfigError, WdasyncError
from ..operations import Kind
from .output import console, json_option, write_json
from .running import run
from .wakes import silent_devices

__all__ = ["doctor"]

OLDEST_PYTHON: Final = (3, 11)

#: Event loops: module -> what to type to have it; empty: it is always there.
EVENT_LOOPS: Final[dict[str, str]] = {
    "asyncio": "",
    "uvloop": "pip install 'wdasync[uvloop]'",
    "trio": "pip install 'wdasync[trio]'",
}

#: Seconds that a self-test may take before it counts as hanging.
PATIENCE: Final = 20.0

#: Has runs, repeats and noise in it, and more than one block of a compressed format.
SAMPLE: Final = b"".join(b"%d squared is %d; " % (number, number * number) for number in range(4000))

#: Algorithm -> wbits with which the standard library reads it too: a second opinion.
SECOND_OPINION: Final = {"gzip": 31, "zlib": 15, "deflate": -15}

#: Columns before what was found.
MARGIN: Final = 34

SIGNS: Final = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("  – ", "dim")}


class Finding(NamedTuple):
    """One check and the heading it belongs below."""

    group: str
    check: Check


@click.command(short_help="Check installation, devices, algorithms.")
@click.option("-b", "--backend", metavar="NAME", help="Look at this backend, and let it do the self-tests.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, backend: str | None, as_json: bool) -> None:
    """Check the installation, the devices, and each algorithm end to end.

    For each check: pass, FAIL and what to type next, or – where it does not apply. What is wrong with a backend
    that has no device here and that nobody asked for is told, and does not count as failure. Exit status 1 if a
    check failed.
    """
    findings: list[Finding] = []
    out = console()
    with _quiet_log():
        for finding in examine(backend):
            if not as_json:
                _print(out, finding, new=not findings or findings[-1].group != finding.group)
            findings.append(finding)
    failed = sum(finding.check.passed is False for finding in findings)
    if as_json:
        write_json({"ok": not failed, "checks": [_document(finding) for finding in findings]})
    else:
        passed = sum(finding.check.passed is True for finding in findings)
        out.print(f"\n{passed} passed, {failed} failed, {len(findings) - passed - failed} do not apply")
    ctx.exit(1 if failed else 0)


@contextmanager
def _quiet_log() -> Iterator[None]:
    """What goes wrong is told in the findings, once."""
    logger = logging.getLogger("wdasync")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def examine(backend: str | None) -> Iterator[Finding]:
    """Every check, in the order in which they make sense."""
    for check in (_python(), *_event_loops()):
        yield Finding("environment", check)
    check, effective = _settings(backend)
    yield Finding("environment", check)
    names = _names(effective.config) if effective is not None else ()
    for name in (backend,) if backend and backend in registry.backend_names() else registry.backend_names():
        for check in _backend(name, effective, wanted=name in names):
            yield Finding(f"backend {name}", check)
    if effective is None:
        yield Finding("self-test", Check("open", None, "not tried: the settings are wrong"))
        return
    for check in run(lambda: _collect(backend)):
        yield Finding("self-test", check)


# --- environment ---------------------------------------------------------------------------------------


def _python() -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("Python", True, found)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check("Python", False, found, f"install Python {oldest} or newer, and wdasync in it")


def _event_loops() -> Iterable[Check]:
    for module, advice in EVENT_LOOPS.items():
        if importlib.util.find_spec(module) is not None:
            yield Check(module, True, "can be used")
        else:
            yield Check(module, None, "not installed", advice)


def _settings(backend: str | None) -> tuple[Check, Effective | None]:
    try:
        effective = load({"backend": backend})
    except (ConfigError, BackendUnavailable) as error:
        return Check("settings", False, str(error), "correct it, then `wdasync config`"), None
    changed = [name for name, origin in effective.origins.items() if origin != "default"]
    return Check("settings", True, f"{effective.file or 'no file'}, {len(changed)} changed"), effective


# --- backends ------------------------------------------------------------------------------------------


def _names(config: Config) -> tuple[str, ...]:
    """The backends that somebody asked for."""
    named = (config.backend,) if isinstance(config.backend, str) else (config.backend or ())
    return (*named, *(rule.backend for rule in config.policy))


def _backend(name: str, effective: Effective | None, *, wanted: bool) -> Iterator[Check]:
    try:
        backend = registry.get_backend(name)
    except BackendUnavailable as error:
        yield Check("import", False, str(error), f"pip install --force-reinstall {_distribution(name)}")
        return
    try:
        infos = backend.devices()
    except Exception as error:  # noqa: BLE001  a stranger's code; the contract says that it never raises
        yield Check("devices", False, _told(error), "report it to the authors of this backend")
        return
    found = ", ".join(info.name for info in infos) or "none here"
    passed = True if infos else False if wanted else None
    advice = (
        ""
        if infos
        else "see the checks below"
        if wanted
        else f"`wdasync doctor -b {name}`, if you expect one"
    )
    yield Check("devices", passed, found, advice)
    counts = wanted or bool(infos)
    for check in _diagnose(backend, effective):
        yield check if counts or check.passed is not False else dataclasses.replace(check, passed=None)


def _distribution(backend: str) -> str:
    """The name under which pip knows the package that a backend is from."""
    point = next(point for point in entry_points(group=registry.GROUP) if point.name == backend)
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]


def _diagnose(backend: Backend, effective: Effective | None) -> Iterator[Check]:
    """The backend's own checks. Those that raise are failures of theirs."""
    try:
        options = backend.Options() if effective is None else effective.options(backend.name, backend.Options)
        yield from backend.diagnose(options)
    except Exception as error:  # noqa: BLE001  a stranger's code
        yield Check("diagnose", False, _told(error), "report it to the authors of this backend")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# --- self-test -----------------------------------------------------------------------------------------


async def _collect(backend: str | None) -> list[Check]:
    return [check async for check in _self_test(backend)]


async def _self_test(backend: str | None) -> AsyncIterator[Check]:
    """Open an accelerator as any program does, and send it one operation of each kind."""
    try:
        accelerator = await open_accelerator(backend)
    except (WdasyncError, OSError) as error:
        yield Check("open", False, _told(error), "see the failed checks above; they say what to do")
        return
    async with accelerator:
        yield Check("open", True, ", ".join(accelerator.capabilities()))
        rows = [row for table in accelerator.capabilities().values() for row in table]
        for algorithm in dict.fromkeys(row.algorithm for row in rows if row.kind is Kind.COMPRESS):
            yield await _round_trip(accelerator, algorithm)
        rescues = accelerator.statistics().rescues
    yield _wakes(rescues, await to_thread.run_sync(silent_devices, backend, SAMPLE))


def _wakes(rescues: int, silent: list[str]) -> Check:
    """Who waits is told: without that everything works, and slowly.

    :param rescues: operations that the safety timer found
    :param silent: devices that told nobody when they were asked to
    """
    if not rescues and not silent:
        return Check("wake-ups", True, "none was lost")
    found = ["completions were there, and only the safety timer found them"] if rescues else []
    found += [f"{name} finished its work, and woke nobody" for name in silent]
    return Check(
        "wake-ups", False, f"lost: {'; '.join(found)}",
        "report it to those who make the device's driver; a device's interrupts are counted in /proc/interrupts. Until then each "
        "such operation takes up to twice safety_interval",
    )  # fmt: skip


async def _round_trip(accelerator: Accelerator, algorithm: str) -> Check:
    try:
        packed = await accelerator.execute(Compress(SAMPLE, algorithm), timeout=PATIENCE)
        data = packed.output or b""
        plain = await accelerator.execute(Decompress(data, algorithm), timeout=PATIENCE)
        opinion = zlib.decompress(data, SECOND_OPINION[algorithm]) if algorithm in SECOND_OPINION else SAMPLE
    except (WdasyncError, zlib.error) as error:
        return Check(algorithm, False, _told(error), _another(algorithm))
    if plain.output != SAMPLE or opinion != SAMPLE:
        return Check(algorithm, False, "what comes back is not what was sent", _another(algorithm))
    where = ", ".join(filter(None, [f"{packed.backend}/{packed.device}", packed.where]))
    return Check(algorithm, True, f"{len(SAMPLE)} → {len(data)} → {len(SAMPLE)} bytes on {where}")


def _another(algorithm: str) -> str:
    return (
        f"do not trust this device with {algorithm}: name another backend in WDASYNC_BACKEND, and report it"
    )


# --- output --------------------------------------------------------------------------------------------


def _print(out: Console, finding: Finding, *, new: bool) -> None:
    if new:
        out.print(f"\n{finding.group}", style="bold")
    check = finding.check
    sign, style = SIGNS[check.passed]
    lines = _wrapped(out, f"{sign}  {check.name:26}  ", check.found)
    out.print(lines, style=style if check.passed is not True else None, soft_wrap=True)
    if check.advice:
        out.print(_wrapped(out, "", f"→ {check.advice}"), soft_wrap=True)


def _wrapped(out: Console, before: str, text: str) -> str:
    """Words go to the next line, below each other. Paths stay whole, however long they are, so that they can be copied."""
    lines = textwrap.wrap(text, out.width - MARGIN, break_long_words=False, break_on_hyphens=False)
    return (f"{before:{MARGIN}}" + f"\n{'':{MARGIN}}".join(lines)).rstrip()


def _document(finding: Finding) -> dict[str, object]:
    return {"group": finding.group, **dataclasses.asdict(finding.check)}
