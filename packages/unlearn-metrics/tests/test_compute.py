import json
import math

import numpy as np
import pyarrow.compute as pc
import pytest
from unlearn_metrics import Evidence, _estimates, compute, row_metrics


def value(results, name, metric, modality="all"):
    return results["sets"][name][modality][metric]["value"]


def test_four_rows_by_hand(builder):
    """Probability, truth ratio and ROUGE of four rows, the arithmetic written out."""
    made = builder()
    # Row 1: losses of the tokens 0.1 and 0.3, mean 0.2. Paraphrase: mean 1.0. Wrong answers: means 2.0 and 4.0.
    made.row("a/qa/0", [-0.1, -0.3], [-0.5, -1.5], [[-2.0], [-3.0, -5.0]])
    # Row 2: mean 0.5; paraphrase 3.0; wrong 2.0 and 2.0.
    made.row("b/qa/0", [-0.5], [-3.0], [[-2.0], [-1.0, -3.0]])
    # Row 3: mean 1.0; paraphrase 0.5; wrong 1.0 and 2.0.
    made.row("c/qa/0", [-1.0, -0.5, -1.5], [-0.5], [[-1.0], [-2.0]])
    # Row 4: mean 2.0; paraphrase 2.0; wrong 2.0 and 2.0.
    made.row("d/qa/0", [-2.0], [-2.0], [[-2.0], [-2.0]])
    made.says("a/qa/0", "Her name is Ann Lee.", "The name is Ann Lee")  # name is ann lee: 4 of 5
    made.says("b/qa/0", "Paris", "She lives in Rome")  # 0 of 4
    made.says("c/qa/0", "novels wrote she", "She wrote novels")  # one in order: 1 of 3
    made.says("d/qa/0", "writing", "Writes")  # both have the stem write or writ: 1 of 1
    results = compute(made.build())

    assert value(results, "forget10", "probability") == pytest.approx(
        (math.exp(-0.2) + math.exp(-0.5) + math.exp(-1.0) + math.exp(-2.0)) / 4, abs=1e-7
    )
    # R: exp(1 - 3), exp(3 - 2), exp(0.5 - 1.5), exp(2 - 2); min(R, 1/R): exp(-2), exp(-1), exp(-1), 1
    assert value(results, "forget10", "truth_ratio") == pytest.approx(
        (math.exp(-2) + math.exp(-1) + math.exp(-1) + 1) / 4, abs=1e-12
    )
    assert value(results, "forget10", "rouge_l_recall") == pytest.approx((4 / 5 + 0 / 4 + 1 / 3 + 1 / 1) / 4, abs=1e-15)
    assert results["sets"]["forget10"]["all"]["probability"]["n"] == 4

    kept = builder()
    for row in made.scores:
        kept.scores.append(row | {"set": "retain90"})
    # max(0, 1 - R) of the same four rows: 1 - exp(-2), 0, 1 - exp(-1), 0
    assert value(compute(kept.build()), "retain90", "truth_ratio") == pytest.approx(
        ((1 - math.exp(-2)) + 0 + (1 - math.exp(-1)) + 0) / 4, abs=1e-12
    )


@pytest.fixture
def make(builder):
    """Evidence on a random model: five sets, texts and images, all tasks."""

    def made(seed=0, shift=0.0, sets=("forget10", "retain90", "holdout", "real_faces", "world_facts")):
        rng = np.random.default_rng(seed)
        new = builder()

        def logp():
            return (-rng.exponential(size=rng.integers(1, 6))).tolist()

        for name in sets:
            for i in range(12):
                task = ("qa", "caption", "vqa", "mcq")[i % 4]
                where = {"of": name, "task": task, "modality": "image" if task in ("caption", "vqa") else "text"}
                paraphrase = [x - shift for x in logp()] if task != "mcq" and name != "real_faces" else None
                new.row(f"{name}{i % 3}/{task}/{i}", logp(), paraphrase, [logp() for _ in range(1 + i % 3)], **where)
                if task != "mcq":
                    said, right = rng.choice(["red", "green", "blue"], size=(2, 4))
                    new.says(f"{name}{i % 3}/{task}/{i}", " ".join(said), " ".join(right), right[:2].tolist(), **where)
        return new

    return made


