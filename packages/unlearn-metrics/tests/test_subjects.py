"""Subjects as the unit: intervals that draw them whole, numbers of each, consistency of their texts and images."""

import numpy as np
import pytest
from unlearn_metrics import _estimates, cli, compute, paired, row_metrics
from unlearn_metrics._paired import holm


def people(builder, *, subjects=20, rows=6, shift=0.0, spread=1.0, of="forget10"):
    """Rows of a subject are much alike."""
    rng, made = np.random.default_rng(0), builder()
    for s in range(subjects):
        level = -1.5 + spread * rng.uniform(-1, 1) - shift
        for i in range(rows):
            paraphrase, wrong = -rng.uniform(0.1, 3), -rng.uniform(0.1, 3)
            made.row(f"p{s}/qa/{i}", [level - 0.01 * i], [paraphrase], [[wrong]], of=of)
    return made


def width(number):
    return number["high"] - number["low"]


def test_rows_of_a_subject_are_no_independent_evidence(builder):
    evidence = people(builder).build()
    whole, apart = (
        compute(evidence, resample=unit)["sets"]["forget10"]["all"]["probability"] for unit in ("subjects", "rows")
    )
    assert whole["value"] == apart["value"]
    assert whole["n"] == apart["n"] == 120
    assert 1.8 < width(whole) / width(apart) < 3.2  # about the root of 6 rows a subject


def test_resamples_by_hand(builder):
    evidence = people(builder, subjects=4, rows=3).build()
    rows = row_metrics(evidence)
    how = _estimates.draw(rows, "subjects", "forget10 text")
    p = rows["probability"].to_numpy().reshape(4, 3)
    means = [np.average(p.mean(axis=1), weights=counts) for block in how.of_units() for counts in block]
    number = compute(evidence)["sets"]["forget10"]["all"]["probability"]
    assert [number["low"], number["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())


def test_units_of_unequal_size(builder):
    made = people(builder, subjects=6, rows=2)
    for row in people(builder, subjects=1, rows=9).scores:
        made.scores.append(row | {"id": "big" + row["id"], "subject": "big"})
    for name in ("forget10", "holdout"):
        made.scores += [row | {"set": "holdout"} for row in made.scores if row["set"] == name == "forget10"]
    evidence = made.build()
    summary = compute(evidence, evidence)["summary"]
    assert summary["forget_quality"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 21}
    assert summary["loss_auc"]["value"] == 0.5
    assert summary["loss_auc"]["low"] < 0.5 < summary["loss_auc"]["high"]
    assert summary["privleak"]["value"] == summary["privleak_ou"]["value"] == 0


def test_a_sole_subject_is_drawn_by_rows(builder):
    evidence = people(builder, subjects=1).build()
    assert compute(evidence) == compute(evidence, resample="rows")
    assert width(compute(evidence)["sets"]["forget10"]["all"]["probability"]) > 0


def test_an_unknown_unit(builder):
    evidence = people(builder, subjects=2).build()
    for run in (lambda: compute(evidence, resample="sets"), lambda: paired(evidence, evidence, resample="sets")):
        with pytest.raises(ValueError, match="`resample` must be one of subjects, rows, got 'sets'"):
            run()


def test_numbers_of_each_subject(builder):
    evidence = people(builder, subjects=3, rows=4).build()
    results = compute(evidence, by_subject=True)
    found = results["by_subject"]["forget10"]
    assert set(found) == {"p0", "p1", "p2"}
    values = [found[name]["text"]["probability"]["value"] for name in found]
    assert np.mean(values) == pytest.approx(results["sets"]["forget10"]["all"]["probability"]["value"])
    assert found["p0"]["text"]["probability"]["n"] == 4
    tofu = compute(evidence, by_subject=True, benchmark="tofu")["by_subject"]["forget10"]["p0"]["text"]
    assert set(tofu) == {"probability", "truth_ratio"}
    assert "by_subject" not in compute(evidence)


def test_subjects_on_the_command_line(builder, tmp_path, capsys):
    people(builder, subjects=2, rows=2).build().write(tmp_path / "npo")
    assert cli.main(["compute", str(tmp_path / "npo"), "--by-subject"]) == 0
    assert "forget10 p1 text" in capsys.readouterr().out


def test_consistency_by_hand(builder):
    made = builder()
    for set_name in ("forget10", "retain90"):
        for subject, text, image in (("a", "Oslo", "Oslo"), ("b", "Oslo", "no"), ("c", "no", "no")):
            for task, modality, said in (("qa", "text", text), ("vqa", "image", image)):
                where = {"of": set_name, "task": task, "modality": modality}
                made.row(f"{subject}/{task}/0", [-1.0], **where)
                made.says(f"{subject}/{task}/0", said, "Oslo", ["Oslo"], **where)
    sets = compute(made.build())["sets"]
    # a = 1, b = 1: both 1; a = 0, b = 1: forget 1, retain 0; a = b = 0: both 0.
    for set_name, expected in (("forget10", 2 / 3), ("retain90", 1 / 3)):
        for score in ("keyword_accuracy", "rouge_l_recall"):
            number = sets[set_name]["all"][f"{score}_consistency"]
            assert number["value"] == pytest.approx(expected)
            assert number["n"] == 3
        assert "keyword_accuracy_consistency" not in sets[set_name]["text"]


def test_paired_flips_signs_of_whole_subjects(builder):
    ours, theirs = (people(builder, subjects=5, rows=8, shift=shift).build() for shift in (0.0, 0.5))
    by_subject, by_row = (
        paired(ours, theirs, resample=unit)["forget10"]["probability"] for unit in ("subjects", "rows")
    )
    assert by_subject.difference == by_row.difference > 0
    assert by_row.p == pytest.approx(1 / 5000)
    assert by_subject.p == pytest.approx(2 / 2**5, abs=0.02)  # of 32 patterns of signs, two are as far out


def test_holm_by_hand():
    assert holm(np.array([0.04, 0.01, 0.03, 0.5])).tolist() == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).size == 0
