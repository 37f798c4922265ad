"""One run of QEMU: boots, tells what the console says, and ends."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .artefacts import Artefacts
from .initramfs import cpio

__all__ = ["MEMORY_MIB", "run"]

#: Of each guest. Its kernel, a few Python processes, and what they put into /tmp.
MEMORY_MIB = 1024

#: A probe of /dev/kvm proves nothing: it can be opened on machines whose hypervisor runs no stock kernel.
ACCELERATOR = "tcg,thread=multi"

#: Strings are copied byte by byte in emulation if the processor calls that fast, and in larger steps if not. The wide registers of
#: AVX2 are emulated by calls for each instruction, and half of them are not.
PROCESSOR = "max,-erms,-avx2"

#: No mitigations: they cost an emulated processor much, and protect nothing here. No self-tests of the kernel's ciphers. The
#: time is that of the time stamp counter: any other takes a trip into the emulator for each look. An oops ends the run.
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 oops=panic nokaslr mitigations=off audit=0 cryptomgr.notests tsc=reliable hpet=disable"


def command(artefacts: Artefacts, initramfs: Path, shared: Path, processors: int) -> list[str]:
    """What is started: no disk, no network, the host's root read-only and one folder that can be written."""
    words = [
        *(
            str(artefacts.qemu),
            "-accel",
            ACCELERATOR,
            "-cpu",
            PROCESSOR,
            "-smp",
            str(processors),
            "-m",
            str(MEMORY_MIB),
        ),
        *(
            "-M",
            "q35",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ),
        *("-kernel", str(artefacts.image), "-initrd", str(initramfs), "-append", KERNEL_OPTIONS),
    ]
    firmware = [artefacts.tools / "usr/share" / name for name in ("qemu", "seabios")]
    for folder in (*firmware, artefacts.tools / "usr/lib/ipxe/qemu"):
        if folder.exists():
            words += ["-L", str(folder)]
    for tag, path, options in (("host", Path("/"), "readonly=on,multidevs=remap"), ("shared", shared, "")):
        share = f"local,id={tag},path={path},security_model=none"
        words += [
            "-fsdev",
            f"{share},{options}".rstrip(","),
            "-device",
            f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        ]
    return words


def environment(artefacts: Artefacts) -> dict[str, str]:
    """QEMU's libraries are beside it, if they were unpacked."""
    folders = [artefacts.tools / part / "x86_64-linux-gnu" for part in ("usr/lib", "lib")]
    found = ":".join(str(folder) for folder in folders if folder.exists())
    return os.environ | ({"LD_LIBRARY_PATH": found} if found else {})


def make_initramfs(artefacts: Artefacts, settings: Mapping[str, str]) -> bytes:
    """What the guest begins with."""
    files = {
        "init": (Path(__file__).with_name("init.sh").read_bytes(), 0o755),
        "bin/busybox": (artefacts.busybox.read_bytes(), 0o755),
        "settings": ("".join(f"{k}={shlex.quote(v)}\n" for k, v in settings.items()).encode(), 0o644),
    }
    for path in artefacts.boot_modules:
        files[f"modules/{path.name}"] = (path.read_bytes(), 0o644)
    return cpio(files)


def run(
    artefacts: Artefacts,
    shared: Path,
    name: str,
    job: Sequence[str],
    *,
    processors: int,
    timeout: float,
    listen: Callable[[str], None],
) -> int | None:
    """Boot, run a shell script in the guest, switch it off.

    :param shared: a folder, which the guest can write; other guests may have it too
    :param name: of the guest, and of its own folder in that one, which must not exist
    :param job: lines of the script
    :param processors: that the guest has
    :param timeout: seconds for everything
    :param listen: is told each line of the console
    :returns: the script's exit status; ``None``: the guest ended without
    """
    own = shared / name
    own.mkdir()
    (own / "job.sh").write_text("\n".join([*job, ""]))
    modules = " ".join(path.stem for path in artefacts.boot_modules)
    settings = {"MODULES": modules, "SHARED": str(shared), "OWN": str(own)}
    initramfs = own / "initramfs"
    initramfs.write_bytes(make_initramfs(artefacts, settings))
    machine = subprocess.Popen(
        ["nice", *command(artefacts, initramfs, shared, processors)],
        env=environment(artefacts),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    watchdog = threading.Timer(timeout, machine.kill)
    watchdog.start()
    try:
        assert machine.stdout is not None
        for line in machine.stdout:
            listen(line.decode(errors="replace").rstrip("\r\n"))
        machine.wait()
    finally:
        watchdog.cancel()
        machine.kill()
        machine.wait()
    status = own / "status"
    return int(status.read_text()) if status.exists() else None