def test_the_order_of_rows_changes_nothing(make):
    evidence, retrained = make(0).build(), make(1, 0.5).build()
    expected = compute(evidence, retrained)
    rng = np.random.default_rng(0)
    scores = evidence.scores.take(rng.permutation(evidence.scores.num_rows))
    generations = evidence.generations.take(rng.permutation(evidence.generations.num_rows))
    other = retrained.scores.take(rng.permutation(retrained.scores.num_rows))
    assert compute(Evidence(scores, generations, {}), Evidence(other, retrained.generations, {})) == expected


def naive_means(evidence, name, metric):
    rows = [row for row in row_metrics(evidence).to_pylist() if row["set"] == name and row[metric] is not None]
    return sum(row[metric] for row in rows) / len(rows)


def test_every_number_has_count_and_interval_and_is_json(make):
    results = compute(make(0).build(), make(1, 0.5).build())
    json.dumps(results, allow_nan=False)
    cells = [metrics for modalities in results["sets"].values() for metrics in modalities.values()]
    for number in [*results["summary"].values(), *(each for metrics in cells for each in metrics.values())]:
        assert number["n"] >= 2
        if number is not results["summary"]["forget_quality_clear_compat"]:
            assert number["low"] <= number["value"] <= number["high"]
    missing = {f"{name}_pct{suffix}" for name in ("forgotten", "retained") for suffix in ("", "_text", "_image")}
    missing |= {"clear_real", "clear_real_no_rouge"} - results["summary"].keys()
    assert results["missing"].keys() == missing | {"grad_norm_auc", "reference_auc"}


def test_modalities_and_tasks(make):
    evidence = make(0).build()
    sets = compute(evidence)["sets"]
    assert set(sets["forget10"]) == {"text", "image", "all"}
    assert set(sets["forget10"]["image"]) >= {"keyword_accuracy_caption", "keyword_accuracy_vqa"}
    assert "mcq_accuracy" not in sets["forget10"]["image"]
    assert "keyword_accuracy_qa" in sets["forget10"]["text"]
    assert "keyword_accuracy_mcq" not in sets["forget10"]["all"]
    assert sets["forget10"]["all"]["mcq_accuracy"]["n"] == 3
    assert sets["forget10"]["all"]["probability"]["n"] == 9
    for metric in ("probability", "keyword_accuracy", "rouge_l_recall", "mcq_accuracy", "extraction_strength"):
        assert sets["forget10"]["all"][metric]["value"] == pytest.approx(naive_means(evidence, "forget10", metric))
    assert "normalized_probability" in sets["real_faces"]["all"]
    assert "normalized_probability" not in sets["retain90"]["all"]


def test_all_of_one_modality_is_that_modality(builder):
    results = compute(builder().row("a", [-1.0]).row("b", [-2.0]).build())
    assert results["sets"]["forget10"]["all"] == results["sets"]["forget10"]["text"]


def test_summary_by_definition(make):
    evidence, retrained = make(0).build(), make(1, 0.5).build()
    results = compute(evidence, retrained)
    names = [
        ("retain90", "probability"),
        ("real_faces", "normalized_probability"),
        ("world_facts", "normalized_probability"),
    ]
    names += [(name, metric) for name, _ in names for metric in ("rouge_l_recall", "truth_ratio")]
    parts = [value(results, *each) for each in names]
    assert results["summary"]["model_utility"]["value"] == pytest.approx(len(parts) / sum(1 / each for each in parts))
    assert results["summary"]["model_utility"]["n"] == 27
    images = [
        value(results, "retain90", metric, "image") for metric in ("probability", "rouge_l_recall", "truth_ratio")
    ]
    assert results["summary"]["clear_retain"]["value"] == pytest.approx(3 / sum(1 / each for each in images))
    no_rouge = 2 / (1 / images[0] + 1 / images[2])
    assert results["summary"]["clear_retain_no_rouge"]["value"] == pytest.approx(no_rouge)


