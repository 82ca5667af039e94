"""Sphinx configuration."""

import os
import re

import skanomaly

project = "skanomaly"
author = "The skanomaly authors"
copyright = f"2026, {author}"
release = skanomaly.__version__
version = re.match(r"\d+\.\d+", release).group()

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
# A link to a name of this library must lead somewhere. Words of docstrings' types and names of
# other projects are links where these are known, and plain text elsewhere.
nitpicky = True
_OWN = "skanomaly|benchmark|corruption|datasets|export|inspection|metrics|model_selection|networks"
nitpick_ignore_regex = [("py:.*", rf"(?!({_OWN})\b).*")]

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

# The inventories of other projects need the network, and a missing one is a warning.
if os.environ.get("SKANOMALY_DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

# From first steps to theory.
EXAMPLES = [
    "plot_quickstart.py",
    "plot_own_images.py",
    "plot_thresholds_with_guarantee.py",
    "plot_large_pictures.py",
    "plot_evaluate_localisation.py",
    "plot_tune_anomaly_map.py",
    "plot_corruption_gallery.py",
    "plot_grid_search_corruption.py",
    "plot_model_selection_without_labels.py",
    "plot_pipeline.py",
    "plot_dask.py",
    "plot_export_onnx.py",
    "plot_baselines_on_defects.py",
    "plot_what_the_network_believes.py",
    "plot_projection_onto_manifold.py",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skanomaly",),
    "reference_url": {"skanomaly": None},
    "show_memory": False,
    "within_subsection_order": EXAMPLES.index,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = f"skanomaly {release}"
html_theme_options = {"show_prev_next": False, "show_toc_level": 2}
# The pages at the root have no subpages to list beside them.
html_sidebars = {"*": []}
html_show_sourcelink = False


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what scikit-learn's and torch's base classes bring along."""
    module = getattr(getattr(obj, "fget", None) or obj, "__module__", None) or ""
    foreign = module.split(".")[0] in {"sklearn", "torch", "collections", "abc", "typing"}
    return True if foreign else None


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_foreign_members)
