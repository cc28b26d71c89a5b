"""What the benchmarks report, of evidence that has it and of evidence that does not."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from unlearn_metrics import cli, compute, row_metrics
from unlearn_metrics.benchmarks import BENCHMARKS
from unlearn_metrics.evidence import Evidence


def choices(builder, right):
    """Multiple choice of which so many are right, per set and modality."""
    made = builder()
    for (name, modality), count in right.items():
        for i in range(10):
            answer, wrong = ([-0.5], [-1.0]) if i < count else ([-1.0], [-0.5])
            where = {"of": name, "task": "mcq", "modality": modality}
            made.row(f"{name}{i}/mcq/{modality}", answer, None, [wrong], **where)
    return made.build()


CELLS = [(name, modality) for name in ("forget10", "retain90") for modality in ("text", "image")]


def test_pulse_by_hand(builder):
    target = choices(builder, dict(zip(CELLS, (8, 10, 10, 8), strict=True)))
    unlearned = choices(builder, dict(zip(CELLS, (2, 5, 9, 8), strict=True)))
    results = compute(unlearned, target=target, benchmark="pulse")
    found = {name: number["value"] for name, number in results["summary"].items()}
    assert found == pytest.approx(
        {
            "forgotten_pct": 100 * (1 - 7 / 18),
            "forgotten_pct_text": 75.0,
            "forgotten_pct_image": 50.0,
            "retained_pct": 100 * 17 / 18,
            "retained_pct_text": 90.0,
            "retained_pct_image": 100.0,
        }
    )
    number = results["summary"]["forgotten_pct_text"]
    assert number["low"] < number["value"] < number["high"]
    assert number["n"] == 10
    assert set(results["missing"]) == {"mmbench"}


def test_pulse_without_a_target(builder):
    evidence = choices(builder, dict.fromkeys(CELLS, 5))
    assert compute(evidence, benchmark="pulse")["missing"]["retained_pct"] == "no evidence on the target was given"
    nothing = choices(builder, dict.fromkeys(CELLS, 0))
    reason = compute(evidence, target=nothing, benchmark="pulse")["missing"]["forgotten_pct"]
    assert reason == "the target has no mcq_accuracy to lose"
    texts = choices(builder, {("forget10", "text"): 5})
    missing = compute(texts, target=texts, benchmark="pulse")["missing"]
    assert missing["retained_pct"] == "the evidence has no set retain"
    assert (
        missing["forgotten_pct_image"]
        == "no mcq_accuracy on the image rows of forget10, of both the model and the target"
    )
    with pytest.raises(ValueError, match="the target's evidence holds other rows"):
        compute(evidence, target=texts)


def test_the_target_on_the_command_line(builder, tmp_path, capsys):
    for name, right in (("target", 8), ("npo", 2)):
        choices(builder, dict.fromkeys(CELLS, right)).write(tmp_path / name)
    command = ["compute", str(tmp_path / "npo"), "--target", str(tmp_path / "target"), "--benchmark", "pulse"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "75.000" in next(line for line in out.splitlines() if line.startswith("forgotten_pct (n=20)"))
    assert "no mmbench: it is a suite of questions of its own" in err


def test_every_benchmark_says_what_it_lacks(builder):
    evidence = builder().row("a/qa/0", [-1.0]).row("b/qa/0", [-1.0]).build()
    for name, benchmark in BENCHMARKS.items():
        results = compute(evidence, benchmark=name)
        reported = {*benchmark.aggregates, *benchmark.summary, *benchmark.elsewhere, *benchmark.metrics}
        found = {*results["summary"], *(metric for of in results["sets"]["forget10"].values() for metric in of)}
        assert found | results["missing"].keys() == reported
        assert not found & results["missing"].keys()


def test_cloze_rows(builder):
    made = builder()
    for i, said in enumerate(("She was born in OSLO.", "in Rome")):
        made.row(f"a/cloze/{i}", [-1.0], task="cloze").says(f"a/cloze/{i}", said, "Oslo", task="cloze")
    made.row("a/qa/0", [-1.0]).says("a/qa/0", "Oslo", "Oslo")
    metrics = compute(made.build())["sets"]["forget10"]["all"]
    assert metrics["cloze_accuracy"]["value"] == 0.5
    assert metrics["cloze_accuracy"]["n"] == 2


def test_leaks_among_samples(builder):
    made = builder().row("a", [-1.0]).row("b", [-1.0]).row("c", [-1.0])
    for sample, said in enumerate(("Oslo 1964", "Oslo", "no", "no")):
        made.says("a", said, "x", ["Oslo", "1964"], sample=sample)
        made.says("b", said, "x", ["Oslo"], sample=sample)
    made.says("c", "Oslo", "x", ["Oslo"])
    metrics = compute(made.build())["sets"]["forget10"]["all"]
    expected = {k: np.mean([1 - math.comb(4 - c, k) / math.comb(4, k) for c in (1, 2)]) for k in (1, 2, 4)}
    assert {k: metrics[f"leak_at_{k}"]["value"] for k in (1, 2, 4)} == pytest.approx(expected)
    assert metrics["leak_at_4"]["n"] == 2
    assert "leak_at_8" not in metrics


def test_optional_columns_give_their_attacks(builder):
    made = builder()
    for i in range(6):
        made.row(f"f{i}", [-0.1 * (i + 1), -0.3]).row(f"h{i}", [-0.2 * (i + 1), -0.5], of="holdout")
    scores, generations = made.tables()
    norms = np.arange(12, dtype=np.float32)
    reference = [[x - 0.25 for x in row] for row in scores["logp"].to_pylist()]
    scores = scores.append_column("grad_norm", pa.array(norms)).append_column("ref_logp", pa.array(reference))
    evidence = Evidence(scores, generations, {})
    rows = row_metrics(evidence).to_pylist()
    assert [row["reference"] for row in rows] == pytest.approx([-0.25] * 12, abs=1e-6)
    summary = compute(evidence)["summary"]
    members, others = ([row["grad_norm"] for row in rows if row["set"] == name] for name in ("forget10", "holdout"))
    wins = [(a < b) + (a == b) / 2 for a in members for b in others]
    assert summary["grad_norm_auc"]["value"] == pytest.approx(np.mean(wins))
    assert {"reference_auc", "loss_auc"} <= summary.keys()


def test_privacy_leakage_by_definition(builder):
    def made(shift):
        new = builder()
        for i in range(8):
            new.row(f"f{i}", [-0.3 * i - shift]).row(f"h{i}", [-0.25 * i - 0.1], of="holdout")
        return new.build()

    ours, retrained = made(0.0), made(0.7)
    results = compute(ours, retrained, benchmark="muse")
    area, reference = (compute(each)["summary"]["min_k_auc"]["value"] for each in (ours, retrained))
    summary = results["summary"]
    assert summary["privleak"]["value"] == pytest.approx(100 * (area - reference) / reference)
    assert summary["privleak_ou"]["value"] == pytest.approx(100 * (reference - area) / (1 - reference))
    assert summary["privleak"]["low"] < summary["privleak"]["value"] < summary["privleak"]["high"]


def test_a_retrained_area_at_its_limit_divides_nothing(builder):
    def made(logp):
        new = builder()
        for i in range(4):
            new.row(f"f{i}", [logp - 0.1 * i]).row(f"h{i}", [-3.0 - 0.1 * i], of="holdout")
        return new.build()

    for logp, absent, present in ((-0.1, "privleak_ou", "privleak"), (-9.0, "privleak", "privleak_ou")):
        results = compute(made(-3.05), made(logp))
        assert "leaves nothing to divide by" in results["missing"][absent]
        assert present in results["summary"]
        assert absent not in results["summary"]


def test_clear_compat_without_a_ratio_says_why(builder):
    def made(loss):
        return builder().row("a", [-1.0], [-loss], [[-1.0]]).row("b", [-1.0], [-loss], [[-1.0]]).build()

    results = compute(made(1.0), made(2000.0))
    assert "0 or infinite" in results["missing"]["forget_quality_clear_compat"]
    assert "forget_quality_clear_compat" not in results["summary"]


def test_clear_as_published(builder):
    def made(seed):
        rng, new = np.random.default_rng(seed), builder()
        for i in range(5):
            losses = -rng.uniform(0.5, 3, 4)
            new.row(f"s{i}", losses[:1], losses[1:2], [losses[2:3], losses[3:]], task="caption", modality="image")
        return new.build()

    ours, retrained = made(0), made(1)
    results = compute(ours, retrained, benchmark="clear_published")
    vectors = []
    for each in (ours, retrained):
        loss = np.array([row["paraphrase_loss"] for row in row_metrics(each).to_pylist()])
        vectors.append(np.exp(-loss) / np.exp(-loss).sum())
    number = results["summary"]["forget_quality_clear_compat"]
    assert number["value"] == pytest.approx(1 - jensenshannon(*vectors))
    assert number["low"] is None
    no_rouge = results["sets"]["forget10"]["image"]
    assert set(no_rouge) == {"probability", "truth_ratio"}
    p, r = (no_rouge[metric]["value"] for metric in ("probability", "truth_ratio"))
    assert results["summary"]["clear_forget_no_rouge"]["value"] == pytest.approx(2 / (1 / p + 1 / r))
