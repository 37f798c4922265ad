"""Opening an accelerator, and the default accelerator of an event loop."""

from __future__ import annotations

import contextvars
import logging
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, NamedTuple

import anyio

from . import forks, numa, registry
from .accelerator import Accelerator, insist
from .backend import Backend, Device, DeviceInfo, PageFaults
from .config import Config, Effective, load
from .dispatch import Reaper
from .errors import BackendUnavailable, InvalidArgument, WdasyncError
from .eventloop import EventLoop, current_event_loop, loop_locals
from .eventloop.threads import in_thread
from .execution import Execution, close_devices
from .faults import FaultHandler, FaultReporter, FaultResponse, PageFault, serving_fault
from .opener import REPORT_IT, Opener, used_up
from .operations import Priority
from .queue_counts import QueueCounts
from .recovery import Recovery
from .results import Observer
from .scheduling import Place, Schedule

__all__ = ["Opening", "default_accelerator", "no_device", "open_accelerator", "wanted_backends"]

logger = logging.getLogger("wdasync")


class Opening:
    """An accelerator that is about to be opened: ``async with`` it, or ``await`` it and close it yourself."""

    def __init__(self, open_it: Callable[[], Awaitable[Accelerator]]) -> None:
        self._open_it = open_it
        self._accelerator: Accelerator | None = None

    def __await__(self) -> Generator[Any, Any, Accelerator]:
        return self._open_it().__await__()

    async def __aenter__(self) -> Accelerator:
        if self._accelerator is not None:
            raise RuntimeError("this accelerator was entered already; call open_accelerator() again")
        self._accelerator = await self._open_it()
        return self._accelerator

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._accelerator is not None:
            await self._accelerator.aclose()


def open_accelerator(
    backend: str | Sequence[str] | None = None,
    *,
    on_fault: FaultHandler | None = None,
    observer: Observer | None = None,
    **settings: object,
) -> Opening:
    """Open an accelerator for the running event loop.

    :param backend: name of a backend, or several, best first; ``None``: as configured, else the best that is here
    :param on_fault: answers the page faults of a device whose faults are for a handler
    :param observer: is called after each operation with an :class:`~wdasync.Observation`
    :param settings: any field of :class:`~wdasync.Config`, or an option of the backend, see ``python -m wdasync config``
    :returns: an object for ``async with`` or ``await``
    :raises ConfigError: (when entered) if a setting is unknown or of the wrong type
    :raises BackendUnavailable: (when entered) if a backend is unknown, has no device, or cannot be opened
    :raises InvalidArgument: (when entered) if ``on_fault`` is given and no device asks a handler
    """
    if backend is not None:
        settings["backend"] = tuple(backend) if isinstance(backend, list) else backend

    async def open_it() -> Accelerator:
        return await _open(settings, on_fault, observer, default=False)

    return Opening(open_it)


async def _open(
    settings: dict[str, object], on_fault: FaultHandler | None, observer: Observer | None, *, default: bool
) -> Accelerator:
    loop = current_event_loop()
    _check_callables(on_fault, observer)
    effective = load(settings)
    # Devices and event loops outlive an accelerator that was forgotten: they must not keep it alive.
    held: list[weakref.ref[Accelerator]] = []

    def report(fault: PageFault) -> None:
        if held and (opened := held[0]()) is not None:
            opened._report_fault(fault)

    async def at_shutdown() -> None:
        if held and (opened := held[0]()) is not None:
            await opened.aclose()

    def at_close(in_order: bool) -> None:
        if held and (opened := held[0]()) is not None:
            opened.loop_closed(in_order)

    here = numa.Whereabouts.now()
    places = await in_thread(loop, lambda: _open_devices(effective, here, on_fault, report), _close_places)
    config = effective.config
    reaper = Reaper(
        loop, budget=config.reap_budget, interval=config.safety_interval, deadline=config.deadline
    )
    opener, schedule = Opener(loop, reaper, config.depth), Schedule(places, config)
    recovery = Recovery(
        opener, places, schedule.forget_routes, delay=config.reopen_delay, limit=config.reopen_limit
    )
    try:
        _check_handler(on_fault, places)
        await loop.start(at_shutdown if default else None, at_close)
        for place in places:
            _serve(loop, place)
        await _open_usual_lanes(opener, places)
    except BaseException:
        for step in (recovery.stop, reaper.close, loop.stop, partial(close_devices, loop, places)):
            await insist(step)
        raise
    execution = Execution(config, schedule, opener, recovery, observer)
    accelerator = Accelerator(effective, places, reaper, execution)
    held.append(weakref.ref(accelerator))
    for place in places:
        recovery.watch(place)
    logger.info("opened %r", accelerator)
    return accelerator


# -- devices ------------------------------------------------------------------------------------------------


