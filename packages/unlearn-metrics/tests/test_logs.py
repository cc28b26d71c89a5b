"""Readers of other toolkits' logs, on small logs made here."""

import copy
import json
import math

import numpy as np
import pytest
from unlearn_metrics import Log, cli, compute, paired, read, read_log, row_metrics


def tofu_set(rows, *, wrong=2, seed=0):
    rng = np.random.default_rng(seed)
    keys = [str(i) for i in range(rows)]
    words = ["ann", "wrote", "novels", "in", "oslo"]
    return {
        "avg_gt_loss": {key: float(rng.uniform(0.1, 3)) for key in keys},
        "avg_paraphrased_loss": {key: float(rng.uniform(0.5, 3)) for key in keys},
        "average_perturb_loss": {key: rng.uniform(1, 4, wrong + int(key) % 2).tolist() for key in keys},
        "rougeL_recall": {key: float(rng.integers(5) / 4) for key in keys},
        "generated_text": {key: [f"Q{key}", "said", f"{words[int(key) % 5]} {key}"] for key in keys},
        "truth_ratio": dict.fromkeys(keys, 0.5),
    }


def tofu_log(rows=6, seed=0):
    return {
        "eval_log.json": tofu_set(rows, seed=seed + 1),
        "eval_real_author_wo_options.json": tofu_set(rows - 1, seed=seed + 2),
        "eval_real_world_wo_options.json": tofu_set(rows + 2, seed=seed + 3),
        "eval_log_forget.json": tofu_set(rows, seed=seed + 4),
    }


def rows_of(values, key):
    return {"agg_value": float(np.mean(values)), "value_by_index": {str(i): {key: v} for i, v in enumerate(values)}}


def open_unlearning_log(n=5, seed=0):
    rng = np.random.default_rng(seed)
    log = {}
    for name in ("forget", "retain", "ra", "wf"):
        loss = rng.uniform(0.1, 3, n)
        log[f"{name}_Q_A_Prob"] = {
            "agg_value": float(np.exp(-loss).mean()),
            "value_by_index": {str(i): {"prob": math.exp(-x), "avg_loss": x} for i, x in enumerate(loss.tolist())},
        }
        texts = [{"rougeL_recall": 0.5, "ground_truth": f"{name} {i}", "generation": "x"} for i in range(n)]
        log[f"{name}_Q_A_ROUGE"] = {"agg_value": 0.5, "value_by_index": {str(i): each for i, each in enumerate(texts)}}
        ratio = "forget_truth_ratio" if name == "forget" else f"{name}_Truth_Ratio"
        log[ratio] = rows_of(rng.uniform(0.1, 2, n).tolist(), "score")
        if name in ("ra", "wf"):
            log[f"{name}_Q_A_Prob_normalised"] = rows_of(rng.uniform(0, 1, n).tolist(), "prob")
    log["extraction_strength"] = rows_of(rng.uniform(0.1, 1, n).tolist(), "score")
    for name in ("mia_loss", "mia_min_k"):
        log[name] = {part: rows_of(rng.uniform(0, 3, n).tolist(), "score") for part in ("forget", "holdout")}
        log[name]["agg_value"] = 0.5
    log["forget_quality"] = {"agg_value": None}
    return log


@pytest.fixture
def write(tmp_path):
    def written(content, name="log.json", folder="a"):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written


def column(log, name, metric):
    return [row[metric] for row in log.rows.to_pylist() if row["set"] == name]


def test_a_tofu_log_by_hand(write):
    content = tofu_log()
    log = read_log(write(content))
    part = content["eval_log_forget.json"]
    losses = list(part["avg_gt_loss"].values())
    assert column(log, "forget", "loss") == losses
    assert column(log, "forget", "probability") == pytest.approx([math.exp(-loss) for loss in losses], rel=1e-15)
    ratios = [
        math.exp(part["avg_paraphrased_loss"][key] - sum(wrong) / len(wrong))
        for key, wrong in part["average_perturb_loss"].items()
    ]
    assert column(log, "forget", "truth_ratio") == pytest.approx(ratios, rel=1e-14)
    assert column(log, "world_facts", "rouge_l_recall") == list(
        content["eval_real_world_wo_options.json"]["rougeL_recall"].values()
    )
    assert set(column(log, "retain", "exact_memorization")) == {None}
    assert log.rows["subject"].null_count == log.rows.num_rows
    results = compute(log)
    assert results["sets"]["real_authors"]["all"]["normalized_probability"]["n"] == 5
    assert results["missing"]["exact_memorization"] == results["missing"]["mcq_accuracy"] == "not in this log"
    assert results["missing"]["loss_auc"].startswith(
        "not in this log (the evidence has not both a forget and a holdout"
    )
    assert "exact_memorization" not in results["sets"]["forget"]["all"]
    json.dumps(results, allow_nan=False)


