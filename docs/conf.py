"""Sphinx's settings. `python3 tools/dev.py docs` builds the documentation; a warning is an error."""

from collections.abc import Sequence
from pathlib import Path

from sphinx.application import Sphinx
from unlearn_core import CATALOGUE, __version__, describe, explain
from unlearn_core.catalogue import AnyMethod
from unlearn_metrics.benchmarks import BENCHMARKS, Aggregate, Benchmark

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
    rows = [f"| [{name}](#{name}) | {each.kind} | {each.summary} |" for name, each in CATALOGUE.items()]
    overview = "\n".join(["| name | kind | what it does |", "|---|---|---|", *rows])
    _write_included("methods", [overview, *(_method(name, each) for name, each in CATALOGUE.items())])


def _method(name: str, of: type[AnyMethod]) -> str:
    text = "\n\n".join(explain(of).split("\n\n")[1:])
    options = [f"| `{each.name}` | `{each.default}` | {_cell(each.doc)} |" for each in describe(of)]
    table = ["| option | default | meaning |", "|---|---|---|", *options] if options else []
    facts = f"A {of.kind}. {of.paper}. Needs {_names(sorted(of.needs)) or 'nothing'}."
    return "\n".join([f"({name})=", f"### {name}", "", of.summary, "", text, "", facts, "", *table])


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")


def write_benchmarks(*_: object) -> None:
    """Writes what metrics/benchmarks.md includes: what every benchmark reports, from the data that `compute` takes."""
    _write_included("benchmarks", [_benchmark(name, each) for name, each in BENCHMARKS.items()])


def _benchmark(name: str, of: Benchmark) -> str:
    aggregates = [_aggregate(*item) for item in of.aggregates.items()]
    lines = [
        f"- **Sets** {_names(of.sets)}",
        f"- **Of each set** {_names(of.metrics)}",
        *([f"- **Over sets** {_names(of.summary)}"] if of.summary else []),
        *(f"- **Elsewhere** `{what}`: {why}." for what, why in of.elsewhere.items()),
    ]
    table = ["| aggregate | formula | of | sets | rows |", "|---|---|---|---|---|", *aggregates] if aggregates else []
    return "\n".join([f"## {name}", "", f"{of.source}.", "", *lines, "", *table])


def _aggregate(name: str, of: Aggregate) -> str:
    sets = ", ".join(f"`{each}`" + (" (required)" if each in of.required else "") for each in of.sets)
    return f"| `{name}` | {of.formula.replace('_', ' ')} | {_names(of.metrics)} | {sets} | {of.modality} |"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _write_included(name: str, parts: Sequence[str]) -> None:
    out = HERE / "_build" / f"{name}.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def skip_aliases(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leaves out what Python says about a named tuple's fields; the class describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def keep_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keeps the words before a colon in an attribute's docstring, which napoleon takes for its type."""
    if what == "attribute" and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keeps the bars of |a - b| in formulas, which reStructuredText takes for a substitution."""
    for i, line in enumerate(lines):
        if ">>>" not in line:
            # Every other part of a split at backticks is code, where bars stand for themselves.
            parts = line.split("`")
            lines[i] = "`".join(part if at % 2 else part.replace("|", "\\|") for at, part in enumerate(parts))


def setup(app: Sphinx) -> None:
    """Generates pages before anything is read."""
    app.connect("builder-inited", write_methods)
    app.connect("builder-inited", write_benchmarks)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("autodoc-process-docstring", keep_colon, priority=400)
    app.connect("autodoc-process-docstring", keep_bars)
