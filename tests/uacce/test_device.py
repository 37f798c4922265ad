"""Devices and the backend object: capabilities, errors of the file layer, what is refused at open."""

import errno

import pytest

from wdasync.backend import Backend, Device, Direction, PageFaults, StreamSpec
from wdasync.errors import BackendUnavailable, UnsupportedOperation
from wdasync.faults import FaultResponse, PageFault
from wdasync.operations import Kind, Nop
from wdasync_uacce import NodeFlag, UacceBackend, UacceOptions, ZipDevice, driver_of

from .stand_in import StandIn


def device(layer: StandIn) -> ZipDevice:
    return ZipDevice(layer, layer.node())


async def answer(fault: PageFault) -> FaultResponse:
    return FaultResponse.INVALID


# -- capabilities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "algorithms"), [(2, ["zlib", "gzip"]), (3, ["zlib", "gzip", "deflate"])])
def test_capabilities_are_what_the_node_names_and_the_driver_knows(
    version: int, algorithms: list[str]
) -> None:
    table = device(StandIn(version=version)).capabilities
    assert [row.algorithm for row in table if row.kind is Kind.COMPRESS] == algorithms
    assert [row.algorithm for row in table if row.kind is Kind.DECOMPRESS] == algorithms
    assert table.queue_classes == ("compress", "decompress")
    for row in table:
        if row.kind is not Kind.NOP:
            assert row.queue_class == row.kind.name.lower()
            assert [row.level(name) for name in ("fast", "balanced", "best", 0, 9)] == [1] * 5
            assert row.max_input == {Kind.COMPRESS: 7 << 20, Kind.DECOMPRESS: 8 << 20}[row.kind]
            assert row.max_output == 8 << 20


def test_without_shared_addresses_less_is_taken() -> None:
    found = device(StandIn(sva=False))
    assert not found.sva
    assert {row.max_input for row in found.capabilities if row.kind is not Kind.NOP} == {128 << 10}


def test_a_device_is_what_the_contract_asks_for() -> None:
    layer = StandIn()
    found = device(layer)
    assert isinstance(found, Device)
    assert (found.sva, found.page_faults, found.serve, found.inline) == (True, PageFaults.KERNEL, None, None)
    assert (found.info.backend, found.info.name, found.info.numa_node) == ("uacce", "hisi_zip-0", 0)
    assert found.info.description == "HiSilicon zip, hisi qm v2"
    assert found.allocate(100) is None
    assert found.lost is None
    found.close()


@pytest.mark.parametrize("api", ["hisi_qm_v1", "hisi_qm_v99", "idxd", ""])
def test_a_queue_manager_that_is_not_known_is_refused(api: str) -> None:
    layer = StandIn()
    layer.attributes["api"] = api
    with pytest.raises(BackendUnavailable, match="hisi_zip-0: expected api hisi_qm_v2 or later"):
        device(layer)


# -- queues -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queue_class", "told"), [("", 0), ("compress", 0), ("decompress", 1)])
def test_the_direction_is_told_by_the_queue_type(queue_class: str, told: int) -> None:
    layer = StandIn()
    queue = device(layer).open_queue(10, queue_class=queue_class)
    assert layer.files[0].type == told
    assert queue.depth == 10
    queue.close()


def test_a_queue_class_that_is_none() -> None:
    with pytest.raises(
        BackendUnavailable, match="expected queue class 'compress' or 'decompress', got 'both'"
    ):
        device(StandIn()).open_queue(10, queue_class="both")


@pytest.mark.parametrize(
    ("call", "number", "advice"),
    [
        ("open", errno.EBUSY, "EBUSY: all its hardware queues are taken"),
        ("open", errno.EACCES, "EACCES: this user may not open the node"),
        ("open", errno.EPERM, "EPERM: this process may not open the node"),
        ("open", errno.ENOENT, "ENOENT: there is no such node"),
        ("open", errno.ENODEV, "ENODEV: shared addresses are refused"),
        ("open", errno.EOPNOTSUPP, "shared addresses are refused"),
        ("open", errno.ENOMEM, "ENOMEM: the kernel has no memory"),
        ("open", errno.EINVAL, "EINVAL: the device vanished"),
        ("open", errno.EDOM, "EDOM: nobody knows what this number means here; see the kernel's log"),
        ("start", errno.EIO, "EIO: the queue manager did not answer"),
        ("map DUS", errno.ENXIO, "ENXIO: the device went away"),
        ("set_queue_type", errno.EINVAL, "EINVAL"),
        ("start", errno.ENXIO, "ENXIO"),
    ],
)
def test_what_an_error_number_means(call: str, number: int, advice: str) -> None:
    layer = StandIn()
    layer.errors[call] = number
    with pytest.raises(
        BackendUnavailable, match=f"hisi_zip-0: no queue could be opened: .*{advice}"
    ) as caught:
        device(layer).open_queue(10)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    assert all(file.state == "CLOSED" for file in layer.files)


def test_rings_of_another_shape_are_told() -> None:
    layer = StandIn()
    layer.shape = layer.shape._replace(sqe_size=64)
    with pytest.raises(BackendUnavailable, match="hisi_zip-0: queue 21: expected entries of 128 bytes"):
        device(layer).open_queue(10)


def test_a_space_that_refuses_the_driver_itself_closes_the_queue() -> None:
    layer = StandIn()
    layer.space.refuse = lambda buffer: errno.EFAULT
    with pytest.raises(BackendUnavailable, match="no queue could be opened: EFAULT"):
        device(layer).open_queue(10)
    assert layer.files[0].state == "CLOSED"