def test_an_openunlearning_log_by_hand(write):
    content = open_unlearning_log()
    log = read_log(write(content))
    for logged, name in (("forget", "forget"), ("ra", "real_authors")):
        rows = content[f"{logged}_Q_A_Prob"]["value_by_index"].values()
        assert column(log, name, "probability") == [row["prob"] for row in rows]
    scores = [row["score"] for row in content["mia_min_k"]["holdout"]["value_by_index"].values()]
    assert column(log, "holdout", "min_k") == [-score for score in scores]
    members = [row["score"] for row in content["mia_loss"]["forget"]["value_by_index"].values()]
    assert column(log, "forget", "loss") == members
    others = [row["score"] for row in content["mia_loss"]["holdout"]["value_by_index"].values()]
    results = compute(log, log, target=log, benchmark="openunlearning")
    wins = [(a < b) + 0.5 * (a == b) for a in members for b in others]
    assert results["summary"]["loss_auc"]["value"] == pytest.approx(np.mean(wins))
    assert results["summary"]["privleak_ou"]["value"] == 0
    assert results["summary"]["forget_quality"]["value"] == 1
    strengths = [row["score"] for row in content["extraction_strength"]["value_by_index"].values()]
    assert results["sets"]["forget"]["all"]["extraction_strength_ou"]["value"] == pytest.approx(np.mean(strengths))
    assert results["missing"]["exact_memorization"] == "not in this log"
    assert results["missing"]["grad_norm_auc"].startswith("not in this log (no grad_norm")


def test_nulls_of_openunlearning_are_left_out(write):
    content = open_unlearning_log()
    content["forget_truth_ratio"]["value_by_index"]["2"]["score"] = None
    results = compute(read_log(write(content)))
    assert results["sets"]["forget"]["all"]["truth_ratio"]["n"] == 4


def test_a_reference_without_words_has_no_recall(write):
    content = tofu_log()
    content["eval_log.json"]["generated_text"]["1"][2] = "…"
    content["eval_log.json"]["rougeL_recall"]["1"] = 0.0
    assert column(read_log(write(content)), "retain", "rouge_l_recall")[1] is None


def test_part_of_a_log_is_read(write):
    content = tofu_log()
    del content["eval_log_forget.json"], content["eval_log.json"]["average_perturb_loss"]
    results = compute(read_log(write(content)))
    assert "truth_ratio" not in results["sets"]["retain"]["all"]
    assert results["missing"]["model_utility"] == "not in this log (no truth_ratio on the all rows of retain)"


def test_the_order_of_a_log_changes_nothing(write):
    content = tofu_log()
    shuffled = {
        name: {key: dict(reversed(values.items())) for key, values in part.items()}
        for name, part in reversed(content.items())
    }
    assert compute(read_log(write(shuffled, "b.json"))) == compute(read_log(write(content)))


def test_read_finds_out_what_it_is(write, builder, tmp_path):
    log = write(open_unlearning_log(), "TOFU_EVAL.json")
    write({"forget_quality": 0.5}, "TOFU_SUMMARY.json")
    assert read(log).rows == read(log.parent).rows
    assert isinstance(read(log), Log)
    builder().row("a", [-1.0]).build().write(tmp_path / "evidence")
    assert row_metrics(read(tmp_path / "evidence")).num_rows == 1
    write(tofu_log(), "eval_log_aggregated.json")
    with pytest.raises(ValueError, match="a holds 2 logs: TOFU_EVAL.json, eval_log_aggregated.json. Name one of them"):
        read(log.parent)


def changed(content, *keys, value):
    content = copy.deepcopy(content)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return content


