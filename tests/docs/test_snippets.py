"""Every block of Python in README.md and docs/ does what it says; docs/how-to/contribute.md has the rules."""

import ast
import contextlib
import inspect
import io
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import pytest

from tests.conftest import EVENT_LOOPS

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("README.md"), *CHECKOUT.glob("docs/**/*.md")])

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<source>.*?)^ *```$", re.MULTILINE | re.DOTALL)
REMARK = re.compile(
    r"<!-- *(?P<word>given|continues|not run|output|run)(?:: *(?P<text>.*?))? *-->\s*", re.DOTALL
)
COMMAND = re.compile(r"^(?:\$ )?(?P<words>(?:python3? -m )?wdasync\b.*)$", re.MULTILINE)


@dataclass
class Block:
    """A fenced block of a page, with the remarks that stand before it."""

    page: Path
    line: int
    language: str
    source: str
    remarks: dict[str, str]

    @property
    def id(self) -> str:
        """Where it stands, for the name of a test."""
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text()
    end = 0
    for fence in FENCE.finditer(text):
        remarks = dict(trailing_remarks(text[end : fence.start()]))
        source = inspect.cleandoc(f"\n{fence['source']}") if fence["indent"] else fence["source"]
        yield Block(page, text.count("\n", 0, fence.start()) + 2, fence["language"], source, remarks)
        end = fence.end()


def trailing_remarks(text: str) -> Iterator[tuple[str, str]]:
    """The remarks at the end of a text, with nothing but white space after and between them."""
    while found := [remark for remark in REMARK.finditer(text) if remark.end() == len(text)]:
        yield found[0]["word"], found[0]["text"] or ""
        text = text[: found[0].start()]


def compiled(block: Block, before: list[ast.stmt]) -> tuple[CodeType, list[ast.stmt]]:
    """The block's code, after the statements of the blocks that it continues; and all those statements.

    Line numbers are those of the page, so that a traceback shows the place.
    """
    tree = ast.parse(block.source, str(block.page))
    ast.increment_lineno(tree, block.line - 1)
    given = ast.parse(block.remarks.get("given", "")).body
    tree.body = [*before, *given, *tree.body]
    return compile(tree, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), tree.body


def is_async(code: CodeType) -> bool:
    """Whether `await` stands at the top level."""
    return bool(code.co_flags & inspect.CO_COROUTINE)


def loops_for(block: Block, code: CodeType) -> list[str]:
    """The event loops to run a block on: all, its own, or none ("") where it awaits nothing."""
    if not is_async(code):
        return [""]
    if "import asyncio" in block.source:
        return ["asyncio"]
    return ["trio"] if "import trio" in block.source else list(EVENT_LOOPS)


def run(code: CodeType, loop: str, output: str | None = None) -> None:
    """Run a block as the main program.

    :param output: what it must print; ``None``: whatever it likes
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        execute(code, loop)
    assert output is None or printed.getvalue() == output


def execute(code: CodeType, loop: str) -> None:
    """Execute a block, on an event loop if it has a name."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    if not loop:
        exec(code, namespace)
        return

    async def main() -> None:
        await eval(code, namespace)

    backend, options = EVENT_LOOPS[loop]
    anyio.run(main, backend=backend, backend_options=options)


def snippets(pages: list[Path]) -> Iterator[Any]:
    """A parameter for each block of Python and each loop to run it on."""
    for page in pages:
        before: list[ast.stmt] = []
        found = list(blocks(page))
        for block, following in itertools.zip_longest(found, found[1:]):
            output = following.source if following is not None and "output" in following.remarks else None
            if block.language not in ("python", "py"):
                assert output is None, f"{following.id}: 'output' comes after a block of Python"
                continue
            code, statements = compiled(block, before if "continues" in block.remarks else [])
            before = statements
            if "not run" in block.remarks:
                assert block.remarks["not run"], f"{block.id}: 'not run' gives no reason"
                continue
            for loop in loops_for(block, code):
                yield pytest.param(code, loop, output, id=f"{block.id}-{loop}" if loop else block.id)


def commands(pages: list[Path]) -> Iterator[Any]:
    """A parameter for each command line in the blocks marked `<!-- run -->`."""
    for page in pages:
        for block in blocks(page):
            if "run" in block.remarks:
                lines = [match["words"] for match in COMMAND.finditer(block.source)]
                assert lines, f"{block.id} is marked to be run, but has no line that begins with wdasync"
                yield from (pytest.param(line, id=f"{block.id}-{line}") for line in lines)


@pytest.mark.parametrize(("code", "loop", "output"), list(snippets(PAGES)))
def test_snippet(
    code: CodeType, loop: str, output: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(code, loop, output)


@pytest.mark.parametrize("line", list(commands(PAGES)))
def test_command(line: str) -> None:
    words = shlex.split(line, comments=True)
    arguments = words[words.index("wdasync") + 1 :]
    subprocess.run(
        [sys.executable, "-m", "wdasync", *arguments], cwd=CHECKOUT, check=True, stdin=subprocess.DEVNULL
    )


def page_of(folder: Path, text: str) -> list[Path]:
    """A page with that text."""
    page = folder / "page.md"
    page.write_text(text)
    return [page]


def run_page(folder: Path, text: str) -> int:
    """Run a page's snippets, and say how many runs that were."""
    found = list(snippets(page_of(folder, text)))
    for each in found:
        run(*each.values)
    return len(found)


def test_a_wrong_snippet_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        run_page(tmp_path, "Text.\n\n```python\nx = 1\nassert x == 2\n```\n")
    assert caught.traceback[-1].lineno == 4, "the line of the page, counted from 0"


def test_await_at_the_top_level_runs_on_each_loop(tmp_path: Path) -> None:
    assert run_page(tmp_path, "```python\nimport anyio\nawait anyio.sleep(0)\n```\n") == len(EVENT_LOOPS)


def test_a_snippet_that_imports_a_loop_runs_on_it(tmp_path: Path) -> None:
    assert run_page(tmp_path, "```python\nimport trio\nawait trio.lowlevel.checkpoint()\n```\n") == 1


def test_a_program_with_its_own_loop(tmp_path: Path) -> None:
    source = "import asyncio\nasync def main(): return 1\nassert asyncio.run(main()) == 1\n"
    assert run_page(tmp_path, f"```python\n{source}```\n") == 1


def test_remarks(tmp_path: Path) -> None:
    text = (
        "<!-- given: x = 1 -->\n```python\ny = x\n```\n\nThen:\n\n<!-- continues -->\n```python\nassert y == 1\n```\n"
        "<!-- not run: no such module -->\n```python\nimport no_such_module\n```\n"
    )
    assert run_page(tmp_path, text) == 2


def test_output(tmp_path: Path) -> None:
    text = "```python\nimport anyio\nawait anyio.sleep(0)\nprint(1 + 1)\n```\nIt prints:\n<!-- output -->\n```text\n{}\n```\n"
    assert run_page(tmp_path, text.format(2)) == len(EVENT_LOOPS)
    with pytest.raises(AssertionError):
        run_page(tmp_path, text.format(3))


def test_output_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="after a block of Python"):
        run_page(tmp_path, "```sh\nls\n```\n<!-- output -->\n```text\n2\n```\n")


def test_blocks_do_not_share_names(tmp_path: Path) -> None:
    with pytest.raises(NameError):
        run_page(tmp_path, "```python\ny = 1\n```\n\n```python\nassert y == 1\n```\n")


def test_a_block_that_is_not_run_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError):
        run_page(tmp_path, "<!-- not run: because -->\n```python\nx = = 1\n```\n")


def test_not_run_needs_a_reason(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="gives no reason"):
        run_page(tmp_path, "<!-- not run -->\n```python\nx = 1\n```\n")


def test_commands(tmp_path: Path) -> None:
    text = (
        "<!-- run -->\n```console\n$ python -m wdasync config\nshown\n$ wdasync devices  # all\n$ ls\n```\n"
    )
    found = [each.values for each in commands(page_of(tmp_path, f"{text}\n```sh\nwdasync other\n```\n"))]
    assert found == [("python -m wdasync config",), ("wdasync devices  # all",)]


def test_a_command_that_fails(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        test_command("wdasync no-such-command")


def test_this_checkout_has_pages() -> None:
    assert any(page.name == "contribute.md" for page in PAGES)
