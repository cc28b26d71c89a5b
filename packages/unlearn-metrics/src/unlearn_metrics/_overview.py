"""The table of a whole run: one line per state."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unlearn_metrics._tabulate import ABSENT, Cell, terminal
from unlearn_metrics.benchmarks import role


class _Column(NamedTuple):
    group: str
    title: str
    path: tuple[str, ...]


def render_table(results: Mapping[str, Any]) -> str:
    """The main numbers of a run for a terminal: states down, metrics across.

    Columns: keyword accuracy on texts and images, probability, ROUGE-L recall and truth ratio of each forget set; the
    same but for the truth ratio of each retain set; keyword accuracy (ROUGE where there are no keywords) of each real
    set; model utility and the logarithm of forget quality. Columns that no state has are left out.

    Args:
        results: What `results.json` holds: {"states": {state: {set: {modality: {metric: number}}}},
            "summary": {state: {name: number}}}.

    Returns:
        The lines of the table.

    Raises:
        ValueError: If there are no states.

    Example:
        >>> number = {"value": 0.25, "low": None, "high": None, "n": 1}
        >>> states = {"target": {"forget10": {"text": {"keyword_accuracy": number}}}}
        >>> print(render_table({"states": states, "summary": {}}))
                 forget10
        state      kw txt
        target      0.250
    """
    states = results.get("states") or {}
    if not states:
        raise ValueError("the results hold no states, so there is nothing to show. Compute them first.")
    table = {name: {"sets": sets, "summary": results.get("summary", {}).get(name, {})} for name, sets in states.items()}
    columns = [each for each in _columns(table) if any(_number(of, each.path) for of in table.values())]
    rows = [[Cell(name), *(Cell(_text(of, column.path)) for column in columns)] for name, of in table.items()]
    groups: list[tuple[str, int]] = [("", 1)]
    for column in columns:
        same = column.group == groups[-1][0]
        groups[-1:] = [(column.group, groups[-1][1] + 1)] if same else [groups[-1], (column.group, 1)]
    return terminal(["state", *(column.title for column in columns)], rows, groups)


def _columns(table: Mapping[str, Any]) -> list[_Column]:
    sets = list(dict.fromkeys(name for of in table.values() for name in of["sets"]))
    columns: list[_Column] = []
    for wanted, metrics in (("forget", ("probability", "rouge_l_recall", "truth_ratio")), ("retain", _KEPT)):
        for name in sets:
            if role(name) == wanted:
                columns += _set_columns(name, metrics)
    for name in sorted(each for each in sets if role(each) == "real"):
        paths = [("sets", name, "all", metric) for metric in ("keyword_accuracy", "rouge_l_recall")]
        known = [path for path in paths if any(_number(of, path) for of in table.values())]
        columns += [_Column("real sets", name.removeprefix("real_"), path) for path in known[:1]]
    columns += [_Column("overall", "utility", ("summary", "model_utility"))]
    return [*columns, _Column("overall", "log10 FQ", ("summary", "forget_quality_log10_p"))]


_KEPT = ("probability", "rouge_l_recall")
_TITLES = {"probability": "prob", "rouge_l_recall": "ROUGE", "truth_ratio": "truth r."}


def _set_columns(name: str, metrics: Sequence[str]) -> list[_Column]:
    keywords = [
        _Column(name, f"kw {short}", ("sets", name, modality, "keyword_accuracy"))
        for modality, short in (("text", "txt"), ("image", "img"))
    ]
    return keywords + [_Column(name, _TITLES[metric], ("sets", name, "all", metric)) for metric in metrics]


def _number(results: Any, path: Sequence[str]) -> Mapping[str, Any] | None:
    for key in path:
        results = results.get(key) if isinstance(results, Mapping) else None
    return results if isinstance(results, Mapping) else None


def _text(results: Mapping[str, Any], path: Sequence[str]) -> str:
    number = _number(results, path)
    if number is None:
        return ABSENT
    return f"{number['value']:.1f}" if path[-1].endswith("log10_p") else f"{number['value']:.3f}"
