"""Settings of Sphinx for the site that build.py gathers: everything lies beside the pages, nothing is fetched.

MathJax comes from the package sphinx-mathjax-offline and draws equations as SVG, which needs no font.
"""

import importlib.metadata
import re
import shutil
from pathlib import Path

project = "melib"
author = copyright = "the melib authors"
version = release = importlib.metadata.version("melib")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "myst_nb"]
exclude_patterns = ["**/.ipynb_checkpoints"]

# Pages
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the run has executed them
nb_ipywidgets_js: dict = {}  # else fetched from a network
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True

# API
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstring says what it is, and of which shape
autodoc_preserve_defaults = True
default_role = "py:obj"
highlight_language = "none"  # blocks of docstrings are drawings and layouts
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Html
html_theme = "sphinx_book_theme"
html_title = "melib"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # else a second field of search
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # the summaries are fetched, which a page from a file may not do
mathjax_path = "mathjax/tex-svg.js"


def literal_drawings(app, what, name, obj, options, lines):
    """Make of each indented block of a module's docstring a literal one: they are drawings and layouts."""
    if what != "module":
        return
    parts: list[str] = []
    literal = False
    for block in re.split(r"\n\n+", "\n".join(lines).strip("\n")):
        if block.startswith("    ") and not literal and not parts[-1].endswith("::"):
            parts.append("::")
        literal = block.startswith(" ")
        # Text that follows a drawing at once is none of it.
        parts.append(re.sub(r"\n(?=\S)", "\n\n", block, count=1) if literal else block)
    lines[:] = "\n\n".join([*parts, ""]).split("\n")


def copy_mathjax(app, error):
    """Put MathJax beside the pages: one file, and the extensions that it loads when an equation wants them."""
    if error is not None:
        return
    for file in importlib.metadata.files("sphinx-mathjax-offline") or ():
        inside = file.as_posix().partition("static/mathjax/")[2]
        if inside == "tex-svg.js" or inside.startswith("input/tex/extensions/"):
            target = Path(app.outdir) / "_static" / "mathjax" / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


def setup(app):
    """Connect both."""
    app.connect("autodoc-process-docstring", literal_drawings)
    app.connect("build-finished", copy_mathjax)
