"""What is made once and kept: the kernel, QEMU, the modules. Each in a folder of its own, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .packages import SERIES, Kernel, Unavailable, download, find_kernel, unpack, with_dependencies

__all__ = ["Artefacts", "prepare"]

MODULE_SOURCES = Path(__file__).parents[1] / "module"
OURS = ("wdasync_board", "uacce", "wdasync_zip")

#: QEMU with its firmware; a shell for the guest; what the source's archive is unpacked with; what modules are built with.
TOOLS = ("qemu-system-x86", "seabios", "busybox-static", "xz-utils")
NEEDED_TO_BUILD = ("gcc", "make")

#: How data packed by xz begin, and programs.
XZ, ELF = b"\xfd7zXZ\0", b"\x7fELF"

#: Modules without which the guest does not see its file systems.
WANTED_MODULES = ("virtio_pci", "9pnet_virtio", "9p")


@dataclass(frozen=True)
class Artefacts:
    """Where everything is.

    :ivar kernel: which one
    :ivar image: what QEMU boots
    :ivar boot_modules: modules for the initramfs, in order of loading
    :ivar modules: folder of the board, uacce and the device
    :ivar tools: QEMU and busybox, as packages put them
    """

    kernel: Kernel
    image: Path
    boot_modules: tuple[Path, ...]
    modules: Path
    tools: Path

    @property
    def qemu(self) -> Path:
        """Debian's, or one that was installed."""
        return _tool(self.tools / "usr/bin/qemu-system-x86_64")

    @property
    def busybox(self) -> Path:
        """Static, so that it needs nothing of the host's."""
        return _tool(self.tools / "bin/busybox")


def _tool(unpacked: Path) -> Path:
    """A package that is installed already is not unpacked."""
    if unpacked.exists():
        return unpacked
    found = shutil.which(unpacked.name)
    if found is None:
        raise Unavailable(f"{unpacked.name} is neither installed nor among what was unpacked")
    return Path(found)


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place only when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        making = Path(scratch, "new")
        making.mkdir()
        yield making
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)


def prepare(cache: Path, say: Callable[[str], None]) -> Artefacts:
    """Have everything, making what is missing.

    :raises Unavailable: this machine cannot
    """
    _check_machine()
    tools, kernel_folder = cache / "tools", cache / "kernel"
    with ThreadPoolExecutor() as pool:
        jobs = []
        if not tools.exists():
            say("fetching QEMU and busybox")
            jobs.append(pool.submit(_make_tools, tools))
        if not kernel_folder.exists():
            say("asking apt for a kernel")
            jobs.append(pool.submit(_make_kernel, kernel_folder, tools, say))
        for job in jobs:
            job.result()
    told = json.loads((kernel_folder / "kernel.json").read_text())
    kernel = Kernel(told["version"], told["release"])
    boot_modules = tuple(kernel_folder / "boot" / f"{name}.ko" for name in told["boot_modules"])
    image = kernel_folder / "vmlinux"
    if not image.exists():
        image.write_bytes(unpacked_kernel((kernel_folder / "vmlinuz").read_bytes()))
    modules = cache / f"modules-{_digest(kernel)}"
    if not modules.exists():
        for old in cache.glob("modules-*"):
            shutil.rmtree(old)
        say("building modules")
        with _whole(modules) as folder:
            _build(folder, kernel_folder, kernel)
    return Artefacts(kernel, image, boot_modules, modules, tools)


def unpacked_kernel(image: bytes) -> bytes:
    """The kernel that is in an image, as it is; the image itself if that is packed in another way.

    QEMU boots either, but an emulated processor takes seconds to unpack.
    """
    at = image.find(XZ)
    if at >= 0:
        with contextlib.suppress(lzma.LZMAError):
            found = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[at:])
            if found.startswith(ELF):
                return found
    return image


