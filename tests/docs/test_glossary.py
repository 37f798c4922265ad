"""No page uses an acronym that the glossary does not have."""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wdasync.errors import DataCause, Status

CHECKOUT = Path(__file__).parents[2]
GLOSSARY = CHECKOUT / "docs" / "glossary.md"
PAGES = sorted([*CHECKOUT.glob("README.md"), *CHECKOUT.glob("docs/**/*.md")])

# Known to everybody who would read these pages.
UNIVERSAL = {
    "API", "ASCII", "CI", "CPU", "CPython", "HTML", "HTTP", "HTTPS", "ID", "JSON", "KiB", "MB", "MiB", "GiB",
    "OK", "OS", "PDF", "RAM", "README", "TOML", "URL", "UTF",
}  # fmt: skip

# What is no prose: code, comments, the targets of links.
NOT_PROSE = re.compile(
    r"^ *```(?!\{glossary\}).*?^ *```$|<!--.*?-->|(?<!`)`[^`]+`(?!`)|\]\([^)]*\)|<https?:[^>]*>",
    re.MULTILINE | re.DOTALL,
)
# Two capitals at least; a plural s or a version number is no part of it.
ACRONYM = re.compile(r"(?<![\w-])(?P<word>[A-Z][A-Z0-9]+(?:-[A-Z]+)*)(?:s|v\d+)?(?!\w)")


def defined(glossary: str) -> set[str]:
    """The terms of the glossary: lines of its directive that are not indented."""
    (body,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", glossary, re.MULTILINE | re.DOTALL)
    return {line.strip() for line in body.splitlines() if line and not line.startswith(" ")}


def undefined(page: str, known: set[str]) -> Iterator[str]:
    """Line and word of each acronym in the page's prose that is not known."""
    prose = NOT_PROSE.sub(lambda match: "\n" * match[0].count("\n"), page)
    for number, line in enumerate(prose.splitlines(), 1):
        yield from (
            f"{number}: {match['word']}" for match in ACRONYM.finditer(line) if match["word"] not in known
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_acronym_is_in_the_glossary(page: Path) -> None:
    assert list(undefined(page.read_text(), UNIVERSAL | defined(GLOSSARY.read_text()))) == []


# Directives of the reference pages that bring docstrings in, and the module that they are relative to.
DIRECTIVE = re.compile(r"^\.\. (?P<what>currentmodule|auto\w+):: (?P<name>\S+)", re.MULTILINE)
# What is no prose in a docstring: literals, roles, and the names of statuses and the like, which are code.
NOT_DOCSTRING_PROSE = re.compile(r"``.*?``|:[\w:]+:`[^`]*`|`[^`]+`", re.DOTALL)


def documented(page: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of everything that a reference page documents."""
    module = ""
    for found in DIRECTIVE.finditer(page):
        name = found["name"]
        if found["what"] == "currentmodule":
            module = f"{name}."
        elif name.startswith("wdasync."):
            yield from docstrings(name, pkgutil.resolve_name(name))
        else:
            yield from docstrings(name, pkgutil.resolve_name(module + name))


def docstrings(name: str, thing: object) -> Iterator[tuple[str, str]]:
    """Of a thing, and of what is public in it."""
    if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
        yield name, inspect.getdoc(thing) or ""
    if inspect.isclass(thing) or inspect.ismodule(thing):
        public = vars(thing).get("__all__", vars(thing)) if inspect.ismodule(thing) else vars(thing)
        for inner in [inner for inner in public if not inner.startswith("_")]:
            member = getattr(thing, inner)
            if isinstance(member, property):
                member = member.fget
            if inspect.isfunction(member) or (inspect.ismodule(thing) and inspect.isclass(member)):
                yield from docstrings(f"{name}.{inner}", member)


REFERENCE = sorted((CHECKOUT / "docs" / "reference").glob("*.md"))


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.name)
def test_every_acronym_of_a_docstring_is_in_the_glossary(page: Path) -> None:
    known = UNIVERSAL | defined(GLOSSARY.read_text()) | {*Status.__members__, *DataCause.__members__}
    assert [
        f"{name}, line {found}"
        for name, text in documented(page.read_text())
        for found in undefined(NOT_DOCSTRING_PROSE.sub("", text), known)
    ] == []


def test_the_docstrings_of_the_reference_are_found() -> None:
    names = {name for page in REFERENCE for name, _ in documented(page.read_text())}
    assert {"Accelerator.compress_many", "wdasync.backend.Queue.arm", "PagedBuffer.fetch"} <= names


def test_the_glossary_is_sorted() -> None:
    (body,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", GLOSSARY.read_text(), re.MULTILINE | re.DOTALL)
    entries = [entry.splitlines()[0].lower() for entry in body.split("\n\n")]
    assert entries == sorted(entries)


@pytest.mark.parametrize(
    "text",
    [
        "The XYZ is full.",
        "Two XYZs.",
        "# XYZ",
        "(XYZ)",
        "An XYZ-based ring",
        "XYZv3",
        "[XYZ](there.md)",
        "**XYZ**",
        "```{glossary}\nTerm\n  An XYZ.\n```",
    ],
)
def test_an_undefined_acronym_is_found(text: str) -> None:
    page = f"First line.\n{text}"
    line = page.partition("XYZ")[0].count("\n") + 1
    assert list(undefined(page, {"QM"})) == [f"{line}: XYZ"]


@pytest.mark.parametrize(
    "text",
    [
        "A QM, two QMs, QMv2.",
        "`XYZ` is code.",
        "```python\nXYZ = 1\n```",
        "<!-- not run: XYZ -->",
        "[words](XYZ.md)",
        "Xyz, xyz, A, 64",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert list(undefined(text, {"QM"})) == []
