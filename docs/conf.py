"""Sphinx's configuration; `nox -s docs` builds the site."""

import enum
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import wdasync

sys.path.insert(0, str(Path(__file__).parent))

import tables

project = "wdasync"
author = "the wdasync authors"
copyright = author
release = importlib.metadata.version("wdasync")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wdasync.css"]
html_title = f"wdasync {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_mock_imports = ["pytest"]  # Its plug-in is documented where it is not installed.
autodoc_typehints = "signature"
python_use_unqualified_type_names = True


#: Classes that users are given and do not make: how they are made is nobody's business.
MADE_BY_US = ("Accelerator", "Compressor", "Decompressor", "FaultStream")


def document_once(
    app: Any, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Skip in other modules what `wdasync` itself offers: it is documented there, under the name that programs use."""
    return True if what == "module" and getattr(wdasync, name, None) is obj else None


def hide_constructor(
    app: Any, what: str, name: str, obj: object, options: object, signature: str, returns: str
) -> tuple[str, None] | None:
    """No parameters for classes that users do not make, and none for enums."""
    hidden = name.rpartition(".")[2] in MADE_BY_US or (
        isinstance(obj, type) and issubclass(obj, enum.Enum)
    )
    return ("", None) if what == "class" and hidden else None


class WdasyncTable(SphinxDirective):
    """``{wdasync-table} NAME``: one of those in tables.py."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes. The page is read anew at each build, as the code may have changed."""
        self.env.note_reread()
        text = "\n".join(map(tables.markdown, tables.TABLES[self.arguments[0]]()))
        return self.parse_text_to_nodes(text)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_directive("wdasync-table", WdasyncTable)
    app.connect("autodoc-skip-member", document_once)
    app.connect("autodoc-process-signature", hide_constructor)
