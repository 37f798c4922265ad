"""Sphinx's configuration; `nox -s docs` builds the site."""

import importlib.metadata
from typing import Any

import wdasync

project = "wdasync"
author = "the wdasync authors"
copyright = author
release = importlib.metadata.version("wdasync")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"wdasync {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True


def document_once(app: Any, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Skip in other modules what `wdasync` itself offers: it is documented there, under the name that programs use."""
    elsewhere = app.env.docname != "reference/api"
    return True if elsewhere and what == "module" and getattr(wdasync, name, None) is obj else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", document_once)
