"""Sphinx configuration: `make docs` builds docs/ into results/docs, warnings are errors."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import links  # noqa: E402
import pages  # noqa: E402
from sphinx.errors import SphinxError  # noqa: E402

import sam_theory  # noqa: E402

project = "sam_theory"
author = "The sam_theory authors"
project_copyright = "The sam_theory authors, MIT licence"
release = version = sam_theory.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns: list[str] = []
suppress_warnings = ["myst.header"]
nitpicky = False
html_theme = "alabaster"
html_theme_options = {"page_width": "1060px", "sidebar_width": "240px"}
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["style.css"]

myst_enable_extensions = ["amsmath", "dollarmath", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
autosummary_generate = False
numpydoc_xref_param_type = False
doctest_global_setup = "import numpy as np; import sam_theory as st"


def escaped(line: str) -> str:
    """Escape what reStructuredText would read into |x|, w_+ and w* outside of literals."""
    parts = re.split(r"(``[^`]*``|:\w+:`[^`]*`|`[^`]*`_?)", line)
    for k in range(0, len(parts), 2):
        parts[k] = parts[k].replace("|", "\\|")
        parts[k] = re.sub(r"(?<=\w)_(?!\w)", r"\_", parts[k])
        parts[k] = re.sub(r"(?<=\w)\*(?=\W|$)", r"\*", parts[k])
    return "".join(parts)


def escape_formulas(app, what, name, thing, options, lines):  # noqa: ANN001, ANN201, D103
    literal = False
    for k, line in enumerate(lines):
        inside = line.startswith((" " * 4, "\t")) and literal
        literal = inside or (literal and not line.strip()) or line.rstrip().endswith("::")
        if not inside and not line.lstrip().startswith((">>>", "...", "..", ":")):
            lines[k] = escaped(line)


def check_links(app, exception):  # noqa: ANN001, ANN201, D103
    found = links.complaints(Path(app.outdir)) if exception is None else []
    if found and app.builder.format == "html":
        raise SphinxError("\n".join(["links that lead nowhere:", *found]))


def setup(app):  # noqa: ANN001, ANN201, D103
    pages.write(Path(app.srcdir) / "_made")
    # Before numpydoc, which writes markup of its own.
    app.connect("autodoc-process-docstring", escape_formulas, priority=100)
    app.connect("build-finished", check_links)
