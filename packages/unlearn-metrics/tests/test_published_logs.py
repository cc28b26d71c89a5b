"""Numbers of published evaluation logs, computed again from the losses and texts that they hold."""

import json

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp
from unlearn_metrics import cli, compute, read_log
from unlearn_metrics.functional import (
    ATTACKS,
    auc,
    forget_quality,
    forget_truth_ratio,
    model_utility,
    normalized_probability,
    privleak,
    probability,
    retain_truth_ratio,
    rouge_l_recalls,
    truth_ratio,
)

TOFU_SETS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}
TOFU_MODELS = ("full", "retain90", "retain95", "retain99")


@pytest.fixture
def tofu(published_logs):
    def log(model):
        return json.loads((published_logs / "tofu-logs" / f"phi_{model}.json").read_text())

    return log


@pytest.fixture
def open_unlearning(published_logs):
    def log(model):
        folder = published_logs / "openunlearning-logs" / f"tofu_Llama-3.2-1B-Instruct_{model}"
        return json.loads((folder / "TOFU_EVAL.json").read_text())

    return log


@pytest.mark.parametrize("model", TOFU_MODELS)
def test_rouge_of_tofu_bit_for_bit(tofu, model):
    for name in TOFU_SETS.values():
        part = tofu(model)[name]
        texts = part["generated_text"].values()
        recalls = rouge_l_recalls([text[1] for text in texts], [text[2] for text in texts])
        assert recalls.tolist() == list(part["rougeL_recall"].values())


def ours(part, name):
    nll = np.array(list(part["avg_gt_loss"].values()))
    wrong = np.array(list(part["average_perturb_loss"].values()))
    ratios = truth_ratio(list(part["avg_paraphrased_loss"].values()), wrong)
    p = probability(nll) if name == "retain" else normalized_probability(nll, wrong)
    return [p.mean(), np.mean(list(part["rougeL_recall"].values())), retain_truth_ratio(ratios)]


def naive(part, name):
    values = []
    for key, nll in part["avg_gt_loss"].items():
        right, wrong = np.exp(-nll), np.exp(-np.array(part["average_perturb_loss"][key]))
        ratio = np.exp(np.log(wrong).mean()) / np.exp(-part["avg_paraphrased_loss"][key])
        p = right if name == "retain" else right / (right + wrong.sum())
        values.append([p, part["rougeL_recall"][key], max(0.0, 1 - ratio)])
    return np.mean(values, axis=0)


@pytest.mark.parametrize("model", TOFU_MODELS)
def test_model_utility_of_tofu(tofu, model):
    log = tofu(model)
    sets = [name for name in TOFU_SETS if name != "forget"]
    expected = hmean(np.concatenate([naive(log[TOFU_SETS[name]], name) for name in sets]))
    found = model_utility(np.concatenate([ours(log[TOFU_SETS[name]], name) for name in sets]))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("retrained", TOFU_MODELS[1:])
def test_forget_quality_of_tofu(tofu, retrained):
    parts = [tofu(name)["eval_log_forget.json"] for name in ("full", retrained)]
    count = min(len(part["avg_gt_loss"]) for part in parts)
    ratios = []
    for part in parts:
        right, wrong = (list(part[key].values())[:count] for key in ("avg_paraphrased_loss", "average_perturb_loss"))
        ratios.append(truth_ratio(right, wrong))
    found, expected = forget_quality(*ratios), ks_2samp(*ratios)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)


def test_forget_quality_of_open_unlearning(open_unlearning):
    logs = [open_unlearning(model) for model in ("full", "retain90")]
    ratios = [[each["score"] for each in log["forget_truth_ratio"]["value_by_index"].values()] for log in logs]
    found = forget_quality(*ratios)
    assert f"{found.p:.3e}" == "3.905e-22"
    assert found.p == pytest.approx(logs[0]["forget_quality"]["agg_value"], rel=1e-12)


def losses(log, name):
    return np.array([each["avg_loss"] for each in log[name]["value_by_index"].values()])