TOFU, OU = tofu_log(), open_unlearning_log()
GT, WRONG = ("eval_log.json", "avg_gt_loss"), ("eval_log.json", "average_perturb_loss")
PROB = ("forget_Q_A_Prob", "value_by_index")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(TOFU)[:-100], "expected a whole JSON file, found one that is cut short"),
        ("", "found one that is cut short or none"),
        ([1, 2], "expected a TOFU log.*found a JSON list"),
        ({}, "expected a TOFU log.*or an OpenUnlearning log.*found an empty object"),
        ({"forget_knowmem_ROUGE": {"agg_value": 1}}, "found `forget_knowmem_ROUGE`"),
        (changed(TOFU, *GT, value={}), "`avg_gt_loss` holds no rows"),
        (changed(TOFU, *GT, "3", value=float("nan")), "expected finite numbers, found NaN"),
        (changed(TOFU, *GT, "3", value=-0.5), "avg_gt_loss, row 3: expected a finite number of at least 0, found -0.5"),
        (json.dumps(changed(TOFU, *GT, "3", value=12345)).replace("12345", "1e999"), "row 3: .* found inf"),
        (changed(TOFU, *GT, "3", value=None), "row 3: expected a finite number of at least 0, found None"),
        (changed(TOFU, *GT, "3", value="1"), "found '1'"),
        (changed(TOFU, *GT, "9", value=1.0), "to have the 7 rows of `avg_gt_loss`, found 6"),
        (changed(TOFU, "eval_log.json", value={"rows": {}}), "expected the columns avg_gt_loss, .*, found rows"),
        (changed(TOFU, *WRONG, "0", value=[]), "expected a list of losses"),
        (
            changed(TOFU, *WRONG, "0", value=[-1.0]),
            "average_perturb_loss, row 0, answer 0: expected a finite number of at least 0",
        ),
        (changed(TOFU, "eval_log.json", "rougeL_recall", "0", value=1.5), "a number from 0 to 1, found 1.5"),
        (changed(TOFU, "eval_log.json", "generated_text", "0", value="x"), r"expected \[question, generated, answer\]"),
        (changed(OU, *PROB, value={}), "holds no rows"),
        (changed(OU, *PROB, value=None), "expected `value_by_index` in `forget_Q_A_Prob`, found agg_value"),
        (changed(OU, *PROB, "1", value={"prob": 0.5}), "expected `avg_loss` in `forget_Q_A_Prob`, row 1, found prob"),
        (changed(OU, *PROB, "1", "prob", value=1.5), "`prob`, row 1: expected a number from 0 to 1, found 1.5"),
        (changed(OU, *PROB, "7", value={"prob": 0.5, "avg_loss": 1.0}), "the 6 rows of `forget_Q_A_Prob`, found 5"),
    ],
)
def test_damaged_logs_and_other_formats(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_log(write(content))


def test_paths_without_a_log(tmp_path, write):
    with pytest.raises(ValueError, match="none is not there"):
        read_log(tmp_path / "none")
    with pytest.raises(ValueError, match="expected evidence .* or an evaluation log, found no JSON file"):
        read(tmp_path)
    write({"a": 1}, "one.json")
    with pytest.raises(ValueError, match="one.json: expected a TOFU log"):
        read(tmp_path / "a")
    write({"a": 1}, "two.json")
    with pytest.raises(ValueError, match="found one.json, two.json"):
        read(tmp_path / "a")


def test_a_retrained_log_of_other_rows(write):
    ours = read_log(write(tofu_log(6)))
    with pytest.raises(ValueError, match="expected the 6 of the model, found 4; 2 ids are in one of the two alone"):
        compute(ours, read_log(write(tofu_log(4), "b.json")))
    other = tofu_log(6, seed=9)
    other["eval_log_forget.json"]["generated_text"]["2"][2] = "another answer"
    with pytest.raises(ValueError, match="expected row 2 to ask for 'novels 2', found 'another answer'"):
        compute(ours, read_log(write(other, "c.json")))
    with pytest.raises(ValueError, match="the target's evidence holds other rows"):
        compute(ours, target=read_log(write(tofu_log(5), "d.json")))


def test_paired_takes_logs(write):
    ours, theirs = (read_log(write(tofu_log(30, seed=seed), f"{seed}.json")) for seed in (0, 50))
    found = paired(ours, theirs)["retain"]["probability"]
    means = [compute(each)["sets"]["retain"]["all"]["probability"]["value"] for each in (ours, theirs)]
    assert found.difference == pytest.approx(means[0] - means[1])
    assert found.low < found.difference < found.high


def test_the_command_takes_logs(write, capsys):
    full, retrained = write(tofu_log(), "eval_log_aggregated.json", "full"), write(tofu_log(seed=9), "retrained.json")
    assert cli.main(["compute", str(full.parent), "--retrained", str(retrained), "--benchmark", "tofu"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["metric", "full"]
    assert cli.main(["compare", str(full), str(retrained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"]["retrained"]["retain"]["probability"]["adjusted_p"] <= 1
    assert cli.main(["compute", str(full), "--markdown"]) == 0
    assert "cloze_accuracy: not in this log." in capsys.readouterr().err
    full.write_text(full.read_text()[:500])
    assert cli.main(["compute", str(full.parent)]) == 2
    assert "cut short" in capsys.readouterr().err
