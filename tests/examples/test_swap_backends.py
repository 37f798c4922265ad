"""One program, three configuration files."""

import pytest

from tests.examples.support import EXAMPLES, run

CONFIGS = EXAMPLES / "swap_backends"


@pytest.mark.parametrize(
    ("config", "devices", "small", "large"),
    [
        ("cpu", "cpu/cpu0", "cpu/cpu0 (inline)", "cpu/cpu0 (preferred)"),
        (
            "chip",
            "hip08/hisi_zip-0, hip08/hisi_hpre-0, hip08/hisi_sec2-0, cpu/cpu0",
            "hip08/hisi_zip-0 (preferred)",
            "hip08/hisi_zip-0 (preferred)",
        ),
        (
            "split",
            "cpu/cpu0, hip08/hisi_zip-0, hip08/hisi_hpre-0, hip08/hisi_sec2-0",
            "cpu/cpu0 (size)",
            "hip08/hisi_zip-0 (preferred)",
        ),
    ],
)
def test_the_same_program_elsewhere(config: str, devices: str, small: str, large: str) -> None:
    # What is small is said of a quick machine; on a slow one 200 bytes take long.
    done = run(
        "swap_backends.py",
        WDASYNC_CONFIG=str(CONFIGS / f"{config}.toml"),
        WDASYNC_INLINE_COST="100000",
    )
    said = done.stdout.splitlines()
    assert said[0] == f"devices: {devices}"
    assert small in said[1]
    assert large in said[4]


def test_each_file_is_named_in_the_program() -> None:
    text = (EXAMPLES / "swap_backends.py").read_text()
    assert sorted(file.name for file in CONFIGS.iterdir()) == ["chip.toml", "cpu.toml", "split.toml"]
    assert all(file.name in text for file in CONFIGS.iterdir())


def test_without_a_file() -> None:
    assert "cpu/cpu0" in run("swap_backends.py").stdout