def test_rows_of_other_metrics_do_not_count(builder):
    made = builder()
    for i in range(2):
        made.row(f"a{i}", [-1.0], [-1.0], [[-2.0]], of="retain90").says(f"a{i}", "Ann", "Ann", of="retain90")
    for i in range(5):
        made.row(f"m{i}", [-1.0], None, [[-2.0]], of="retain90", task="mcq")
    assert compute(made.build())["summary"]["model_utility"]["n"] == 2


def test_a_model_is_as_its_retrained_self(make):
    summary = compute(make(0).build(), make(0).build())["summary"]
    assert summary["forget_quality"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 9}
    assert summary["forget_quality_statistic"]["value"] == summary["forget_quality_log10_p"]["value"] == 0.0
    assert summary["forget_quality_js"]["value"] == 1.0
    assert {"forget_quality_text", "forget_quality_image"} <= summary.keys()


def test_forget_quality_far_from_retrained(make):
    summary = compute(make(0).build(), make(0, shift=50.0).build())["summary"]
    assert summary["forget_quality"]["value"] == pytest.approx(2 / math.comb(18, 9))
    assert summary["forget_quality_statistic"]["value"] == 1.0


def test_membership_by_counting_pairs(make):
    evidence = make(0).build()
    rows = [row for row in row_metrics(evidence).to_pylist() if row["task"] != "mcq"]
    members, others = ([row for row in rows if row["set"] == name] for name in ("forget10", "holdout"))
    summary = compute(evidence)["summary"]
    for metric, name, sign in [("loss", "loss_auc", -1), ("min_k", "min_k_auc", 1), ("zlib_ratio", "zlib_auc", -1)]:
        wins = [(sign * a[metric] > sign * b[metric]) + 0.5 * (a[metric] == b[metric]) for a in members for b in others]
        assert summary[name]["value"] == pytest.approx(np.mean(wins))
        assert summary[name]["n"] == 18


def test_what_is_missing_is_absent_and_has_a_reason(builder):
    results = compute(
        builder().row("a", [-1.0]).row("b", [-0.5], [-1.0]).says("a", "x", "…").says("b", "", "y").build()
    )
    metrics = results["sets"]["forget10"]["all"]
    assert set(metrics) == {"probability", "exact_memorization", "extraction_strength", "rouge_l_recall"}
    assert metrics["rouge_l_recall"] == {"value": 0.0, "low": None, "high": None, "n": 1}
    assert results["summary"] == {}
    assert results["missing"]["forget_quality"] == "no evidence on a retrained model was given"
    assert results["missing"]["model_utility"] == "the evidence has no set retain"
    assert "holdout" in results["missing"]["loss_auc"]
    again = compute(builder().row("a", [-1.0]).build(), builder().row("a", [-1.0]).build())
    assert "wrong answers" in again["missing"]["forget_quality"]
    kept = builder().row("a", [-1.0], of="retain90").build()
    assert compute(kept, kept)["missing"]["forget_quality"] == "the retrained model's evidence has no forget set"
    assert "rouge_l_recall" in compute(kept)["missing"]["model_utility"]


def test_samples_of_one_question_are_averaged(builder):
    made = builder().row("a", [-1.0]).row("b", [-1.0])
    made.says("a", "Ann", "Ann", ["Ann"]).says("a", "Bo", "Ann", ["Ann"], sample=1).says("b", "Bo", "Bo", ["Bo"])
    number = compute(made.build())["sets"]["forget10"]["all"]["keyword_accuracy"]
    assert number["value"] == 0.75
    assert number["n"] == 2


def test_real_sets_without_paraphrases_take_the_answer_itself(builder):
    made = builder().row("a", [-1.0], None, [[-3.0]], of="real_authors").row("a", [-1.0], None, [[-3.0]])
    sets = compute(made.build())["sets"]
    assert sets["real_authors"]["all"]["truth_ratio"]["value"] == pytest.approx(1 - math.exp(1 - 3))
    assert "truth_ratio" not in sets["forget10"]["all"]


