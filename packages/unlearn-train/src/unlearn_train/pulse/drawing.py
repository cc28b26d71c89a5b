"""The protocol's figures as SVG inside the page: bars for one request, lines over several."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from unlearn_metrics.report import Html, element

COLORS = {
    "forgotten": "var(--accent)",
    "retained": "rgb(var(--near-color))",
    "general": "var(--muted)",
}
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
"""of the lines, method by method"""
_LEFT, _TOP, _HEIGHT, _BOTTOM, _GAP = 34, 26, 170, 44, 26


class Value(NamedTuple):
    """A percentage and its 95 % interval, where there is one; and what the paper has, where it has it."""

    value: float
    low: float | None = None
    high: float | None = None
    published: float | None = None


class Line(NamedTuple):
    """What one method comes to, request by request."""

    label: str
    values: Sequence[Value | None]
    at_once: Value | None
    """what it comes to where the same is forgotten in one request"""


def bars(panels: Mapping[str, Mapping[str, Mapping[str, Value | None]]], *, label: str) -> Html:
    """Draw a panel for each setting: a group of bars for each method, a bar for each kind of percentage.

    Args:
        panels: values by panel, group and kind, the kinds those of `COLORS`.
        label: what the drawing is, for those who cannot see it.
    """
    counts = [len(groups) for groups in panels.values()]
    width = 22 * len(COLORS)
    parts: list[Html] = []
    left = _LEFT
    for title, groups in panels.items():
        span = len(groups) * (width + _GAP)
        parts += _frame(left, span, title)
        for number, (name, kinds) in enumerate(groups.items()):
            start = left + number * (width + _GAP) + _GAP / 2
            parts += _group(start, width, name, kinds)
        left += span + _GAP + _LEFT
    return _svg(left - _LEFT, parts, label) if counts else Html("")


def lines(panels: Mapping[str, Sequence[Line]], *, label: str) -> Html:
    """Draw a panel for each kind of percentage, with a line for each method over the requests.

    At its end, hollow, stands what the method comes to in one request.

    Args:
        panels: lines by kind.
        label: what the drawing is, for those who cannot see it.
    """
    parts: list[Html] = []
    left = _LEFT
    for kind, drawn in panels.items():
        steps = max(len(line.values) for line in drawn)
        span = 44.0 * (steps + 1)
        parts += _frame(left, span, f"{kind} %")
        places = [left + 44.0 * (n + 0.5) for n in range(steps + 1)]
        names = [*map(str, range(1, steps + 1)), "at once"]
        parts += [_text(x, _TOP + _HEIGHT + 15, name) for x, name in zip(places, names, strict=True)]
        for number, line in enumerate(drawn):
            parts += _line(places, line, DASHES[number % len(DASHES)], COLORS.get(kind, "var(--ink)"))
        left += int(span) + _GAP + _LEFT
    return _svg(left - _LEFT, parts, label)


def legend(names: Iterable[str]) -> Html:
    """Say which dash is which method."""
    shown = []
    for number, name in enumerate(names):
        stroke = {
            "stroke": "var(--ink)",
            "stroke_width": "1.5",
            "stroke_dasharray": DASHES[number % len(DASHES)] or None,
        }
        mark = element("line", x1="0", y1="5", x2="28", y2="5", **stroke)
        shown += [_span(mark, width=28), element("span", f" {name}   ")]
    return element("p", *shown, class_="note")


def colors(*, published: bool) -> Html:
    """Say which color is which kind, and where the paper's numbers are shown, which marks they are."""
    shown = []
    for kind, color in COLORS.items():
        shown += [
            _span(element("rect", width="12", height="10", fill=color), width=12),
            element("span", f" {kind} %   "),
        ]
    if published:
        shown += [_span(_published_mark(0, 5, 12), width=12), element("span", " the paper's (LLaVA-1.5-13B)")]
    return element("p", *shown, class_="note")


def _span(mark: Html, *, width: int) -> Html:
    return element("svg", mark, viewBox=f"0 0 {width} 10", width=str(width), height="10", aria_hidden="true")


