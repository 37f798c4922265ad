"""Discovery: what sysfs tells, in every spelling, with anything missing or wrong."""

import os
from pathlib import Path

import pytest

from wdasync.errors import BackendUnavailable
from wdasync_uacce import LinuxFiles, NodeFlag, NodeInfo, UacceBackend

from .kernel import ATTRIBUTES, make_entry


def node(sys: Path, **changes: str | None) -> NodeInfo:
    make_entry(sys, **changes)
    (found,) = LinuxFiles(sys).discover()
    return found


def test_all_attributes_of_a_kunpeng(tmp_path: Path) -> None:
    found = node(tmp_path)
    assert found == NodeInfo(
        "hisi_zip-0", "hisi_qm_v2", NodeFlag.SVA, ("zlib", "gzip"), 256, 8192, 151552, 0, False, 0,
        attributes=found.attributes,
    )  # fmt: skip
    names = {Path(name).name for name in ATTRIBUTES}
    assert set(found.attributes) == names
    assert found.attributes["algorithms"] == "zlib, gzip"


def test_the_spelling_of_the_first_warpdrive(tmp_path: Path) -> None:
    old = {f"attrs__{name}": text for name, text in ATTRIBUTES.items() if "/" not in name}
    gone = dict.fromkeys(name.replace("/", "__") for name in ATTRIBUTES)
    found = node(tmp_path, **gone, **old, attrs__node_id="3", attrs__numa_distance="10")
    assert (found.api, found.flags, found.numa_node) == ("hisi_qm_v2", NodeFlag.SVA, 3)
    assert (found.mmio_size, found.dus_size, found.problems) == (8192, 151552, ())
    assert found.attributes["numa_distance"] == "10"


def test_what_only_people_want_to_see(tmp_path: Path) -> None:
    found = node(tmp_path, dev_state="0", dev_usage="COMPRESS: 12\nDECOMPRESS: 3", numa_distance="")
    assert found.attributes["dev_state"] == "0"
    assert found.attributes["dev_usage"] == "COMPRESS: 12, DECOMPRESS: 3"
    assert "numa_distance" not in found.attributes
    assert found.problems == ()


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"device__numa_node": "-1"}, "numa_node", None),
        ({"device__numa_node": None}, "numa_node", None),
        ({"device__numa_node": None, "node_id": "2"}, "numa_node", 2),
        ({"isolate": "1"}, "isolated", True),
        ({"isolate": None}, "isolated", False),
        ({"isolate_strategy": "10"}, "isolate_strategy", 10),
        ({"isolate_strategy": None}, "isolate_strategy", None),
        ({"flags": "129"}, "flags", NodeFlag.SVA | NodeFlag.IOMMU),
        ({"flags": "2"}, "flags", NodeFlag.NO_IOMMU),
        ({"api": "hisi_qm_v2_noiommu"}, "api", "hisi_qm_v2_noiommu"),
        ({"algorithms": "zlib\ngzip\ndeflate\n\n"}, "algorithms", ("zlib", "gzip", "deflate")),
        ({"available_instances": "0"}, "available_instances", 0),
    ],
)
def test_one_attribute_is_another(
    tmp_path: Path, changes: dict[str, str | None], field: str, value: object
) -> None:
    found = node(tmp_path, **changes)
    assert getattr(found, field) == value
    assert found.problems == ()


@pytest.mark.parametrize("name", ["api", "flags", "algorithms", "available_instances", "region_mmio_size", "region_dus_size"])  # fmt: skip
def test_what_a_driver_needs_is_missed(tmp_path: Path, name: str) -> None:
    assert node(tmp_path, **{name: None}).problems == (f"{name} is missing",)


@pytest.mark.parametrize("text", ["many", "", "-4096", "0x2000", "8192\n8192", "\udce9"])
def test_a_number_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    entry = make_entry(tmp_path)
    (entry / "region_mmio_size").write_bytes(os.fsencode(text))
    (found,) = LinuxFiles(tmp_path).discover()
    assert found.mmio_size == 0
    assert found.problems[0].startswith("region_mmio_size: expected a number, got ")


def test_an_attribute_that_may_not_be_read_is_missing(tmp_path: Path) -> None:
    entry = make_entry(tmp_path, api=None)
    (entry / "api").mkdir()
    (found,) = LinuxFiles(tmp_path).discover()
    assert found.problems == ("api is missing",)


def test_nothing_but_a_name(tmp_path: Path) -> None:
    (tmp_path / "class" / "uacce" / "hisi_zip-0").mkdir(parents=True)
    layer = LinuxFiles(tmp_path)
    (found,) = layer.discover()
    assert len(found.problems) == 6
    backend = UacceBackend(layer)
    with pytest.raises(BackendUnavailable, match="expected api hisi_qm_v2 or later, got ''"):
        backend.open(backend.devices()[0], backend.Options())


def test_nodes_are_sorted_by_name(tmp_path: Path) -> None:
    for name in ("hisi_zip-1", "hisi_sec2-4", "hisi_zip-0"):
        make_entry(tmp_path, name)
    assert [found.name for found in LinuxFiles(tmp_path).discover()] == [
        "hisi_sec2-4",
        "hisi_zip-0",
        "hisi_zip-1",
    ]


def test_an_entry_may_be_a_link_as_in_sysfs(tmp_path: Path) -> None:
    real = make_entry(tmp_path / "devices")
    (tmp_path / "class" / "uacce").mkdir(parents=True)
    (tmp_path / "class" / "uacce" / "hisi_zip-5").symlink_to(real)
    (found,) = LinuxFiles(tmp_path).discover()
    assert (found.name, found.api) == ("hisi_zip-5", "hisi_qm_v2")


def test_a_machine_without_uacce(tmp_path: Path) -> None:
    assert list(LinuxFiles(tmp_path).discover()) == []
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "uacce").write_text("no directory")
    assert list(LinuxFiles(tmp_path).discover()) == []
