"""Forgetting against retention, as a drawing inside the page."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from unlearn_metrics.report._html import Html
from unlearn_metrics.report._results import Number, Results, metric_title, state_title
from unlearn_metrics.report._tables import modality_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors that stand for the page's own, so that the drawing follows its light and dark forms.
_PAGE_COLORS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--accent)",
}
_INK, _MUTED, _RULE, _ACCENT = _PAGE_COLORS
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "unlearn",
    "font.size": 9,
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MARKERS = {"retrained": ("*", 190, _INK), "target": ("s", 48, _INK), "pretrained": ("^", 42, _MUTED)}
_CHARACTER, _LINE = 5.4, 12.0  # points: about the size of a letter of a label


Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points."""


class Spot(NamedTuple):
    """Where a label may be, relative to its mark: a direction and a distance in points."""

    dx: float
    dy: float
    distance: float

    def box(self, mark: tuple[float, float], text: str) -> Box:
        """The room that a label takes there."""
        width = _CHARACTER * len(text)
        left = mark[0] + self.dx * self.distance - (0 if self.dx > 0 else width if self.dx < 0 else width / 2)
        bottom = mark[1] + self.dy * self.distance - _LINE / 2
        return left, bottom, left + width, bottom + _LINE


_DIRECTIONS = ((0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7), (1, 0), (-1, 0), (0, 1), (0, -1))
_SPOTS = [Spot(dx, dy, distance) for distance in (10, 18, 30, 44) for dx, dy in _DIRECTIONS]


class Point(NamedTuple):
    """What one model knows of the two sets."""

    state: str
    forget: Number
    retain: Number