def _svg(width: float, parts: Iterable[Html], label: str) -> Html:
    height = _TOP + _HEIGHT + _BOTTOM
    box = f"0 0 {width:.0f} {height}"
    return element("svg", *parts, viewBox=box, style=f"max-width:{width:.0f}px", role="img", aria_label=label)


def _y(value: float) -> float:
    """Percentages are cut at -5 and 105: beyond that nothing more is to be seen."""
    return _TOP + _HEIGHT * (1 - min(max(value, -5), 105) / 100)


def _frame(left: float, span: float, title: str) -> Iterator[Html]:
    yield _text(left, _TOP - 12, title, anchor="start", weight="600", size=12, fill="var(--ink)")
    for value in (0, 25, 50, 75, 100):
        ends = {"x1": f"{left:g}", "x2": f"{left + span:g}", "y1": f"{_y(value):g}", "y2": f"{_y(value):g}"}
        yield element("line", stroke="var(--rule)", stroke_width="1" if value else "1.5", **ends)
        yield _text(left - 5, _y(value) + 3, str(value), anchor="end")


def _group(start: float, width: float, name: str, kinds: Mapping[str, Value | None]) -> Iterator[Html]:
    each = width / len(COLORS)
    for number, (kind, color) in enumerate(COLORS.items()):
        x, found = start + number * each, kinds.get(kind)
        if found is None:
            yield _text(x + each / 2, _y(0) - 4, "–")
            continue
        top, bottom = sorted((_y(found.value), _y(0)))
        size = {"x": f"{x + 1:g}", "y": f"{top:g}", "width": f"{each - 2:g}", "height": f"{max(bottom - top, 0.8):g}"}
        hint = element("title", f"{name}, {kind}: {found.value:.1f} %")
        yield element("rect", hint, fill=color, **size)
        yield from _whisker(x + each / 2, found)
        if found.published is not None:
            yield _published_mark(x, _y(found.published), each)
        yield _text(x + each / 2, top - 4 if found.value >= 0 else bottom + 11, f"{found.value:.0f}", size=9)
    yield _text(start + width / 2, _TOP + _HEIGHT + 15, name)


def _published_mark(x: float, y: float, width: float) -> Html:
    ends = {"x1": f"{x:g}", "x2": f"{x + width:g}", "y1": f"{y:g}", "y2": f"{y:g}"}
    return element("line", stroke="var(--ink)", stroke_width="2", stroke_dasharray="3 2", **ends)


def _whisker(x: float, found: Value) -> Iterator[Html]:
    if found.low is not None and found.high is not None:
        ends = {"x1": f"{x:g}", "x2": f"{x:g}", "y1": f"{_y(found.low):g}", "y2": f"{_y(found.high):g}"}
        yield element("line", stroke="var(--ink)", stroke_width="0.8", opacity="0.5", **ends)


def _line(places: Sequence[float], line: Line, dash: str, color: str) -> Iterator[Html]:
    known = [(x, value) for x, value in zip(places, line.values, strict=False) if value is not None]
    path = " ".join(f"{x:g},{_y(value.value):g}" for x, value in known)
    yield element("polyline", points=path, fill="none", stroke=color, stroke_width="1.8", stroke_dasharray=dash or None)
    for x, value in known:
        yield from _dot(x, value, line.label, fill=color, stroke=color)
    if line.at_once is not None:
        yield from _dot(places[-1], line.at_once, f"{line.label}, at once", fill="var(--paper)", stroke=color)


def _dot(x: float, value: Value, label: str, *, fill: str, stroke: str) -> Iterator[Html]:
    hint = element("title", f"{label}: {value.value:.1f} %")
    yield element(
        "circle", hint, cx=f"{x:g}", cy=f"{_y(value.value):g}", r="3", fill=fill, stroke=stroke, stroke_width="1.5"
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    weight: str = "400",
    size: int = 10,
    fill: str = "var(--muted)",
) -> Html:
    return element(
        "text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, font_weight=weight, font_size=str(size), fill=fill
    )