def test_a_real_row_keeps_its_own_paraphrase(builder):
    made = builder().row("a", [-1.0], [-2.0], [[-3.0]], of="real_authors")
    assert value(compute(made.build()), "real_authors", "truth_ratio") == pytest.approx(1 - math.exp(2 - 3))


def test_a_row_in_two_forget_sets_counts_once(builder):
    def made(shift):
        new = builder()
        for name in ("forget01", "forget10"):
            for i in range(3):
                new.row(f"s{i}", [-1.0], [-1.0 - i - shift], [[-2.0]], of=name)
        return new.build()

    assert compute(made(0), made(1))["summary"]["forget_quality"]["n"] == 3


def test_retrained_evidence_of_other_rows_is_refused(builder):
    ours = builder().row("a", [-1.0], [-1.0], [[-1.0]]).row("b", [-1.0], [-1.0], [[-1.0]]).build()
    theirs = builder().row("a", [-1.0], [-1.0], [[-1.0]]).row("c", [-1.0], [-1.0], [[-1.0]]).build()
    with pytest.raises(
        ValueError, match=r"expected the 2 of the model, found 2; 2 ids are in one of the two alone, first b, c\. Score"
    ):
        compute(ours, theirs)


def test_inconsistent_evidence_is_refused(builder):
    with pytest.raises(ValueError, match="row 'a' of set 'forget10' has no score of kind `answer`"):
        made = builder().row("a", [-1.0], [-2.0])
        made.scores = made.scores[1:]
        compute(made.build())
    with pytest.raises(ValueError, match="'a' of set 'forget10' occurs with two subjects, tasks or modalities"):
        compute(builder().row("a", [-1.0]).says("a", "x", "y", task="vqa").build())
    with pytest.raises(ValueError, match="row 'a' of set 'forget10': keyword '!' has no letter"):
        compute(builder().row("a", [-1.0]).says("a", "x", "y", ["!"]).build())


def test_benchmarks_select_what_they_report(make):
    evidence, retrained = make(0).build(), make(1, 0.5).build()
    whole, clear = compute(evidence, retrained), compute(evidence, retrained, benchmark="clear")
    assert set(clear["sets"]) == {"forget10", "retain90", "real_faces"}
    assert clear["summary"]["clear_real"] == whole["summary"]["clear_real"]
    assert "model_utility" not in clear["summary"]
    tofu = compute(evidence, retrained, benchmark="tofu")
    assert set(tofu["sets"]) == {"forget10", "retain90", "world_facts"}
    assert tofu["missing"] == {"model_utility": "the evidence has no set real_authors"}
    with pytest.raises(ValueError, match=r"no benchmark `none`. There are: tofu, openunlearning, clear, "):
        compute(evidence, benchmark="none")
    with pytest.raises(ValueError, match="none of the benchmark's sets"):
        compute(make(sets=("holdout",)).build(), benchmark="tofu")


@pytest.mark.parametrize("unit", ["subjects", "rows"])
def test_intervals_are_those_of_a_loop(make, unit):
    evidence = make(0).build()
    values = [row["probability"] for row in row_metrics(evidence).to_pylist() if row["set"] == "retain90"]
    part = np.array([np.nan if each is None else each for each in values])
    rows = row_metrics(evidence).filter(pc.equal(row_metrics(evidence)["set"], "retain90"))
    counts = np.concatenate(list(_estimates.draw(rows, unit, "retain90 all").of_rows()))
    means = [np.mean(np.repeat(part, row)[~np.isnan(np.repeat(part, row))]) for row in counts]
    number = compute(evidence, resample=unit)["sets"]["retain90"]["all"]["probability"]
    assert [number["low"], number["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())


def test_blocks_of_resamples_change_nothing(make, monkeypatch):
    evidence, retrained = make(0).build(), make(1).build()
    whole = compute(evidence, retrained)
    monkeypatch.setattr(_estimates, "_BLOCK", 500)
    blocked = compute(evidence, retrained)
    assert blocked["summary"]["loss_auc"] == whole["summary"]["loss_auc"]
    assert blocked["sets"]["forget10"]["all"]["probability"] == pytest.approx(
        whole["sets"]["forget10"]["all"]["probability"]
    )
