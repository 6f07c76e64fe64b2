"""Configuration of Sphinx: `make docs` builds the site from this folder, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

import fastvae

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
matplotlib.use("Agg")  # writes files, needs no display

import reference  # noqa: E402 (the module in this folder)

project = "fastvae"
author = "the authors of fastvae"
copyright = "the authors of fastvae, MIT licence"
release = version = fastvae.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["README.md", "gallery", "_build"]
suppress_warnings = ["config.cache"]  # the order of the gallery is an object, which the cache cannot hold
nitpicky = True
smartquotes = False  # docstrings quote strings of Python
toc_object_entries_show_parents = "hide"

# Markdown
myst_enable_extensions = ["deflist", "fieldlist", "colon_fence"]
myst_heading_anchors = 4
# Links that GitHub resolves in the repository, and the pages of the site that hold the same text.
IN_REPOSITORY = {
    "](../examples/topics": "](experiments/topics.md",
    "](../examples/exams": "](experiments/exams.md",
    "](../examples/anomalies": "](experiments/anomalies.md",
    "](../examples/tables": "](experiments/tables.md",
    "](../examples/recommenders": "](experiments/recommenders.md",
    "](../examples/cells": "](experiments/cells.md",
    "](../examples/aevb": "](experiments/aevb.md",
    "[benches/results](../benches/results)": "`benches/results`",
}

# API reference
autodoc_typehints = "none"  # docstrings give types and shapes
autodoc_member_order = "bysource"
autosummary_generate = False  # `reference` writes the pages
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = {
    public.name: not issubclass(public.found, Exception)
    for public in reference.everything()
    if isinstance(public.found, type)
}

# Gallery, in this order
EXAMPLES = (
    "latent_grid",
    "interpolation",
    "kl_control",
    "attribute_vector",
    "conditional",
    "convolution",
    "denoising",
    "impute_halves",
    "mixed_table",
    "anomaly_map",
    "odd_columns",
    "recommender",
    "n_topics",
    "topics_map",
    "item_curves",
    "graded_answers",
)


class Order:
    """The key by which sphinx-gallery sorts the scripts of a folder."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, file: str) -> tuple[int, str]:
        """Return the place in EXAMPLES; scripts that are not in it come last."""
        name = file.removesuffix(".py")
        return EXAMPLES.index(name) if name in EXAMPLES else len(EXAMPLES), name


sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": "",  # run every script
    "within_subsection_order": Order,
    "abort_on_example_error": True,
    "run_stale_examples": True,  # the library may have changed
    "backreferences_dir": "api/examples",
    "doc_module": ("fastvae",),
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "capture_repr": ("_repr_html_",),
}

# HTML
html_theme = "pydata_sphinx_theme"
html_title = f"fastvae {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # fetches pages, which browsers refuse from the file system
html_context = {"default_mode": "auto"}
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastvae"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
}
html_sidebars = {"index": [], "faq": [], "changelog": [], "contributing": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def replace_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Point links into the repository to the page of the site with the same text; list the rest of the guide."""
    for target, page in IN_REPOSITORY.items():
        source[0] = source[0].replace(target, page)
    if name == "guide/index":  # a glob would list pages twice
        pages = sorted(path.stem for path in (HERE / "guide").glob("*.md"))
        others = [page for page in pages if page != "index" and f"\n{page}\n" not in source[0]]
        source[0] = source[0].replace("\n*\n", "".join(f"\n{page}" for page in others) + "\n")


def escape(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Keep reStructuredText from reading |z) in a formula, and the end of n_iter_, as references."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``|`.*?`)", line)
            parts[::2] = [re.sub(r"\||(?<=[^\W_])_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app: Sphinx) -> None:
    """Write the pages of the reference, and replace links into the repository."""
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir) / "api"), priority=1)
    app.connect("source-read", replace_links)
    app.connect("env-get-outdated", lambda *_: ["guide/index"])  # it lists the files of its folder
    app.connect("autodoc-process-docstring", escape, priority=900)  # after numpydoc
