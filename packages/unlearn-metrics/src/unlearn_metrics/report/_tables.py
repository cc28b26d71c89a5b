"""Tables of states by metrics, shaded by closeness to the goal."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from unlearn_metrics.report._html import Html, element, join
from unlearn_metrics.report._results import Number, Results, goal, metric_title, set_title, state_title

Lookup = Callable[[str], Number | None]
"""From a state to its number."""


class Column(NamedTuple):
    """A column of a table: what it is called, what it means, which state is its goal, and its numbers."""

    title: str
    meaning: str
    goal: str
    lookup: Lookup


def overview(results: Results) -> Html:
    """What was forgotten, what was kept, and the first of the numbers over all sets: the table to quote."""
    groups = [
        (f"Knows of the {name} set", _knowledge_columns(results, position))
        for position, name in enumerate(("forget", "retain"))
    ]
    first, others = ([_summary_column(results, name) for name in names] for names in results.summary_names)
    groups.append(("Over all sets", first))
    shown = [group for group in groups if group[1]]
    main = table(results.states, shown) if shown else join([])
    return join([main, _folded("More numbers over sets", table(results.states, [("", others)])) if others else ""])


def set_tables(results: Results, modality: str) -> Html:
    """A table of the first metrics for each set of a modality, and folded away one of the others."""
    parts = {name: results.metrics(name, modality) for name in results.sets(modality)}
    first = [_set_table(results, name, modality, metrics) for name, (metrics, _) in parts.items()]
    others = [_set_table(results, name, modality, metrics) for name, (_, metrics) in parts.items() if metrics]
    more = _folded("More metrics", element("div", *others, class_="sets")) if others else ""
    return join([element("div", *first, class_="sets"), more])


def not_measured(results: Results) -> Html:
    """Folded away, why numbers over sets are not there; the names that share a reason are in one row."""
    states = dict[tuple[str, str], list[str]]()
    for state in results.states:
        for name, reason in results.missing[state].items():
            states.setdefault((name, str(reason)), []).append(state)
    names = dict[tuple[str, ...], list[str]]()
    for (name, reason), found in states.items():
        names.setdefault((reason, *found), []).append(metric_title(name)[0])
    if not names:
        return join([])
    rows = []
    for (reason, *found), titles in names.items():
        whose = "" if found == results.states else f" ({', '.join(map(state_title, found))})"
        rows.append(element("tr", element("th", ", ".join(titles) + whose, scope="row"), element("td", reason)))
    return _folded("Not measured, and why", element("table", element("tbody", *rows), class_="plain"))


def table(states: Sequence[str], groups: Sequence[tuple[str, Sequence[Column]]]) -> Html:
    """A table of states by columns; the groups get a row of headings where they have a title."""
    columns = [column for _, group in groups for column in group]
    starts = {sum(len(group) for _, group in groups[:index]) for index in range(1, len(groups))}
    heads = [
        element("th", column.title, scope="col", title=column.meaning or None, class_="start" if i in starts else None)
        for i, column in enumerate(columns)
    ]
    head = element("tr", element("th", "Model", scope="col"), *heads)
    if any(title for title, _ in groups):
        above = (element("th", title, scope="colgroup", colspan=str(len(group))) for title, group in groups)
        head = join([element("tr", element("td"), *above, class_="groups"), head])
    rows = (_row(state, states, columns, starts) for state in states)
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def number_text(value: float) -> str:
    """A number as a reader wants it: two decimals, more where it is small, a power of ten where it is tiny.

    Example:
        >>> [number_text(value) for value in (0.951, 0.0031, 1.2e-7, 0.0, -12.345, 4321.0)]
        ['0.95', '0.003', '1.2e-7', '0.00', '-12.3', '4.3e+3']
    """
    if (decimals := _decimals(abs(value))) is not None:
        return f"{value:.{decimals}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"


def interval_text(low: float, high: float) -> str:
    """An interval, both ends with as many decimals as the larger wants; powers of ten only where that is tiny itself.

    Example:
        >>> interval_text(0.0004, 0.18), interval_text(1e-9, 2e-5), interval_text(-14.2, -3)
        ('0.00–0.18', '1.0e-9–2.0e-5', '-14.2 to -3.0')
    """
    decimals, between = _decimals(max(abs(low), abs(high))), " to " if low < 0 else "–"
    if decimals is None:
        return between.join(map(number_text, (low, high)))
    return f"{low:.{decimals}f}{between}{high:.{decimals}f}"


def closeness(value: float, aim: float, others: Sequence[float]) -> float:
    """How near a number is to its goal: 1 is there, 0 is as far as the farthest of its column.

    Where all are near nothing is far: the least that counts as far is a fifth, of the goal where that is above 1.

    Example:
        >>> closeness(0.9, 0.9, [0.9, 0.4]), closeness(0.4, 0.9, [0.9, 0.4]), closeness(0.99, 1.0, [0.99])
        (1.0, 0.0, 0.95)
    """
    far = max([abs(other - aim) for other in others] + [max(1, abs(aim)) / 5])
    return round(1 - abs(value - aim) / far, 2)


def modality_title(modality: str) -> str:
    """A modality's name in words."""
    return {"text": "Text", "image": "Images", "all": "Together"}.get(modality, modality)


