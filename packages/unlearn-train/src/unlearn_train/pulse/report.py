"""The report of a run of the protocol: one page that needs no other file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from unlearn_metrics.report import Html, document, element, run_details

from unlearn_train.pulse.drawing import COLORS, Line, Value, bars, colors, legend, lines
from unlearn_train.pulse.published import PUBLISHED

TITLES = {
    "finetuned": "Learnt in finetuning",
    "pretrained": "Learnt in pretraining",
    "sequential": "In several requests",
}
METHODS = {"ga": "GA", "kl": "GA + KL on retain", "npo": "NPO"}
MODALITIES = {"all": "all", "image": "image + text", "text": "text only"}
_ASKED = {
    "letter": "Every question lists its options, and the model answers with a letter.",
    "option": "Every question has several answers to choose from; the one that the model finds likeliest is its own. "
    "The paper asks by letter, so its numbers do not stand beside these.",
}
_HOW_TO_READ = (
    "Forgotten: how much of the accuracy on "
    "the people to be forgotten is gone. Retained: how much is left of that on the people of the same kind who are "
    "kept. General: how much is left of the accuracy on questions about nobody. All in percent of the model before "
    "unlearning; 100, 100 and 100 would be perfect. Small figures are 95 % bootstrap intervals over people."
)
Row = Mapping[str, Any]


def report_page(results: Mapping[str, Any], *, title: str) -> str:
    """Return the page's text.

    Args:
        results: what `results.json` holds.
        title: heading of the page.
    """
    table = results["pulse"]["table"]
    last = max((row["request"] for row in table), default=0)
    final = [row for row in table if row["request"] in (0, last)]
    # The paper's numbers stand beside what was asked as there.
    by_letter = results["pulse"]["answer"] == "letter"
    return document(
        title,
        element("header", element("h1", title), element("p", f"{_ASKED[results['pulse']['answer']]} {_HOW_TO_READ}")),
        _section("In short", _summary(final, published=by_letter), *_published_note(published=by_letter)),
        *_one_request(final, published=by_letter),
        *_requests(table),
        _section("Image and text apart", *(_by_modality(final, modality) for modality in ("image", "text"))),
        _section("Before unlearning", _base(results["states"]), *_letters(results["pulse"]["letters"])),
        _section("How these numbers came about", *run_details(results.get("run", {}))),
    )


_PUBLISHED_NOTE = (
    "The paper's numbers are of LLaVA-1.5-13B, and its general benchmark is MMBench. After several requests nothing "
    "was left there of what was to be kept."
)


def _published_note(*, published: bool) -> Iterator[Html]:
    if published:
        yield element("p", _PUBLISHED_NOTE, class_="note")


def _section(heading: str, *children: str) -> Html:
    return element("section", element("h2", heading), *children)


def _summary(rows: Sequence[Row], *, published: bool) -> Html:
    """The table of the protocol: a line for each method and choice of parts, three columns for each setting."""
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    return _table(rows, settings, "all", published=published)


def _by_modality(rows: Sequence[Row], modality: str) -> Html:
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    return element("section", element("h3", MODALITIES[modality]), _table(rows, settings, modality, published=False))


def _table(rows: Sequence[Row], settings: Sequence[str], modality: str, *, published: bool) -> Html:
    found = {(row["setting"], row["method"], row["parts"]): row for row in rows}
    above = (element("th", TITLES[each], scope="colgroup", colspan=str(len(COLORS))) for each in settings)
    heads = (
        element("th", f"{kind} %", scope="col", class_="start" if kind == "forgotten" else None)
        for _ in settings
        for kind in COLORS
    )
    head = [
        element("tr", element("td"), element("td"), *above, class_="groups"),
        element("tr", element("th", "Method", scope="col"), element("th", "Trained", scope="col"), *heads),
    ]
    columns = [(setting, kind) for setting in settings for kind in COLORS]
    body: list[Html] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        for parts in dict.fromkeys(row["parts"] for row in rows if row["method"] == method):
            cells = (_cell(found.get((setting, method, parts)), kind, modality) for setting, kind in columns)
            body.append(_table_row(method_title(method), parts.replace("+", " + "), cells))
        if published and any((setting, method) in PUBLISHED for setting in settings):
            cells = (_published_cell(setting, method, kind) for setting, kind in columns)
            body.append(_table_row("", "the paper's", cells))
    return element("div", element("table", element("thead", *head), element("tbody", *body)), class_="scroll")


def _table_row(name: str, parts: str, cells: Iterable[Html]) -> Html:
    return element("tr", element("th", name, scope="row"), element("td", parts), *cells)


def _published_cell(setting: str, method: str, kind: str) -> Html:
    paper = getattr(PUBLISHED.get((setting, method)), kind, None)
    missing = "missing start" if kind == "forgotten" else "missing"
    return element("td", "–" if paper is None else f"{paper:g}", class_=missing)


def _cell(row: Row | None, kind: str, modality: str) -> Html:
    start = "start" if kind == "forgotten" else None
    found = None if row is None else row[kind][modality]
    if found is None:
        return element("td", "–", title="not measured", class_=" ".join(filter(None, ("missing", start))))
    shown = [element("span", f"{found['value']:.0f}")]
    if found["low"] is not None:
        shown.append(element("small", f"{found['low']:.0f} to {found['high']:.0f}"))
    return element("td", *shown, class_=start, title=f"{found['value']:.2f} %; n = {found['n']}")


def _one_request(rows: Sequence[Row], *, published: bool) -> Iterator[Html]:
    """In the form of the paper's figure 4: one request, knowledge from finetuning against that from pretraining."""
    for parts in dict.fromkeys(row["parts"] for row in rows):
        panels: dict[str, dict[str, dict[str, Value | None]]] = {}
        for row in rows:
            if row["parts"] == parts and row["setting"] != "sequential":
                values = {kind: _value(row, kind, published=published) for kind in COLORS}
                panels.setdefault(TITLES[row["setting"]], {})[method_title(row["method"])] = values
        drawing = bars(panels, label=f"Forgotten, retained and general percentages, {parts} trained")
        yield _section(
            f"One request: finetuned against pretrained knowledge ({parts.replace('+', ' + ')} trained)",
            element("figure", colors(published=published), element("div", drawing, class_="plot")),
        )


