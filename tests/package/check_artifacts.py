"""Run by `nox -s package`: what is in the sdist and in the wheel made from it. Argument: their folder."""

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

PACKAGES = {"wdasync", "wdasync_cpu", "wdasync_uacce", "wdasync_hip08"}
CHECKOUT = Path(__file__).parents[2]
NOT_IN_A_WHEEL = re.compile(
    r"(^|/)(backends|tests|docs|examples)/|\.(c|h|o)$|/build_native\.py$|__pycache__|\.nox/"
)
# tests/guest has a kernel module, which is under another licence, and needs the checkout.
NOT_IN_AN_SDIST = re.compile(r"\.(so|o|pyc)$|__pycache__|/\.nox/|/\.git/|/docs/_build/|/tests/guest/")


def check_wheel(path: Path) -> None:
    """The four packages and their metadata, nothing else; one wheel for every CPython that has the GIL."""
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    info = {name for name in top if name.endswith(".dist-info")}
    assert top - info == PACKAGES, f"the wheel's top level: {sorted(top)}"
    assert any(name.endswith("/licenses/LICENSE") for name in names), "the wheel has no licence"
    metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert metadata.endswith((CHECKOUT / "README.md").read_text()), "the wheel is not described by README.md"
    unwanted = [name for name in names if NOT_IN_A_WHEEL.search(name)]
    assert not unwanted, f"the wheel has {unwanted}"
    built = [name for name in names if name.endswith(".so")]
    builders = sorted(CHECKOUT.glob("backends/*/build_native.py"))
    assert len(built) == len(builders), f"{len(builders)} builder scripts, but in the wheel: {built}"
    if built:
        assert all(name.endswith(".abi3.so") for name in built), built
        assert re.search(r"-cp311-abi3-\w*linux\w*\.whl$", path.name), path.name
    modules = {
        name for name in [*sources("*.py"), *sources("*.pyi")] if not name.endswith("/build_native.py")
    }
    assert not (absent := modules.difference(names)), f"not in the wheel: {sorted(absent)}"


def check_sdist(path: Path) -> None:
    """Everything that a build, the tests and the documentation need; nothing that they make."""
    with tarfile.open(path) as archive:
        names = archive.getnames()
    unwanted = [name for name in names if NOT_IN_AN_SDIST.search(name)]
    assert not unwanted, f"the sdist has {unwanted}"
    inside = {name.split("/", 1)[1] for name in names if "/" in name}
    needed = [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "noxfile.py",
        "pyproject.toml",
        "setup.py",
        "docs/conf.py",
    ]
    native = [
        f"backends/{name}"
        for pattern in ("*.py", "*.pyi", "*.c", "*.h")
        for name in sources(pattern, "backends")
    ]
    tests = [
        str(file.relative_to(CHECKOUT))
        for file in CHECKOUT.glob("tests/**/*.py")
        if not file.is_relative_to(CHECKOUT / "tests" / "guest")
    ]
    absent = [name for name in (*needed, *native, *tests) if name not in inside]
    assert not absent, f"not in the sdist: {absent}"


def sources(pattern: str, *roots: str) -> Iterable[str]:
    """Files of the four packages as they are named in a wheel: relative to their source root."""
    for root in roots or ("", "backends"):
        for package in sorted(PACKAGES):
            for file in Path(CHECKOUT, root, package).rglob(pattern):
                yield str(file.relative_to(CHECKOUT / root))


def main(dist: Path) -> None:
    """Check the one sdist and the one wheel that the folder holds."""
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    print(f"{wheel.name} and {sdist.name} hold what they should")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
