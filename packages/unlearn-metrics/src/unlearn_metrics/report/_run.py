"""How the numbers came about: time, memory, options, seeds and versions."""

from collections.abc import Iterator, Mapping
from typing import Any

from unlearn_metrics.report._html import Html, element


def run_details(run: Mapping[str, Any]) -> list[Html]:
    """Collapsed sections on the run, one for each thing that is known about it."""
    stages = run.get("stages")
    found = []
    if isinstance(stages, Mapping) and stages:
        found.append(element("details", element("summary", _stages_title(stages)), _stages(stages)))
    for name, title in (("options", "Options"), ("seeds", "Seeds"), ("versions", "Versions")):
        if run.get(name):
            found.append(element("details", element("summary", title), _settings(run[name])))
    return found


def headline(run: Mapping[str, Any]) -> str:
    """What was run and when, in a line, as far as the results say."""
    options = run.get("options")
    options = options if isinstance(options, Mapping) else {}
    named = [str(options["benchmark"]).upper()] if options.get("benchmark") else []
    named += [
        prefix + str(options[name])
        for name, prefix in (("forget", ""), ("seed", "seed "))
        if options.get(name) is not None
    ]
    named += [str(run[name]) for name in ("finished", "created") if run.get(name)][:1]
    return " · ".join(named)


def seconds_text(seconds: float) -> str:
    """A duration as a reader wants it.

    Example:
        >>> seconds_text(4.25), seconds_text(75), seconds_text(7325)
        ('4.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _stages_title(stages: Mapping[str, Any]) -> str:
    total = sum(float(stage.get("seconds") or 0) for stage in stages.values() if isinstance(stage, Mapping))
    return f"Time and memory: {seconds_text(total)} in {len(stages)} stages"


def _stages(stages: Mapping[str, Any]) -> Html:
    head = element("tr", *(element("th", title, scope="col") for title in ("Stage", "Time", "Peak memory")))
    rows = []
    for name, stage in stages.items():
        seconds, peak = stage.get("seconds"), stage.get("peak_memory_bytes")
        cells = (
            "–" if seconds is None else seconds_text(float(seconds)),
            "–" if peak is None else f"{float(peak) / 2**20:,.0f} MiB",
        )
        rows.append(element("tr", element("th", str(name), scope="row"), *(element("td", cell) for cell in cells)))
    return element("table", element("thead", head), element("tbody", *rows), class_="plain")


def _settings(values: Any) -> Html:
    rows = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in _flat(values, ""))
    return element("table", element("tbody", *rows), class_="plain")


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Nested options as dotted names."""
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _flat(child, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(str(each) for each in value) or "–"
    else:
        yield name, "–" if value is None or value == {} else str(value)