def _lookup(results: Results, dataset: str, modality: str, metric: str) -> Lookup:
    return lambda state: results.get(state, dataset, modality, metric)


def _summary_column(results: Results, name: str) -> Column:
    return Column(*metric_title(name), goal(name), lambda state: results.get_summary(state, name))


def _decimals(size: float) -> int | None:
    """How many decimals a number of that size wants; `None` where it wants a power of ten."""
    if size >= 1000 or 0 < size < 0.001:
        return None
    return 1 if size >= 10 else 3 if 0 < size < 0.01 else 2


def _folded(title: str, content: Html) -> Html:
    return element("details", element("summary", title), content)


def _knowledge_columns(results: Results, position: int) -> list[Column]:
    """What each model knows of the forget set (position 0) or of the retain set (1), by modality."""
    columns = []
    for modality in results.apart:
        if known := results.knowledge(modality):
            title, meaning = metric_title(known[2])
            lookup = _lookup(results, known[position], modality, known[2])
            columns.append(
                Column(f"{modality_title(modality)}, {title.lower()}", meaning, goal(known[position]), lookup)
            )
    return columns


def _set_table(results: Results, dataset: str, modality: str, metrics: Sequence[str]) -> Html:
    columns = [
        Column(*metric_title(metric), goal(dataset), _lookup(results, dataset, modality, metric)) for metric in metrics
    ]
    found = (column.lookup(state) for column in columns for state in results.states)
    counts = sorted({each.n for each in found if each is not None and each.n is not None})
    title, meaning = set_title(dataset)
    rows = f"n = {'–'.join(str(n) for n in (counts[:1] + counts[1:][-1:]))}" if counts else ""
    note = " · ".join(part for part in (meaning, rows, f"goal: {state_title(goal(dataset)).lower()}") if part)
    return element(
        "section", element("h3", title), element("p", note, class_="note"), table(results.states, [("", columns)])
    )


def _row(state: str, states: Sequence[str], columns: Sequence[Column], starts: set[int]) -> Html:
    cells = (_cell(column, state, states, start=index in starts) for index, column in enumerate(columns))
    return element("tr", element("th", state_title(state), scope="row"), *cells)


def _cell(column: Column, state: str, states: Sequence[str], *, start: bool) -> Html:
    found, aim = column.lookup(state), column.lookup(column.goal)
    if found is None:
        return element("td", "–", title="not measured", class_="missing start" if start else "missing")
    kinds = [kind for kind, is_so in (("start", start), ("goal", state == column.goal)) if is_so]
    style = None
    if aim is not None and state != "pretrained":
        numbers = (column.lookup(other) for other in states if other != "pretrained")
        near = closeness(found.value, aim.value, [each.value for each in numbers if each is not None])
        style = f"--near:{near:g}"
    children: list[str] = [element("span", number_text(found.value))]
    if found.low is not None and found.high is not None:
        children.append(element("small", interval_text(found.low, found.high)))
    return element("td", *children, title=_exactly(found), class_=" ".join(kinds) or None, style=style)


def _exactly(found: Number) -> str:
    parts = [f"{found.value:.6g}"]
    if found.low is not None and found.high is not None:
        parts.append(f"95 % interval {found.low:.6g} to {found.high:.6g}")
    if found.n is not None:
        parts.append(f"n = {found.n}")
    return "; ".join(parts)