@pytest.mark.parametrize("model", ["full", "retain90"])
def test_aggregates_of_open_unlearning(open_unlearning, model):
    log = open_unlearning(model)
    for name in ("forget", "retain", "ra", "wf"):
        part = log[f"{name}_Q_A_ROUGE"]
        each = list(part["value_by_index"].values())
        recalls = rouge_l_recalls([row["generation"] for row in each], [row["ground_truth"] for row in each])
        assert recalls.tolist() == [row["rougeL_recall"] for row in each]
        assert recalls.mean() == pytest.approx(part["agg_value"], rel=1e-12)
        # The log's probabilities went through bfloat16 or float32; ours come from the losses beside them.
        p = probability(losses(log, f"{name}_Q_A_Prob")).mean()
        assert p == pytest.approx(log[f"{name}_Q_A_Prob"]["agg_value"], rel=1e-6)
    right, wrong = losses(log, "forget_Q_A_PARA_Prob"), losses(log, "forget_Q_A_PERT_Prob")
    ratios = truth_ratio(right, wrong)
    logged = [each["score"] for each in log["forget_truth_ratio"]["value_by_index"].values()]
    assert ratios.tolist() == pytest.approx(logged, rel=1e-6)
    assert forget_truth_ratio(logged) == pytest.approx(log["forget_truth_ratio"]["agg_value"], rel=1e-9)
    logged = [each["score"] for each in log["retain_Truth_Ratio"]["value_by_index"].values()]
    assert retain_truth_ratio(logged) == pytest.approx(log["retain_Truth_Ratio"]["agg_value"], rel=1e-9)
    parts = ["retain_Q_A_Prob", "ra_Q_A_Prob_normalised", "wf_Q_A_Prob_normalised"]
    parts += [f"{name}_{metric}" for name in ("retain", "ra", "wf") for metric in ("Q_A_ROUGE", "Truth_Ratio")]
    assert model_utility([log[part]["agg_value"] for part in parts]) == pytest.approx(
        log["model_utility"]["agg_value"], rel=1e-12
    )


@pytest.fixture
def logs(published_logs):
    def read(model):
        return read_log(published_logs / "openunlearning-logs" / f"tofu_Llama-3.2-1B-Instruct_{model}")

    return read


@pytest.mark.parametrize("model", TOFU_MODELS)
def test_a_tofu_log_gives_its_model_utility(tofu, published_logs, model):
    sets = [name for name in TOFU_SETS if name != "forget"]
    expected = hmean(np.concatenate([naive(tofu(model)[TOFU_SETS[name]], name) for name in sets]))
    found = compute(read_log(published_logs / "tofu-logs" / f"phi_{model}.json"), benchmark="tofu")
    assert found["summary"]["model_utility"]["value"] == pytest.approx(expected, rel=1e-12)


def test_a_tofu_log_gives_its_forget_quality(tofu, published_logs):
    models = ("full", "retain90")
    ratios = []
    for part in (tofu(model)["eval_log_forget.json"] for model in models):
        wrong = np.array(list(part["average_perturb_loss"].values())).mean(axis=1)
        ratios.append(np.exp(-wrong) / np.exp(-np.array(list(part["avg_paraphrased_loss"].values()))))
    expected = ks_2samp(*ratios)
    found = compute(*(read_log(published_logs / "tofu-logs" / f"phi_{model}.json") for model in models))["summary"]
    assert found["forget_quality"]["value"] == pytest.approx(expected.pvalue, rel=1e-12)
    assert found["forget_quality_statistic"]["value"] == pytest.approx(expected.statistic, rel=1e-12)
    assert found["forget_quality"]["n"] == 300


def test_a_retrained_tofu_log_of_another_forget_set(published_logs):
    full, other = (read_log(published_logs / "tofu-logs" / f"phi_{model}.json") for model in ("full", "retain95"))
    with pytest.raises(ValueError, match="expected the 300 of the model, found 200"):
        compute(full, other)


