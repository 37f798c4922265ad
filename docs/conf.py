"""Sphinx's configuration; `nox -s docs` builds the site."""

import importlib.metadata

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
autodoc_type_aliases: dict[str, str] = {}
python_use_unqualified_type_names = True