def test_streams_are_for_another_backend() -> None:
    with pytest.raises(UnsupportedOperation, match=r"expected whole units, got a stream \(compress gzip\)"):
        device(StandIn()).open_session(StreamSpec(Direction.COMPRESS, "gzip"))


# -- lost, and back -----------------------------------------------------------------------------------------------------


def test_a_device_that_lost_a_queue_is_lost_until_it_is_reset() -> None:
    layer = StandIn()
    found = device(layer)
    queue = found.open_queue(10)
    layer.files[0].disable()
    assert queue.arm()
    assert queue.enqueue_burst([]) == 0
    assert found.lost is None, "nothing was sent, so nobody looked"
    queue.enqueue_burst([(0, Nop())])
    assert found.lost == "the device is in reset (send and receive side disabled)"
    assert "lost" in repr(found)
    queue.close()
    found.reset()
    assert found.lost is None


def test_what_the_layer_knows_counts_too() -> None:
    layer = StandIn()
    found = device(layer)
    layer.gone = "it was unplugged"
    assert found.lost == "it was unplugged"
    found.reset()
    assert found.lost == "it was unplugged"


# -- the backend ----------------------------------------------------------------------------------------------------------


def test_the_backend_finds_opens_and_works() -> None:
    layer = StandIn()
    backend: Backend = UacceBackend(layer)
    (info,) = backend.devices()
    opened = backend.open(info, UacceOptions())
    assert opened.info == info
    opened.open_queue(5).close()
    opened.close()
    assert not layer.space.grants


def test_nodes_without_a_driver_are_left_alone() -> None:
    layer = StandIn()
    layer.attributes["name"] = "hisi_dma-3"
    backend = UacceBackend(layer)
    assert driver_of(layer.node()) is None
    assert list(backend.devices()) == []


def test_an_isolated_device_is_not_offered() -> None:
    layer = StandIn()
    backend = UacceBackend(layer)
    (info,) = backend.devices()
    layer.attributes["isolated"] = True
    assert list(backend.devices()) == []
    with pytest.raises(BackendUnavailable, match="isolated by the kernel"):
        backend.open(info, UacceOptions())


def test_a_device_that_is_gone_cannot_be_opened() -> None:
    layer = StandIn()
    backend = UacceBackend(layer)
    (info,) = backend.devices()
    layer.attributes["name"] = "hisi_zip-7"
    with pytest.raises(BackendUnavailable, match="hisi_zip-0: there is no such device any more"):
        backend.open(info, UacceOptions())


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOENT])
def test_a_device_that_this_process_may_not_use_is_not_opened(number: int) -> None:
    """Who did not ask for it goes on without."""
    layer = StandIn()
    backend = UacceBackend(layer)
    (info,) = backend.devices()
    layer.errors["open"] = number
    with pytest.raises(BackendUnavailable, match="hisi_zip-0: no queue could be opened") as caught:
        backend.open(info, UacceOptions())
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_a_device_whose_queues_others_have_is_opened(number: int) -> None:
    layer = StandIn()
    backend = UacceBackend(layer)
    (info,) = backend.devices()
    layer.errors["open"] = number
    device = backend.open(info, UacceOptions())
    with pytest.raises(BackendUnavailable):
        device.open_queue(4)
    layer.errors.clear()
    device.open_queue(4).close()


def test_a_fault_handler_is_refused_where_the_kernel_answers() -> None:
    layer = StandIn()
    backend = UacceBackend(layer)
    (info,) = backend.devices()
    with pytest.raises(BackendUnavailable, match="expected no on_fault"):
        backend.open(info, UacceOptions(), on_fault=answer)
    layer.page_faults = PageFaults.HANDLER
    backend.open(info, UacceOptions(), on_fault=answer).close()


def checks(layer: StandIn) -> dict[str, bool | None]:
    return {check.name: check.passed for check in UacceBackend(layer).diagnose(UacceOptions())}


def test_a_good_machine_passes() -> None:
    found = checks(StandIn())
    assert set(found.values()) == {True}
    assert [name.removeprefix("hisi_zip-0 ") for name in found] == [
        "uacce devices", "driver", "api", "algorithms", "free queues", "isolation", "addresses", "NUMA node", "open",
        "compress zlib", "compress gzip", "decompress zlib", "decompress gzip",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("attribute", "value", "failing"),
    [
        ("api", "hisi_qm_v1", "hisi_zip-0 api"),
        ("available_instances", 0, "hisi_zip-0 free queues"),
        ("isolated", True, "hisi_zip-0 isolation"),
    ],
)
def test_a_bad_machine_fails_where_it_is_bad(attribute: str, value: object, failing: str) -> None:
    layer = StandIn()
    layer.attributes[attribute] = value
    assert [name for name, passed in checks(layer).items() if passed is False] == [failing]
    for check in UacceBackend(layer).diagnose(UacceOptions()):
        assert bool(check.advice) is (check.name == failing)


def test_a_machine_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = StandIn()
    monkeypatch.setattr(layer, "discover", list)
    (check,) = UacceBackend(layer).diagnose(UacceOptions())
    assert (check.passed, check.found) == (False, "none in /sys/class/uacce")
    assert "hisi_zip" in check.advice


def test_a_node_of_another_engine_is_not_our_affair() -> None:
    layer = StandIn()
    layer.attributes |= {"name": "hisi_dma-0", "flags": NodeFlag.SVA}
    assert checks(layer) == {"uacce devices": True, "hisi_dma-0 driver": None}