def _requests(table: Sequence[Row]) -> Iterator[Html]:
    """In the form of the paper's figure 5: the same people in several requests, against one."""
    for parts in dict.fromkeys(row["parts"] for row in table):
        rows = [row for row in table if row["parts"] == parts]
        methods = list(dict.fromkeys(row["method"] for row in rows if row["setting"] == "sequential"))
        if not methods:
            continue
        panels = {kind: [_line(rows, method, kind) for method in methods] for kind in COLORS}
        drawing = lines(panels, label=f"Percentages after each request, {parts} trained")
        caption = (
            "Forgotten counts the people who have been asked to be forgotten so far. The hollow mark is the same "
            "method where all of them are forgotten in one request."
        )
        yield _section(
            f"Request after request ({parts.replace('+', ' + ')} trained)",
            element(
                "figure",
                legend(map(method_title, methods)),
                element("div", drawing, class_="plot"),
                element("figcaption", caption),
            ),
        )


def _line(rows: Sequence[Row], method: str, kind: str) -> Line:
    own = [row for row in rows if row["method"] == method]
    steps = sorted((row for row in own if row["setting"] == "sequential"), key=lambda row: int(row["request"]))
    once = next((row for row in own if row["setting"] == "finetuned"), None)
    return Line(
        method_title(method), [_value(row, kind) for row in steps], None if once is None else _value(once, kind)
    )


def _value(row: Row, kind: str, *, published: bool = False) -> Value | None:
    found = row[kind]["all"]
    if found is None:
        return None
    paper = getattr(PUBLISHED.get((row["setting"], row["method"])), kind, None) if published else None
    return Value(found["value"], found["low"], found["high"], paper)


def _base(states: Mapping[str, Any]) -> Html:
    """What the two models knew that unlearning began with, and what one gets right of people that it never met."""
    heads = ("Model", "People", "Modality", "accuracy %", "questions")
    body = []
    for state, set_name in ((s, n) for s in ("pretrained", "target") for n in states[s]):
        for modality, metrics in states[state][set_name].items():
            found = metrics["mcq_accuracy"]
            cells = (
                state,
                set_name.replace("_", " "),
                MODALITIES[modality],
                f"{100 * found['value']:.0f}",
                str(found["n"]),
            )
            body.append(element("tr", *(element("td", cell) for cell in cells)))
    head = element("tr", *(element("th", title, scope="col") for title in heads))
    return element("table", element("thead", head), element("tbody", *body))


def _letters(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Html]:
    """How often each letter is right, where letters are the answers."""
    shown = "; ".join(
        f"{name} {', '.join(f'{letter} {count}' for letter, count in found.items())}" for name, found in counts.items()
    )
    if shown:
        yield element("p", f"How often each letter is right: {shown}.", class_="note")


def method_title(method: str) -> str:
    """A method's name in words."""
    return METHODS.get(method, method)