LOGGED = {
    ("forget", "probability"): "forget_Q_A_Prob",
    ("forget", "truth_ratio"): "forget_truth_ratio",
    ("forget", "exact_memorization"): "exact_memorization",
    ("forget", "extraction_strength_ou"): "extraction_strength",
    ("real_authors", "normalized_probability"): "ra_Q_A_Prob_normalised",
    ("world_facts", "normalized_probability"): "wf_Q_A_Prob_normalised",
    **{
        (name, metric): f"{logged}_{of}"
        for name, logged in {"retain": "retain", "real_authors": "ra", "world_facts": "wf"}.items()
        for metric, of in {
            "probability": "Q_A_Prob",
            "rouge_l_recall": "Q_A_ROUGE",
            "truth_ratio": "Truth_Ratio",
        }.items()
    },
    ("forget", "rouge_l_recall"): "forget_Q_A_ROUGE",
}


@pytest.mark.parametrize("model", ["full", "retain90"])
def test_an_openunlearning_log_gives_its_aggregates(open_unlearning, logs, model):
    logged, found = open_unlearning(model), compute(logs(model), logs("retain90"), benchmark="openunlearning")
    for (name, metric), of in LOGGED.items():
        assert found["sets"][name]["all"][metric]["value"] == pytest.approx(logged[of]["agg_value"], rel=1e-9), of
    attacks = {"gradnorm": "grad_norm", "loss": "loss", "min_k": "min_k", "min_k_plus_plus": "min_k_pp"}
    for of, attack in (attacks | {"reference": "reference", "zlib": "zlib"}).items():
        if f"mia_{of}" in logged:
            area = logged[f"mia_{of}"]["agg_value"]
            assert found["summary"][f"{attack}_auc"]["value"] == pytest.approx(area, rel=1e-9), of
        else:
            assert "not in this log" in found["missing"][f"{attack}_auc"]
    assert found["summary"]["model_utility"]["value"] == pytest.approx(logged["model_utility"]["agg_value"], rel=1e-9)


def test_forget_quality_and_privleak_of_two_openunlearning_logs(open_unlearning, logs, published_logs, capsys):
    logged, found = open_unlearning("full"), compute(logs("full"), logs("retain90"))["summary"]
    assert found["forget_quality"]["value"] == pytest.approx(logged["forget_quality"]["agg_value"], rel=1e-9)
    assert found["privleak_ou"]["value"] == pytest.approx(logged["privleak"]["agg_value"], rel=1e-9)
    folders = [
        str(published_logs / "openunlearning-logs" / f"tofu_Llama-3.2-1B-Instruct_{m}") for m in ("full", "retain90")
    ]
    assert cli.main(["compute", folders[0], "--retrained", folders[1], "--benchmark", "tofu"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("forget_quality (n=400)"))
    assert "3.905e-22" in line


MIA = {"mia_gradnorm": "grad_norm", "mia_loss": "loss", "mia_reference": "reference", "mia_zlib": "zlib"}


@pytest.mark.parametrize("model", ["full", "retain90"])
def test_membership_of_open_unlearning(open_unlearning, model):
    """Its scores are all low for members: it negates min-k."""
    log = open_unlearning(model)
    for name, part in log.items():
        if name.startswith("mia_"):
            scores = [[each["score"] for each in part[of]["value_by_index"].values()] for of in ("forget", "holdout")]
            found = auc(*scores, members=ATTACKS[MIA[name]] if name in MIA else "low")
            assert found == pytest.approx(part["agg_value"], rel=1e-12)


def test_privleak_of_open_unlearning(open_unlearning):
    full, retained = open_unlearning("full"), open_unlearning("retain90")
    areas = [log["mia_min_k"]["agg_value"] for log in (full, retained)]
    # The retained model's own log had no reference and took 0.5.
    for found, log in ((privleak(*areas, ou_compat=True), full), (privleak(areas[1], 0.5, ou_compat=True), retained)):
        assert found == pytest.approx(log["privleak"]["agg_value"], rel=1e-12)
