"""What pyproject.toml cannot say: packages found under two source roots, and the C extensions.

A plug-in that has C code keeps a cffi builder script `build_native.py` with an object `ffibuilder` beside
its `__init__.py`; the script is found here by its name, so a new one needs no change.
"""

import sys
import sysconfig
from pathlib import Path

from setuptools import find_packages, setup

ROOTS = {"wdasync": ".", "wdasync_cpu": "backends", "wdasync_uacce": "backends", "wdasync_hip08": "backends"}
# The extensions use only the stable ABI, so one wheel serves every CPython from 3.11 on that has the GIL.
STABLE_ABI = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    packages=[
        package for name, root in ROOTS.items() for package in find_packages(root, include=[name, f"{name}.*"])
    ],
    package_dir={name: str(Path(root, name)) for name, root in ROOTS.items()},
    cffi_modules=[f"{path.as_posix()}:ffibuilder" for path in sorted(Path("backends").glob("*/build_native.py"))],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
