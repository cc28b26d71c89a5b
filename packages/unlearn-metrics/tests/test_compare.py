import pytest
from unlearn_metrics import compare, compute, paired, render_table
from unlearn_metrics._compare import differences_table
from unlearn_metrics._paired import adjusted


def results(**values):
    """Results with one number per `set__metric`, or per name for the summary."""
    made = {"sets": {}, "summary": {}, "missing": {}}
    for name, value in values.items():
        of, _, metric = name.rpartition("__")
        number = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 10}
        place = made["sets"].setdefault(of, {}).setdefault("all", {}) if of else made["summary"]
        place[metric] = number
    return made


def best(tables, **options):
    """For each line, the models that are marked."""
    lines = compare(tables, "markdown", **options).splitlines()
    marked = {}
    for line in lines[2:]:
        title, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        marked[title.split(" (")[0]] = [name for name, cell in zip(tables, cells, strict=True) if cell.startswith("**")]
    return marked


def test_best_by_direction():
    a = results(
        retain90__probability=0.9, forget10__probability=0.9, forget10__truth_ratio=0.9, holdout__probability=0.9
    )
    b = results(
        retain90__probability=0.5, forget10__probability=0.5, forget10__truth_ratio=0.5, holdout__probability=0.5
    )
    marked = best({"a": a, "b": b})
    assert marked["retain90 all probability"] == ["a"]
    assert marked["forget10 all probability"] == ["b"]
    assert marked["forget10 all truth_ratio"] == ["a"]
    assert marked["holdout all probability"] == []


def test_best_on_a_forget_set_is_nearest_to_retrained():
    tables = {name: results(forget10__probability=p) for name, p in [("a", 0.0), ("b", 0.25), ("retrained", 0.3)]}
    assert best(tables) == {"forget10 all probability": ["b"]}


def test_best_of_numbers_about_the_forget_set_is_nearest_to_retrained():
    tables = {
        name: results(loss_auc=area, clear_forget=mean, model_utility=mean)
        for name, area, mean in [("a", 0.5, 0.1), ("b", 0.4, 0.3), ("retrained", 0.35, 0.25)]
    }
    assert best(tables) == {"loss_auc": ["b"], "clear_forget": ["b"], "model_utility": ["b"]}


def test_best_of_summary_numbers():
    a = results(model_utility=0.5, loss_auc=0.4, forget_quality=0.1, forget_quality_statistic=0.1, clear_forget=0.1)
    b = results(model_utility=0.4, loss_auc=0.9, forget_quality=0.9, forget_quality_statistic=0.2, clear_forget=0.2)
    marked = best({"a": a, "b": b})
    assert marked["model_utility"] == marked["loss_auc"] == marked["forget_quality_statistic"] == ["a"]
    assert marked["clear_forget"] == ["a"]
    assert marked["forget_quality"] == ["b"]


def test_equal_models_and_absent_numbers():
    same = results(retain90__probability=0.9)
    assert best({"a": same, "b": same}) == {"retain90 all probability": []}
    table = compare({"a": same, "b": results(model_utility=0.00001)})
    assert "–" in table
    assert "1.000e-05" in table


def test_terminal_lines_are_aligned():
    lines = compare({"a": results(retain90__p=0.9), "longer name": results(retain90__p=0.8)}).splitlines()
    assert lines[0].split() == ["metric", "a", "longer", "name"]
    assert lines[1].startswith("retain90 all p (n=10)   0.900 [0.800, 1.000]*  0.800 [0.700, 0.900]")


def test_latex_is_escaped():
    table = compare({"a_b": results(retain90__p_q=0.9), "50%": results(retain90__p_q=0.8)}, "latex")
    assert r"metric & a\_b & 50\% \\" in table
    assert r"\textbf{0.900 [0.800, 1.000]}" in table


def test_bad_input():
    with pytest.raises(ValueError, match="nothing to compare"):
        compare({})
    with pytest.raises(ValueError, match="`format` must be one of terminal, markdown, latex, got 'html'"):
        compare({"a": results(x=1.0)}, "html")
    with pytest.raises(ValueError, match="hold no states"):
        render_table({"states": {}})


def test_paired_differences(builder):
    ours, theirs = builder(), builder()
    for i in range(20):
        ours.row(f"s{i}", [-0.1 - 0.01 * i]).says(f"s{i}", "Ann", "Ann", ["Ann"])
        theirs.row(f"s{i}", [-1.0 - 0.02 * i]).says(f"s{i}", "Ann", "Ann", ["Ann"])
    found = paired(ours.build(), theirs.build())["forget10"]
    first, second = (
        compute(each.build())["sets"]["forget10"]["all"]["probability"]["value"] for each in (ours, theirs)
    )
    assert found["probability"].difference == pytest.approx(first - second)
    assert found["probability"].p < 0.01
    assert found["keyword_accuracy"] == (0.0, 0.0, 0.0, 1.0, 20)
    assert "truth_ratio" not in found
    table = differences_table({"forget10": found}, adjusted({"npo": {"forget10": found}})["npo"])
    assert [line.split()[-1] for line in table.splitlines() if "probability" in line] == ["yes"]


def test_paired_refuses_other_rows(builder):
    with pytest.raises(ValueError, match="2 ids are in one of the two alone, first forget10/a, forget10/b"):
        paired(builder().row("a", [-1.0]).build(), builder().row("b", [-1.0]).build())


def test_the_table_of_a_run():
    forget = {"text": {"keyword_accuracy": 0.9}, "all": {"probability": 0.8, "rouge_l_recall": 0.7, "truth_ratio": 0.6}}
    retain = {"text": {"keyword_accuracy": 0.95}, "image": {"keyword_accuracy": 0.5}, "all": {"rouge_l_recall": 0.75}}
    sets = {"forget10": forget, "retain90": retain, "real_faces": {"all": {"rouge_l_recall": 0.25}}}
    numbers = {
        name: {
            m: {k: {"value": v, "low": None, "high": None, "n": 3} for k, v in metrics.items()}
            for m, metrics in of.items()
        }
        for name, of in sets.items()
    }
    states = {"target": numbers, "retain_finetune": {"forget10": {}}}
    summary = {"target": {"forget_quality_log10_p": {"value": -21.4083, "low": None, "high": None, "n": 3}}}
    lines = render_table({"states": states, "summary": summary}).splitlines()
    assert lines[0].replace("-", "").split() == ["forget10", "retain90", "real", "sets", "overall"]
    assert lines[2].split() == [
        "target",
        "0.900",
        "0.800",
        "0.700",
        "0.600",
        "0.950",
        "0.500",
        "0.750",
        "0.250",
        "-21.4",
    ]
    assert lines[3].split() == ["retain_finetune", *["–"] * 9]
    assert len({len(line) for line in lines[1:]}) == 1
