"""Settings of the documentation site: `make site`."""

import logging
import os
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MNE_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
warnings.filterwarnings("ignore", category=FutureWarning)

import dreamdiffusion  # noqa: E402 - after the settings above

project = "dreamdiffusion"
author = copyright = "dreamdiffusion contributors"
version = release = dreamdiffusion.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "results/**/README.md"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc docstrings state types and shapes where they matter
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "dreamdiffusion"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_sidebars = {"index": [], "start": []}

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
}
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings cannot be pickled


def check_links(app, exception):
    """Fail where a page links to a file of the repository that is not there."""
    import re

    if exception is not None:
        return
    missing = []
    for page in Path(app.srcdir).rglob("*.md"):
        if "_build" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto:")) and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(app.srcdir)} -> {target}")
    if missing:
        raise RuntimeError("links to files that are not there: " + "; ".join(missing))


def setup(app):
    app.connect("build-finished", check_links)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
