"""Run by `nox -s package`: the C compiles for arm64, and the uacce backend's runs there.

The machines that have such devices are arm64. Debian's cross compiler builds every extension as it is in the sdist, and the
test program of the uacce backend, which qemu-user runs. Where one of them is not installed, that is said and passed over,
but not on a CI machine (CI=true). Argument: a folder for what it makes.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
COMPILER = "aarch64-linux-gnu-gcc"
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
PACKAGES = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"


def tools() -> tuple[str, str] | None:
    """The compiler and the emulator; ``None`` if one is missing."""
    compiler = shutil.which(COMPILER)
    emulator = next(filter(None, map(shutil.which, EMULATORS)), None)
    return (compiler, emulator) if compiler and emulator else None


def headers(folder: Path) -> list[str]:
    """Where Python's headers are. Debian's name the architecture in a path; the sizes of types are the same here."""
    include = Path(sysconfig.get_path("include"))
    name = include.name
    own = Path(sysconfig.get_config_var("INCLUDEDIR") or include.parent) / (
        sysconfig.get_config_var("MULTIARCH") or ""
    )
    other = folder / "include" / "aarch64-linux-gnu"
    if (own / name / "pyconfig.h").is_file():
        other.mkdir(parents=True)
        (other / name).symlink_to(own / name)
    return [f"-I{include}", f"-I{other.parent}"]


def builder(path: Path) -> Any:
    """What a ``build_native.py`` describes."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ffibuilder


def compile_extension(compiler: str, path: Path, folder: Path) -> None:
    """All of an extension's C, linked as far as it can be without an arm64 Python."""
    ffibuilder = builder(path)
    name, _, _, settings = ffibuilder._assigned_source
    generated = folder / f"{name}.c"
    ffibuilder.emit_c_code(str(generated))
    command = [
        compiler, "-shared", "-fPIC", "-Wl,--unresolved-symbols=ignore-all",
        *headers(folder / name),
        *(f"-I{CHECKOUT / each}" for each in settings.get("include_dirs", ())),
        *(f"-D{macro}={value}" for macro, value in settings.get("define_macros", ())),
        *settings.get("extra_compile_args", ()),
        *(str(CHECKOUT / each) for each in settings.get("sources", ())),
        str(generated), "-o", str(folder / f"{name}.so"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    print(f"{name} compiles for arm64")


def run_program(compiler: str, emulator: str, folder: Path) -> None:
    """The test program of the uacce backend's C."""
    program = folder / "test_region"
    native = CHECKOUT / "backends" / "wdasync_uacce" / "native"
    source = CHECKOUT / "tests" / "uacce" / "native" / "test_region.c"
    options = ["-std=gnu11", "-O2", "-pthread", "-static", "-Wall", "-Wextra", "-Werror", f"-I{native}"]
    subprocess.run([compiler, *options, str(source), "-o", str(program)], check=True)
    command = [emulator, str(program), "emulated"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    print("The uacce backend's C on arm64:", done.stdout.strip())


def main(folder: Path) -> None:
    """Everything, or a line that says why not."""
    found = tools()
    if found is None:
        message = f"arm64 is not checked: apt install {PACKAGES}"
        if os.environ.get("CI") == "true":
            sys.exit(message)
        print(message)
        return
    os.environ["WDASYNC_BUILD_NATIVE_CODECS"] = "0"
    os.chdir(CHECKOUT)
    for path in sorted(CHECKOUT.glob("backends/*/build_native.py")):
        compile_extension(found[0], path, folder)
    run_program(*found, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
