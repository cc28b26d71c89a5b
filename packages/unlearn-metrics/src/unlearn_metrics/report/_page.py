"""The page as a whole."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from unlearn_metrics.report._gallery import GalleryItem, gallery
from unlearn_metrics.report._html import Html, element, join
from unlearn_metrics.report._plot import nearest, points, tradeoff
from unlearn_metrics.report._results import Results, state_title
from unlearn_metrics.report._run import headline, run_details
from unlearn_metrics.report._tables import modality_title, not_measured, overview, set_tables

_HOW_TO_READ = (
    "The target model learnt everything. The retrained model never saw what was to be forgotten: it is what unlearning "
    "aims at there. Everywhere else a method should answer as the target does. The deeper a cell’s color, the nearer "
    "it is to that goal, which is underlined. Small figures are 95 % bootstrap intervals; a dash was not measured."
)
_HEADINGS = {"text": "Asked in text", "image": "Asked about images", "all": "All questions"}
# Nothing is fetched: the browser itself refuses.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(
    results: Mapping[str, Any],
    path: Path,
    *,
    gallery: Sequence[GalleryItem] = (),
    title: str = "Machine unlearning report",
) -> None:
    """Writes the report: one HTML file that needs no other, the same bytes for the same results.

    Args:
        results: What `results.json` holds.
        path: Where to write; written beside its destination, then renamed.
        gallery: Questions with the models' answers, in the order in which they are shown.
        title: Heading of the page.

    Raises:
        ValueError: If the results have no states, a number that is not finite, or not the documented form.
        ImportError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    text = page(Results(results), gallery, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def page(results: Results, items: Sequence[GalleryItem], title: str) -> str:
    """The page's text."""
    details = [part for part in (*run_details(results.run), not_measured(results)) if part]
    return document(
        title,
        element(
            "header",
            element("h1", title),
            element("p", headline(results.run), class_="note"),
            element("p", _HOW_TO_READ),
        ),
        _section("In short", short) if (short := overview(results)) else "",
        _tradeoff_section(results),
        _section("What the models answer", gallery(items)) if items else "",
        *(_section(_HEADINGS.get(each, each), set_tables(results, each)) for each in results.apart),
        _together(results),
        _section("How these numbers came about", *details) if details else "",
    )


def document(title: str, *body: str) -> str:
    """Returns a page in the style of the report, which needs no other file and fetches nothing.

    Args:
        title: Of the window.
        *body: Elements; text that is no `Html` is escaped.
    """
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", title),
        element("style", Html(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"


def _section(heading: str, *children: str) -> Html:
    return element("section", element("h2", heading), *children)


def _tradeoff_section(results: Results) -> str:
    drawing = tradeoff(results)
    if drawing is None:
        return ""
    near = {m: nearest(points(results, m), results.methods) for m in results.apart}
    said = ", ".join(f"{state_title(state)} ({modality_title(m).lower()})" for m, state in near.items() if state)
    caption = (
        "Arrows lead from the target to what each method made of it; the star is the goal. Bars are 95 % intervals."
    )
    caption += f" Nearest to the retrained model: {said}." if said else ""
    return _section(
        "Forgetting against retention",
        element("figure", element("div", drawing, class_="plot"), element("figcaption", caption, id="tradeoff")),
    )


def _together(results: Results) -> Html:
    """Numbers over both modalities, which say something new only where a set has both."""
    if "all" in results.apart or not results.sets("all"):
        return join([])
    return element("details", element("summary", "Text and images together"), set_tables(results, "all"))
