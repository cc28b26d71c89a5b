import re
from html.parser import HTMLParser

import pytest
from unlearn_train.pulse.drawing import Line, Value, bars, lines
from unlearn_train.pulse.report import report_page

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Checks that every element is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def number(value):
    return {"value": value, "low": value - 5, "high": value + 5, "n": 40}


def row(setting, method, parts, request=0, **more):
    of = {"all": number(70.0), "image": number(60.0), "text": None}
    state = f"{setting}-{method}-{parts}"
    kinds = {"forgotten": of, "retained": of, "general": of}
    return {"setting": setting, "method": method, "parts": parts, "request": request, "state": state, **kinds, **more}


@pytest.fixture
def results():
    table = [
        row(setting, method, parts, request)
        for setting in ("finetuned", "pretrained", "sequential")
        for method in ("ga", "a<b")
        for parts in ("language+projector", "language")
        for request in ((1, 2, 3) if setting == "sequential" else (0,))
    ]
    accuracy = {"all": {"mcq_accuracy": number(0.8)}}
    states = {state: {"forget": accuracy, "general": accuracy} for state in ("pretrained", "target")}
    return {
        "states": states,
        "pulse": {"table": table, "answer": "letter", "letters": {"general": {"A": 3, "B": 3}}},
        "run": {},
    }


def test_the_page_needs_no_other_file_and_is_whole(results):
    page = report_page(results, title="PULSE: <run>")
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert "<run>" not in page and "a<b" not in page, "what is shown is escaped"
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page == report_page(results, title="PULSE: <run>"), "the same bytes for the same numbers"
    for title in ("Learnt in finetuning", "Learnt in pretraining", "In several requests", "image + text", "text only"):
        assert title in page
    assert ">71</td>" in page, "the paper's number stands below ours"


def test_all_numbers_of_the_table_are_shown(results):
    short = report_page(results, title="t").split("<h2>")[1]
    assert short.count("<span>70</span>") == 4 * 3 * 3


def test_what_was_not_measured_is_a_dash(results):
    results["pulse"]["table"][0]["forgotten"] = {"all": None, "image": None, "text": None}
    assert "not measured" in report_page(results, title="t")


def test_one_setting_by_itself_is_drawn(results):
    results["pulse"]["table"] = [row("finetuned", "npo", "language")]
    page = report_page(results, title="t")
    assert "Request after request" not in page
    assert "Learnt in pretraining" not in page


def heights(drawing):
    return [float(found) for found in re.findall(r'<rect[^>]*height="([\d.]+)"', drawing)]


def test_bars_stand_for_their_values():
    panels = {"p": {"m": {"forgotten": Value(100.0), "retained": Value(50.0), "general": None}}}
    whole, half = heights(bars(panels, label="x"))
    assert half == pytest.approx(whole / 2)
    assert "–" in bars(panels, label="x"), "what is missing is no bar of 0"


def test_values_beyond_the_scale_stay_in_the_drawing():
    panels = {"p": {"m": {"forgotten": Value(-300.0), "retained": Value(900.0), "general": Value(0.0)}}}
    assert max(heights(bars(panels, label="x"))) < 200


def test_lines_have_a_point_for_each_request():
    line = Line("GA", [Value(10.0), None, Value(90.0)], Value(50.0))
    drawing = lines({"forgotten": [line]}, label="x")
    (path,) = re.findall(r'points="([^"]*)"', drawing)
    (x1, y1), (x3, y3) = (map(float, place.split(",")) for place in path.split())
    assert x3 > x1 and y3 < y1, "a higher value is drawn higher"
    assert drawing.count("<circle") == 3
