from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from unlearn_metrics import GENERATIONS_SCHEMA
from unlearn_train.pulse import numbers
from unlearn_train.pulse.numbers import Mark


def some_marks(right, *, subjects=4, modality="text"):
    return [Mark("s", f"r{n}", f"p{n % subjects}", modality, float(one)) for n, one in enumerate(right)]


def generations(*answers):
    rows = [
        {"set": "s", "id": f"r{n}", "subject": "p", "task": "qa", "modality": "text", "question": "?", "answer": right}
        | {"keywords": [right], "generated": said, "sample": 0}
        for n, (right, said) in enumerate(answers)
    ]
    return SimpleNamespace(generations=pa.Table.from_pylist(rows, schema=GENERATIONS_SCHEMA))


def test_an_answer_is_right_where_it_begins_with_the_letter():
    found = numbers.marks(generations(("B", "B"), ("B", "(b)"), ("B", "C"), ("B", ""), ("B", "Because")))
    assert [mark.right for mark in found] == [1, 1, 0, 0, 0]


def test_percentages_against_a_plain_count():
    rng = np.random.default_rng(0)
    before, after = rng.random(40) < 0.8, rng.random(40) < 0.5
    old, new = some_marks(before), some_marks(after)
    left = 100 * after.mean() / before.mean()
    kept, gone = numbers.retained(old, new), numbers.forgotten(old, new)
    assert kept["value"] == pytest.approx(left)
    assert gone["value"] == pytest.approx(100 - left)
    assert kept["low"] <= left <= kept["high"]
    assert (gone["low"], gone["high"]) == pytest.approx((100 - kept["high"], 100 - kept["low"]))
    assert kept["n"] == 40
    assert numbers.accuracy(new)["value"] == pytest.approx(after.mean())
    assert numbers.retained(old, new[::-1]) == kept, "the order of rows changes nothing"


def test_limits():
    old = some_marks([1, 1, 1, 0])
    assert numbers.forgotten(old, old)["value"] == 0
    gone = numbers.forgotten(old, some_marks([0, 0, 0, 0]))
    assert (gone["value"], gone["low"], gone["high"]) == (100, 100, 100)
    assert numbers.retained(old, some_marks([1, 1, 1, 1]))["value"] == pytest.approx(400 / 3), "better than before"
    assert numbers.accuracy(some_marks([1, 0], subjects=1))["low"] is None


def test_nothing_is_measured_on_nothing():
    with pytest.raises(ValueError, match="no question to measure"):
        numbers.accuracy([])
    with pytest.raises(ValueError, match="none was answered right before"):
        numbers.retained(some_marks([0, 0]), some_marks([1, 1]))
    with pytest.raises(ValueError, match="the questions before and after differ"):
        numbers.retained(some_marks([1, 1]), some_marks([1]))


def test_what_is_missing_says_why():
    old = [*some_marks([1, 1]), Mark("s", "i", "p", "image", 0.0)]
    found, missing = numbers.compare("general", old, old)
    assert set(found) == {"general_pct", "general_pct_text"}
    assert missing == {
        "general_pct_image": "no question was answered right before, so that there is nothing to compare with"
    }
    found, missing = numbers.compare("forgotten", some_marks([1]), some_marks([0]))
    assert found["forgotten_pct"]["value"] == 100
    assert missing == {"forgotten_pct_image": "no question is asked in this modality"}


def test_the_best_known_come_first():
    found = [Mark("s", "1", "b", "text", 1), Mark("s", "2", "a", "text", 1), Mark("s", "3", "c", "text", 0)]
    assert numbers.best_known(found) == ["a", "b", "c"]


def test_the_table_has_a_line_for_each_model():
    cell = {"all": {"value": 71.4}, "text": None, "image": None}
    row = {"setting": "finetuned", "method": "ga", "parts": "language", "request": 0}
    lines = numbers.table([{**row, "forgotten": cell, "retained": cell, "general": {"all": None}}]).splitlines()
    assert lines[0].split("  ")[0] == "setting"
    assert lines[1].split() == ["finetuned", "ga", "language", "0", "71", "71", "–"]
