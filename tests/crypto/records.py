"""Published answers, as the package cryptography-vectors has them: lines of names and values, and sections."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import cryptography_vectors

FOLDER = Path(cryptography_vectors.__file__).parent

Record = dict[str, str]

_EXAMPLE = re.compile(r"# (.*?):? ?$")


def records(name: str, ends: Collection[str]) -> Iterator[Record]:
    """The records of a file. Names are in capitals; what a record does not say is as in the one before.

    :param ends: the last names of a record; ``FAIL`` is a line of its own. ``SECTION`` is what the last line in brackets said
    """
    state: Record = {"SECTION": ""}
    for line in (FOLDER / name).read_text().splitlines():
        text = line.strip()
        if text.startswith("["):
            state["SECTION"] = text.strip("[]")
            for item in state["SECTION"].split(","):
                _put(state, item)
        elif text == "FAIL" or (text and not text.startswith("#")):
            found = "FAIL" if text == "FAIL" else _put(state, text)
            if found in ends:
                yield {**state, "END": found}
                state = {name: value for name, value in state.items() if name not in ends}


def _put(state: Record, text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return ""
    state[name.strip().upper()] = value.strip()
    return name.strip().upper()


def examples(name: str) -> Iterator[tuple[str, str]]:
    """The headings and contents, without spaces, of a file in the style of RSA Laboratories."""
    heading, content = "", ""
    for line in (FOLDER / name).read_text().splitlines():
        found = _EXAMPLE.fullmatch(line)
        if found:
            if heading and content:
                yield heading, content
            heading, content = found[1].strip(), ""
        elif re.fullmatch(r"[0-9a-f ]+", line):
            content += line.replace(" ", "")
    if heading and content:
        yield heading, content
