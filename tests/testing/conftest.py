"""A stranger's backend, installed for a while."""

import importlib
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wdasync import registry

STRANGER = Path(__file__).parents[1] / "stranger"


@pytest.fixture(scope="session")
def stranger_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the stranger's in it: its files, and the metadata of its pyproject.toml.

    Written by hand, because an installer would want a build backend, which test environments may lack.
    """
    site = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((STRANGER / "pyproject.toml").read_text())
    meta = project["project"]
    for package in project["tool"]["setuptools"]["packages"]:
        shutil.copytree(STRANGER / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{meta['name'].replace('-', '_')}-{meta['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {meta['name']}\nVersion: {meta['version']}\n"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in meta["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("".join(groups))
    return site


@pytest.fixture
def stranger(stranger_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the stranger's backend, which is installed while the test runs."""
    monkeypatch.syspath_prepend(str(stranger_site))
    forget()
    yield "idxdlike"
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "idxdlike"]:
        del sys.modules[name]


def forget() -> None:
    """Let the registry look again."""
    importlib.invalidate_caches()
    registry._found.cache_clear()
    registry.get_backend.cache_clear()
