"""What pyproject.toml cannot say: packages found under two source roots, and the C extensions.

A plug-in that has C code keeps a cffi builder script `build_native.py` with an object `ffibuilder` beside
its `__init__.py`; the script is found here by its name, so a new one needs no change.
"""

import sys
import sysconfig
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOTS = {"wdasync": ".", "wdasync_cpu": "backends", "wdasync_uacce": "backends", "wdasync_hip08": "backends"}
# The extensions use only the stable ABI, so one wheel serves every CPython from 3.11 on that has the GIL.
STABLE_ABI = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildPy(build_py):
    """Leaves the builder scripts out of the wheel, which has what they build."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """All modules of a package but the builder script."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "build_native"]


setup(
    cmdclass={"build_py": BuildPy},
    packages=[
        package
        for name, root in ROOTS.items()
        for package in find_packages(root, include=[name, f"{name}.*"])
    ],
    package_dir={name: str(Path(root, name)) for name, root in ROOTS.items()},
    cffi_modules=[
        f"{path.as_posix()}:ffibuilder" for path in sorted(Path("backends").glob("*/build_native.py"))
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