async def _open_usual_lanes(opener: Opener, places: Sequence[Place]) -> None:
    """Open the queues that are for no special case. A device whose queues others use is left without, if another
    device is there for its work.

    :raises BackendUnavailable: if a backend that was asked for fails otherwise, or nobody has a queue
    """
    errors: list[BackendUnavailable] = []
    for place in places:
        for queue_class in place.device.capabilities.queue_classes:
            key = (queue_class, Priority.NORMAL, "")
            error = await opener.open(place, key)
            if error is not None:
                if place.asked and not used_up(error):
                    raise error
                logger.warning("%s: goes without a queue: %s", place.name, error)
                errors.append(error)
                place.put(key, ())
                if used_up(error):
                    place.missing[key] = place.wanted(key)
    if not any(place.every for place in places):
        raise errors[0] if errors else _no_queue(places)


def _no_queue(places: Sequence[Place]) -> BackendUnavailable:
    nodes = ", ".join(f"{place.name} at node {place.device.info.numa_node}" for place in places)
    return BackendUnavailable(
        f"open_queues: expected queues at the node of one of the devices, got none for {nodes}; "
        "see `python -m wdasync devices` for their nodes"
    )


def _open_devices(
    effective: Effective, here: numa.Whereabouts, on_fault: FaultHandler | None, report: FaultReporter
) -> list[Place]:
    """Open the devices of all backends that the settings ask for. Blocks."""
    places: list[Place] = []
    topology = numa.Topology.read(numa.SYSFS)
    home = effective.config.numa_node
    home = topology.home(here) if home is None else home
    try:
        for wanted in wanted_backends(effective.config):
            places += _open_backend(wanted, effective, partial(topology.distance, home), on_fault, report)
    except BaseException:
        _close_places(places)
        raise
    if not places:
        raise no_device()
    return places


def _open_backend(
    wanted: Wanted,
    effective: Effective,
    distance: Callable[[int | None], int],
    on_fault: FaultHandler | None,
    report: FaultReporter,
) -> list[Place]:
    """Open the devices of one backend. One that cannot be opened is left out.

    :raises BackendUnavailable: if the backend was asked for, and none can be opened
    """
    opened: list[tuple[DeviceInfo, Device]] = []
    errors: list[tuple[DeviceInfo, BackendUnavailable]] = []
    name = wanted.backend.name
    try:
        options = effective.options(name, wanted.backend.Options)
        counts = _counts(wanted, effective)
        for info in wanted.infos:
            try:
                opened.append((info, _open_device(wanted, info, options, on_fault, report)))
            except BackendUnavailable as error:
                errors.append((info, error))
        if wanted.asked and errors and not opened:
            raise errors[0][1]
        dealt = counts.deal([(device.capabilities, info.numa_node) for info, device in opened])
        places = [
            Place(
                name,
                device,
                general=wanted.general,
                asked=wanted.asked,
                distance=distance(info.numa_node),
                queues=queues,
            )
            for (info, device), queues in zip(opened, dealt, strict=True)
        ]
    except BaseException:
        _close_all(device for _, device in opened)
        raise
    level = logging.WARNING if wanted.asked else logging.INFO
    for info, reason in errors:
        logger.log(level, "%s/%s is left out: %s", name, info.name, reason)
    return places


def _counts(wanted: Wanted, effective: Effective) -> QueueCounts:
    """How many queues its devices open. A number for all is not about who only takes over from others."""
    name = wanted.backend.name
    if wanted.backend.fallback and not wanted.asked and f"{name}.open_queues" not in effective.origins:
        return QueueCounts()
    return effective.queues(name)


def _open_device(
    wanted: Wanted, info: DeviceInfo, options: object, on_fault: FaultHandler | None, report: FaultReporter
) -> Device:
    """Open one device.

    A handler is for whoever asks one; who takes over from others may have no page faults, and is opened without.
    """
    open_it = partial(_opened, wanted.backend, info, options)
    try:
        return open_it(on_fault=_marked(on_fault), report=report)
    except BackendUnavailable:
        if wanted.asked or on_fault is None:
            raise
        return open_it(report=report)


def _opened(backend: Backend, info: DeviceInfo, options: object, **how: Any) -> Device:
    """Open a device. Whatever its backend does instead is one error.

    :raises BackendUnavailable: if it is not there
    """
    try:
        device: Device | None = backend.open(info, options, **how)
    except WdasyncError:
        raise
    except Exception as error:
        raise BackendUnavailable(
            f"{backend.name}/{info.name}: cannot be opened: {type(error).__name__}: {error}; {REPORT_IT}"
        ) from error
    if device is None:
        raise BackendUnavailable(
            f"{backend.name}/{info.name}: open: expected a device, got None; {REPORT_IT}"
        )
    return device


def no_device() -> BackendUnavailable:
    """The error for a machine on which no backend has a device."""
    return BackendUnavailable(
        f"expected at least one device, got none from {', '.join(registry.backend_names()) or 'no backend'}; "
        "run `python -m wdasync doctor`"
    )


def _close_places(places: Sequence[Place]) -> None:
    _close_all(place.device for place in places)


def _close_all(devices: Iterable[Device]) -> None:
    for device in devices:
        device.close()