def _check_machine() -> None:
    if os.uname().machine != "x86_64":
        raise Unavailable(f"expected an x86-64 machine, got {os.uname().machine}: the modules are for that")
    missing = [name for name in NEEDED_TO_BUILD if shutil.which(name) is None]
    if missing:
        raise Unavailable(
            f"{' and '.join(missing)} to build kernel modules: apt-get install {' '.join(missing)}"
        )


def _make_tools(folder: Path) -> None:
    with _whole(folder) as making, tempfile.TemporaryDirectory() as scratch:
        for package in download(with_dependencies(TOOLS), Path(scratch, "debs")):
            unpack(package, making)


def _make_kernel(folder: Path, tools: Path, say: Callable[[str], None]) -> None:
    kernel = find_kernel()
    say(f"fetching Linux {kernel.release}, Debian's version {kernel.version}")
    with _whole(folder) as making, tempfile.TemporaryDirectory() as scratch:
        debs = download(kernel.packages, Path(scratch, "debs"))
        root = Path(scratch, "root")
        with ThreadPoolExecutor(2) as pool:
            source = pool.submit(
                _take_source, next(d for d in debs if "-source-" in d.name), making / "uacce.c"
            )
            for package in debs:
                if "-source-" not in package.name:
                    unpack(package, root)
            source.result()
        boot_modules = _take_boot_modules(root / "lib/modules" / kernel.release, making / "boot")
        shutil.move(root / "boot" / f"vmlinuz-{kernel.release}", making / "vmlinuz")
        _take_headers(root, making / "headers", kernel, folder / "headers")
        told = {"version": kernel.version, "release": kernel.release, "boot_modules": boot_modules}
        (making / "kernel.json").write_text(json.dumps(told))


def _take_source(package: Path, to: Path) -> None:
    """One file out of an archive in an archive; the rest is not unpacked."""
    name = f"linux-source-{SERIES}"
    command = (
        f'dpkg --fsys-tarfile "$1" | tar -xO ./usr/src/{name}.tar.xz | xz -dc | '
        f"tar -xO --occurrence=1 {name}/drivers/misc/uacce/uacce.c"
    )
    done = subprocess.run(["sh", "-c", command, "sh", str(package)], capture_output=True, check=False)
    if not done.stdout:
        raise Unavailable(
            f"there is no uacce.c in {package.name}: {done.stderr.decode(errors='replace')[-200:]}"
        )
    to.write_bytes(done.stdout)


def _take_boot_modules(folder: Path, to: Path) -> list[str]:
    """The modules of :data:`WANTED_MODULES` and those they need, in order; what is built in needs no file."""
    files = {path.stem: path for path in folder.glob("kernel/**/*.ko")}
    order: list[str] = []

    def add(name: str) -> None:
        if name in files and name not in order:
            told = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
            for other in told[1].decode().split(",") if told else ():
                add(other)
            order.append(name)

    for name in WANTED_MODULES:
        add(name)
    to.mkdir()
    for name in order:
        shutil.copy(files[name], to)
    return order


def _take_headers(root: Path, to: Path, kernel: Kernel, final: Path) -> None:
    """Headers say where others are by absolute paths; here they are elsewhere."""
    shutil.move(root / "usr", to)
    makefile = to / "src" / f"linux-headers-{kernel.release}" / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{final}/src/"))


def _digest(kernel: Kernel) -> str:
    digest = hashlib.sha256(repr(kernel).encode())
    for path in sorted(MODULE_SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(folder: Path, kernel_folder: Path, kernel: Kernel) -> None:
    build = folder / "build"
    shutil.copytree(MODULE_SOURCES, build)
    shutil.copy(kernel_folder / "uacce.c", build)
    headers = kernel_folder / "headers/src" / f"linux-headers-{kernel.release}"
    command = ["make", "-s", "-C", str(headers), f"M={build}", "modules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the modules cannot be built:\n{done.stdout}{done.stderr}")
    for name in OURS:
        subprocess.run(["strip", "--strip-debug", str(build / f"{name}.ko")], check=True)
        shutil.move(build / f"{name}.ko", folder)
    shutil.rmtree(build)
