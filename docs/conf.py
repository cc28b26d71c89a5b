"""Sphinx's settings. `python3 tools/dev.py docs` builds the documentation; a warning is an error."""

from pathlib import Path

from sphinx.application import Sphinx
from unlearn_core import METHODS, __version__, describe

HERE = Path(__file__).resolve().parent

project = "unlearn"
author = "The unlearn developers"
project_copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"unlearn {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # `name` in docstrings

autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def write_methods(*_: object) -> None:
    """Writes what methods.md includes: every method with its options, from the code itself."""
    parts = []
    for name, method in METHODS.items():
        needs = ", ".join(f"`{need}`" for need in sorted(method.needs))
        rows = [
            f"| `{option.name}` | `{option.default}` | {option.doc.replace('|', '&#124;')} |"
            for option in describe(method)
        ]
        table = ["| option | default | meaning |", "|---|---|---|", *rows]
        parts.append("\n".join([f"## {name}", "", method.summary, "", f"{method.paper}. Needs {needs}.", "", *table]))
    out = HERE / "_build" / "methods.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def skip_aliases(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leaves out what Python says about a named tuple's fields; the class describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def keep_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keeps the words before a colon in an attribute's docstring, which napoleon takes for its type."""
    if what == "attribute" and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)


def setup(app: Sphinx) -> None:
    """Generates pages before anything is read."""
    app.connect("builder-inited", write_methods)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("autodoc-process-docstring", keep_colon, priority=400)