def tradeoff(results: Results) -> Html | None:
    """Draws what each model knows of the retain set over what it knows of the forget set, a panel for each modality.

    Returns:
        An SVG, its colors the page's, or `None` where no metric of knowledge was measured on both sets.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    panels = [(modality, points(results, modality)) for modality in results.apart]
    panels = [(modality, found) for modality, found in panels if found]
    if not panels:
        return None
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the report's plot needs matplotlib: pip install 'unlearn-metrics[report]'") from error
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own style is: the same bytes for the same numbers
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(5.2 * max(len(panels), 1), 4.3), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        for axes, (modality, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw(axes, modality, found, results)
        figure.draw_without_rendering()  # so that the panels have their places
        for axes, (_, found) in zip(figure.axes, panels, strict=True):
            _label(figure, axes, found)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(drawn.getvalue())


def points(results: Results, modality: str) -> list[Point]:
    """The models whose knowledge of both sets was measured."""
    if (known := results.knowledge(modality)) is None:
        return []
    forget, retain, metric = known
    pairs = (
        (s, results.get(s, forget, modality, metric), results.get(s, retain, modality, metric)) for s in results.states
    )
    return [Point(state, x, y) for state, x, y in pairs if x is not None and y is not None]


def nearest(found: Sequence[Point], methods: Sequence[str]) -> str | None:
    """The method whose model is nearest to the retrained one in the drawing."""
    aim = next((point for point in found if point.state == "retrained"), None)
    made = [point for point in found if point.state in methods]
    if aim is None or not made:
        return None
    return min(
        made, key=lambda p: math.dist((p.forget.value, p.retain.value), (aim.forget.value, aim.retain.value))
    ).state


def _draw(axes: "Axes", modality: str, found: Sequence[Point], results: Results) -> None:
    known = results.knowledge(modality)
    metric = metric_title(known[2])[0].lower() if known else ""
    axes.set(xlim=(-0.04, 1.06), ylim=(-0.04, 1.1), xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel(f"knows of the forget set ({metric})")
    axes.set_ylabel(f"knows of the retain set ({metric})")
    axes.set_title(modality_title(modality), loc="left", fontweight="bold", color=_INK)
    axes.grid(color=_RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    target = next((point for point in found if point.state == "target"), None)
    for point in found:
        if target is not None and point.state in results.methods:
            _arrow(axes, target, point)
        _mark(axes, point)


def _arrow(axes: "Axes", start: Point, end: Point) -> None:
    """From the target to what a method made of it."""
    axes.annotate(
        "",
        (end.forget.value, end.retain.value),
        (start.forget.value, start.retain.value),
        arrowprops={
            "arrowstyle": "-|>",
            "color": _RULE,
            "linewidth": 1,
            "shrinkA": 6,
            "shrinkB": 5,
            "mutation_scale": 8,
        },
    )


def _mark(axes: "Axes", point: Point) -> None:
    marker, size, color = _MARKERS.get(point.state, ("o", 42, _ACCENT))
    x, y = point.forget, point.retain
    errors: dict[str, Any] = {
        name: [[max(0.0, each.value - each.low)], [max(0.0, each.high - each.value)]]
        for name, each in (("xerr", x), ("yerr", y))
        if each.low is not None and each.high is not None
    }
    axes.errorbar(x.value, y.value, **errors, color=color, elinewidth=0.8, alpha=0.45, fmt="none")
    axes.scatter([x.value], [y.value], marker=marker, s=size, color=color, linewidths=0, zorder=3)


def _label(figure: "Figure", axes: "Axes", found: Sequence[Point]) -> None:
    """Writes each name beside its mark, where it hides least of marks, bars and other names."""
    scale = 72 / figure.dpi

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * scale
        return float(across), float(up)

    taken = [box for point in found for box in _obstacles(point, place)]
    low, high = (axes.transAxes.transform(corner) * scale for corner in ((0, 0), (1, 1)))
    for point in found:
        text = state_title(point.state) + (" (goal)" if point.state == "retrained" else "")
        mark = place(point.forget.value, point.retain.value)

        def cost(spot: Spot, text: str = text, mark: tuple[float, float] = mark) -> float:
            box = spot.box(mark, text)
            outside = sum(max(0, a) for a in (low[0] - box[0], low[1] - box[1], box[2] - high[0], box[3] - high[1]))
            return float(10 * outside + sum(_overlap(box, other) for other in taken) + spot.distance)

        spot = min(_SPOTS, key=cost)
        taken.append(spot.box(mark, text))
        axes.annotate(
            text,
            (point.forget.value, point.retain.value),
            (spot.dx * spot.distance, spot.dy * spot.distance),
            textcoords="offset points",
            ha="left" if spot.dx > 0 else "right" if spot.dx < 0 else "center",
            va="center",
            fontweight="bold" if point.state == "retrained" else "normal",
            arrowprops={"arrowstyle": "-", "color": _RULE, "linewidth": 0.6} if spot.distance > 20 else None,
        )


def _obstacles(point: Point, place: Callable[[float, float], tuple[float, float]]) -> list[Box]:
    """The mark of a point and its two bars."""
    (x, x_low, x_high), (y, y_low, y_high) = (
        (each.value, each.value if each.low is None else each.low, each.value if each.high is None else each.high)
        for each in (point.forget, point.retain)
    )
    corners = (((x, y), (x, y), 6), ((x_low, y), (x_high, y), 1), ((x, y_low), (x, y_high), 1))
    boxes = (((*place(*low), *place(*high)), margin) for low, high, margin in corners)
    return [(left - m, bottom - m, right + m, top + m) for (left, bottom, right, top), m in boxes]


def _overlap(first: Box, second: Box) -> float:
    """The area, in square points, that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, width) * max(0, height)


def _inline(svg: str) -> Html:
    """Makes a part of the page of a file: without prolog, no wider than the page, in its colors."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening = re.compile(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>')
    own = r'<svg role="img" aria-labelledby="tradeoff" viewBox="0 0 \1 \2" style="max-width:\1pt">'
    svg = opening.sub(own, svg, count=1)
    for stand_in, color in _PAGE_COLORS.items():
        svg = svg.replace(stand_in, color)
    return Html(svg.replace("xlink:href", "href"))
