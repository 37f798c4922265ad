"""What the installed distribution says of itself, and what importing it costs."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
METADATA = importlib.metadata.metadata("wdasync")
DISTRIBUTION = importlib.metadata.distribution("wdasync")
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())

# Slow to import, or not for `import wdasync` to decide: loops, terminals, backends, codecs.
NOT_AT_IMPORT = {
    "asyncio", "brotli", "cffi", "click", "deflate", "hypothesis", "isal", "pytest", "rich", "trio", "uvloop",
    "wdasync_cpu", "wdasync_hip08", "wdasync_uacce",
}  # fmt: skip


def name_of(requirement: str) -> str:
    """The distribution that a requirement is for, lower case."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def test_licence_and_python_version() -> None:
    assert METADATA["License-Expression"] == "Apache-2.0"
    assert METADATA["Requires-Python"] == ">=3.11"
    assert METADATA.get_all("License-File") == ["LICENSE"]
    assert "Typing :: Typed" in METADATA.get_all("Classifier", [])


def test_readme_is_the_long_description() -> None:
    """Its first line only: the rest may be newer than an editable installation."""
    assert METADATA["Description-Content-Type"] == "text/markdown"
    assert str(METADATA.json["description"]).lstrip().startswith(PYPROJECT["project"]["name"], 2)


def test_extras() -> None:
    assert {"uvloop", "trio", "asgi", "crypto", "bench", "docs"} <= set(
        METADATA.get_all("Provides-Extra", [])
    )


def test_version_has_a_line_in_the_changelog() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()
    version = re.sub(r"\.dev\d+$", "", DISTRIBUTION.version)
    assert re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE)


@pytest.mark.parametrize(
    "entry_point", DISTRIBUTION.entry_points, ids=lambda point: f"{point.group}:{point.name}"
)
def test_entry_point_loads(entry_point: importlib.metadata.EntryPoint) -> None:
    assert entry_point.load() is not None


def test_entry_points_are_those_of_the_checkout() -> None:
    """An installation that is older than pyproject.toml would hide a plug-in."""
    project = PYPROJECT["project"]
    expected = {("console_scripts", *item) for item in project["scripts"].items()}
    for group, points in project["entry-points"].items():
        expected |= {(group, *item) for item in points.items()}
    assert {(point.group, point.name, point.value) for point in DISTRIBUTION.entry_points} == expected


def test_every_dependency_is_justified() -> None:
    page = (CHECKOUT / "docs" / "reference" / "dependencies.md").read_text()
    justified = {row.lower() for row in re.findall(r"^\| ([\w.-]+) \|", page, re.MULTILINE)}
    project = PYPROJECT["project"]
    needed = {name_of(each) for each in project["dependencies"]}
    optional = {name_of(each) for extra in project["optional-dependencies"].values() for each in extra}
    assert justified - {"package", "---"} == needed | optional


@pytest.mark.parametrize("package", ["wdasync", "wdasync_cpu", "wdasync_uacce", "wdasync_hip08"])
def test_package_is_marked_as_typed(package: str) -> None:
    root = CHECKOUT if package == "wdasync" else CHECKOUT / "backends"
    assert (root / package / "py.typed").is_file()


def test_import_is_light() -> None:
    script = "import sys; before = set(sys.modules); import wdasync; print(*set(sys.modules) - before)"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in child.stdout.split()}
    assert "wdasync" in imported
    assert imported & NOT_AT_IMPORT == set()
