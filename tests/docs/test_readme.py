"""What README.md shows is what there is."""

import json
import re
import subprocess
import sys

import pytest

from tests.docs.test_snippets import CHECKOUT, blocks

README = CHECKOUT / "README.md"
GROUP = re.compile(r"^(environment|backend \w+|self-test)$")
CHECK = re.compile(r"^(?:pass|FAIL|  –) +(.+?)(?:  .*)?$")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def output() -> str:
    """The README's output of doctor."""
    (text,) = [block.source for block in blocks(README) if "wdasync doctor" in block.source]
    return text


def shown() -> list[tuple[str, str]]:
    """Group and name of each check in it."""
    found, group = [], ""
    for line in output().splitlines():
        if GROUP.match(line):
            group = line
        elif match := CHECK.match(line):
            found.append((group, match[1]))
    return found


def test_output_of_doctor() -> None:
    """Which checks there are; what they find depends on the machine."""
    command = [sys.executable, "-m", "wdasync", "doctor", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    own = {f"backend {name}" for name in ("cpu", "hip08", "mock")}
    checks = [(check["group"], check["name"]) for check in told["checks"]]

    def ours(checks: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [check for check in checks if check[0] in own or not check[0].startswith("backend")]

    assert ours(shown()) == ours(checks)


def test_doctor_counts_what_it_shows() -> None:
    lines = output().splitlines()
    marks = [sum(line.startswith(mark) for line in lines) for mark in ("pass  ", "FAIL  ", "  –   ")]
    assert lines[-1] == "{} passed, {} failed, {} do not apply".format(*marks)


def test_links_lead_somewhere() -> None:
    links = LINK.findall(README.read_text())
    assert links
    assert [link for link in links if not (CHECKOUT / link).exists()] == []


@pytest.mark.parametrize("line", ["python3 noxfile.py -s demo", "python3 noxfile.py -s tests"])
def test_the_two_commands_stand_in_a_block(line: str) -> None:
    assert line in [shown for block in blocks(README) for shown in block.source.splitlines()]