class Wanted(NamedTuple):
    """A backend that is to be opened.

    :ivar asked: the user named it, so that it must be there
    :ivar general: it takes operations that no rule gives it
    """

    backend: Backend
    infos: Sequence[DeviceInfo]
    asked: bool
    general: bool


def wanted_backends(config: Config) -> list[Wanted]:
    """Backends to open: in the order of preference, then the fallback, then those that only rules name."""
    named = (config.backend,) if isinstance(config.backend, str) else config.backend
    asked = [
        registry.get_backend(name)
        for name in dict.fromkeys([*(named or ()), *(rule.backend for rule in config.policy)])
    ]
    names = {backend.name for backend in asked}
    every = [
        *asked,
        *(
            registry.get_backend(name)
            for name in registry.backend_names()
            if name not in names and _loads(name)
        ),
    ]
    if named is None:
        general = sorted((backend for backend in every if backend.automatic is not None), key=_rank)
    else:
        general = [backend for backend in asked if backend.name in named]
        general += [
            backend for backend in every if backend.fallback and config.fallback and backend not in general
        ]
    found = [
        Wanted(backend, _devices(backend, backend in asked), backend in asked, general=True)
        for backend in general
    ]
    found += [
        Wanted(backend, _devices(backend, asked=True), asked=True, general=False)
        for backend in asked
        if backend not in general
    ]
    for wanted in found:
        if wanted.asked and not wanted.infos:
            raise BackendUnavailable(
                f"backend {wanted.backend.name!r}: expected a device, got none on this machine; run `python -m wdasync doctor`"
            )
    return [wanted for wanted in found if wanted.infos]


def _devices(backend: Backend, asked: bool) -> Sequence[DeviceInfo]:
    """Its devices. One that breaks its contract by raising is left out, unless it was asked for."""
    try:
        return backend.devices()
    except Exception as error:
        if asked:
            raise BackendUnavailable(
                f"backend {backend.name!r}: devices raised {type(error).__name__}: {error}; {REPORT_IT}"
            ) from error
        logger.exception("backend %s is left out: devices raised", backend.name)
        return ()


def _rank(backend: Backend) -> int:
    return -(backend.automatic or 0)


def _loads(name: str) -> bool:
    try:
        registry.get_backend(name)
    except BackendUnavailable as error:
        logger.info("backend %s is left out: %s", name, error)
        return False
    return True


def _check_callables(on_fault: object, observer: object) -> None:
    if on_fault is not None and not callable(on_fault):
        raise InvalidArgument(f"on_fault: expected an async function of a PageFault, got {on_fault!r}")
    if observer is not None and (not callable(observer) or iscoroutinefunction(observer)):
        raise InvalidArgument(
            f"observer: expected a function of an Observation that is not async, got {observer!r}"
        )


def _check_handler(on_fault: FaultHandler | None, places: Sequence[Place]) -> None:
    if on_fault is not None and not any(place.device.page_faults is PageFaults.HANDLER for place in places):
        names = ", ".join(place.name for place in places)
        raise InvalidArgument(
            f"on_fault: expected a device whose page faults go to a handler, got {names}; "
            "the kernel answers faults of real devices itself, and CPU threads have none"
        )


def _marked(on_fault: FaultHandler | None) -> FaultHandler | None:
    """The handler, with the mark that gives what it awaits lanes of its own."""
    if on_fault is None:
        return None

    async def handler(fault: PageFault) -> FaultResponse:
        token = serving_fault.set(True)
        try:
            return await on_fault(fault)
        finally:
            serving_fault.reset(token)

    return handler


def _serve(loop: EventLoop, place: Place) -> None:
    """Run a device's own coroutine in the context of whoever opened the accelerator."""
    serve = place.device.serve
    if serve is None:
        return

    async def run() -> None:
        try:
            await serve()
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            raise
        except BaseException as error:  # whatever it is, nobody serves the device any more
            logger.exception("%s: serve raised; the device is taken out of use", place.name)
            place.give_up(f"serve raised {type(error).__name__}: {error}")

    loop.spawn(run, contextvars.copy_context())


# -- the default accelerator --------------------------------------------------------------------------------


class _Default:
    """The default accelerator of one event loop, or the wait for it."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.accelerator: Accelerator | None = None
        self.generation = forks.generation


async def default_accelerator() -> Accelerator:
    """The accelerator that the module-level functions use: one for each event loop, opened at first use.

    It is closed with its event loop: by ``asyncio.run`` after all tasks and async generators have finished, by
    ``trio.run`` with its system tasks. A loop that is closed otherwise gives a ``ResourceWarning``.
    """
    held = loop_locals()
    default = held.get("default")
    if default is None or default.generation != forks.generation:
        default = held["default"] = _Default()
    accelerator = default.accelerator
    if accelerator is not None and accelerator.is_open:
        return accelerator
    async with default.lock:
        if default.accelerator is None or not default.accelerator.is_open:
            default.accelerator = await _open({}, None, None, default=True)
        return default.accelerator
