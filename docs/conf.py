"""Sphinx configuration: pages in Markdown, an API reference from the docstrings, the examples as a gallery."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

import neuro

HERE = Path(__file__).parent
PACKAGES = {
    "data": "Stimuli and responses",
    "features": "Features",
    "encoders": "Encoders",
    "decoders.metrics": "Metrics of decoders",
    "decoders.generators": "Generators",
    "decoders.recipes": "Published decoding systems",
    "decoders": "Decoders",
    "rsa": "Geometry and topology",
    "stats": "Statistics",
    "datasets": "Data sets",
    "datasets.phantom": "The phantom",
    "plotting": "Figures",
    "study": "Studies",
    "report": "Reports",
}

project = "neuro"
author = "the neuro developers"
version = release = neuro.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**/README.rst"]
html_theme = "furo"
html_title = "neuro"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False
templates_path = ["_templates"]
# Words of a docstring's types, such as n_voxels, are no references.
suppress_warnings = ["config.cache", "ref.python"]
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    # The test suite runs the examples; here they run only where asked for, since some take a minute.
    "plot_gallery": os.environ.get("NEURO_DOCS_RUN_EXAMPLES", "") == "1",
    "download_all_examples": False,
    "within_subsection_order": "FileNameSortKey",
}


def public_names(package: Any) -> list[str]:
    """Names that a subpackage offers: its ``__all__``, or what it lists that was made in neuro."""
    names = getattr(package, "__all__", None) or [n for n in dir(package) if not n.startswith("_")]
    own = []
    for name in names:
        value = getattr(package, name)
        if str(getattr(value, "__module__", "")).startswith("neuro"):
            own.append(name)
    return sorted(own, key=str.lower)


def write_reference(app: Any) -> None:
    """Write one page for each subpackage, with a table of its public names."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    listed: set[int] = set()
    for name, title in PACKAGES.items():
        full = f"neuro.{name}"
        package = importlib.import_module(full)
        members = [member for member in public_names(package) if id(getattr(package, member)) not in listed]
        listed |= {id(getattr(package, member)) for member in members}
        lines = [title, "=" * len(title), "", f".. automodule:: {full}", "   :no-members:", ""]
        lines += [".. autosummary::", "   :toctree: generated", ""]
        lines += [f"   {member}" for member in members]
        text = "\n".join(lines) + "\n"
        page = folder / f"{name}.rst"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what other packages document, and properties that the class docstring lists among its attributes."""
    module = getattr(obj, "__module__", None) or "neuro"
    if what == "class" and (not module.startswith("neuro") or name.endswith("_request")):
        return True
    getter = getattr(obj, "fget", None)
    if getter is None:
        return None
    owner = getattr(sys.modules[getter.__module__], getter.__qualname__.split(".")[0], None)
    pattern = rf"^(\w+, )*{re.escape(name)}(, \w+)*( :|$)"
    families = [owner, *owner.__subclasses__()] if isinstance(owner, type) else []
    return True if any(re.search(pattern, inspect.getdoc(c) or "", re.MULTILINE) for c in families) else None


def setup(app: Any) -> None:
    """Make the reference before Sphinx looks for pages."""
    app.connect("config-inited", lambda app, config: write_reference(app))
    app.connect("autodoc-skip-member", skip_member)
