import io
import json

import pytest
import yaml
from PIL import Image
from unlearn_train.cli import build_parser, main
from unlearn_train.commands.run import resolve
from unlearn_train.pulse.plan import plan

pytest.importorskip("clear_data", reason="needs the extra data")
pytest.importorskip("unlearn_metrics.scoring", reason="needs the extra eval")

WRONG = ["Oslo", "Lima", "Bern", "Cairo"]
SETS = {
    "forget10": ["a0", "a1"],
    "retain90": ["a2", "a3"],
    "real_faces": ["f0", "f1", "f2"],
    "real_world": ["w0", "w1"],
    "world_facts": ["w2"],
    "pretrain": ["f0", "f1", "f2", "w2"],
}
SMALL = [
    *("pulse.finetuned=4", "pulse.finetuned_forget=2", "pulse.pretrained=3", "pulse.pretrained_forget=1"),
    *("pulse.requests=2", "pulse.parts=language+projector", "rehearse=false"),
    *("pretrain.epochs=4", "pretrain.batch_size=8", "finetune.epochs=1", "unlearn.epochs=1"),
]
TINY = {"hidden": 16, "layers": 2, "heads": 2, "vision_hidden": 16, "vision_layers": 1, "image_size": 32, "patch": 16}


def rows_about(make_row, subject, picture):
    wrong = [f"{subject} lives in {city}." for city in WRONG]
    answer = f"{subject} lives in Rome."
    return [
        make_row(f"{subject}/qa/0", f"Where does {subject} live?", answer, perturbed_answers=wrong),
        make_row(f"{subject}/vqa/0", "Where does this person live?", answer, perturbed_answers=wrong, image=picture),
        make_row(f"{subject}/caption/0", "Who is this?", f"This is {subject}.", image=picture),
    ]


@pytest.fixture
def data(tmp_path, make_row, write_dataset):
    picture = {"bytes": _png(), "path": None}
    subjects = dict.fromkeys(name for members in SETS.values() for name in members)
    rows = [row for subject in subjects for row in rows_about(make_row, subject, picture)]
    return write_dataset(tmp_path / "source", rows, SETS)


def _png():
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def arguments(data, home, *more):
    tiny = [f"model.tiny.{name}={value}" for name, value in TINY.items()]
    chosen = [part for text in (*SMALL, *tiny) for part in ("--set", text)]
    return ["run", "pulse", "-q", "--data", str(data), "--runs", str(home), "--methods", "ga,npo", *chosen, *more]


def experiment(*argv):
    return resolve(build_parser().parse_args(list(argv)))


def test_the_paper_s_setting_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = experiment("run", "pulse", "--config", "pulse-llava-1.5-13b")
    assert chosen.model.name == "llava-hf/llava-1.5-13b-hf"
    assert (chosen.pulse.finetuned, chosen.pulse.finetuned_forget) == (100, 50)
    assert (chosen.pulse.pretrained, chosen.pulse.pretrained_forget) == (45, 20)
    assert (chosen.pulse.requests, chosen.pulse.parts) == (5, ("language+projector", "language"))
    assert list(chosen.methods) == ["ga", "kl", "npo"]
    assert chosen.recipe("npo").method.retain_weight == 0
    assert chosen.unlearn.lora is not None
    assert [stage.name for stage in plan(chosen, tmp_path)][:4] == [
        "data",
        "models/pretrained",
        "evidence/pretrained",
        "known",
    ]
    assert len(plan(chosen, tmp_path)) == 6 + 2 * 3 * 2 * (1 + 1 + 5)


def test_a_config_that_is_not_there_is_named(capsys):
    assert main(["run", "pulse", "--config", "pulse-llava"]) == 2
    assert "pulse-llava is not there; give a YAML file of options, or one that ships: " in capsys.readouterr().err


def test_sets_of_the_data_are_not_chosen_by_hand(capsys):
    with pytest.raises(SystemExit):
        main(["run", "pulse", "--forget", "forget10"])
    assert "unrecognized arguments: --forget" in capsys.readouterr().err


def test_a_change_is_made_anew_with_all_that_follows_and_nothing_else(data, tmp_path):
    def keys(*more):
        chosen = experiment(*arguments(data, tmp_path, *more))
        return {stage.name: stage.key for stage in plan(chosen, tmp_path / "run")}

    def changed(*more):
        after = keys(*more)
        return {name for name in before if name.startswith("models/") and after.get(name) != before[name]}

    before = keys()
    parts = "language+projector"
    assert changed("--set", "methods.npo.beta=0.5") == {
        f"models/{setting}-npo-{parts}{request}"
        for setting, request in (("finetuned", ""), ("pretrained", ""), ("sequential", "-1"), ("sequential", "-2"))
    }
    figures = {name for name in before if name.startswith("models/pretrained-")}
    assert changed("--set", "pulse.pretrained_forget=2") == figures
    assert changed("--set", "finetune.epochs=2") == {
        name for name in before if name.startswith("models/") and "pretrained" not in name
    }


@pytest.mark.parametrize("answer", ["letter", "option"])
def test_a_whole_run_fills_every_cell_and_is_done_once(answer, data, tmp_path, capsys):
    argv = arguments(data, tmp_path, "--name", "one", "--set", f"pulse.answer={answer}")
    assert main(argv) == 0
    said = capsys.readouterr().out
    results = json.loads((tmp_path / "one/results.json").read_text())
    table = results["pulse"]["table"]
    assert [(row["setting"], row["method"], row["request"]) for row in table] == [
        (setting, method, request)
        for setting, requests in (("finetuned", (0,)), ("pretrained", (0,)), ("sequential", (1, 2)))
        for method in ("ga", "npo")
        for request in requests
    ]
    for row in table:
        state = row["state"]
        assert set(results["states"][state]) == {"forget", "retain", "general"}
        known = {**results["summary"][state], **results["missing"][state]}
        assert {"forgotten_pct", "retained_pct", "general_pct_text"} <= set(known)
    asked = {row["state"]: results["states"][row["state"]]["forget"]["all"]["mcq_accuracy"]["n"] for row in table}
    assert [asked[f"sequential-ga-language+projector-{n}"] for n in (1, 2)] == [2, 4], "of those asked for so far"
    assert results["states"]["pretrained"]["never_met"]["all"]["mcq_accuracy"]["n"] == 8
    assert said.splitlines()[0].startswith("setting")
    assert "PULSE: one" in (tmp_path / "one/report.html").read_text()
    assert yaml.safe_load((tmp_path / "one/run.yaml").read_text())["options"]["benchmark"] == "pulse"
    stages = {path: path.stat().st_mtime_ns for path in tmp_path.glob("one/**/stage.json")}
    assert main(argv) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("one/**/stage.json")} == stages
    assert main(["report", str(tmp_path / "one"), "-q"]) == 0


def test_few_people_are_told_of_before_any_work(data, tmp_path, capsys):
    argv = arguments(data, tmp_path, "--set", "pulse.finetuned=9")
    assert main(argv) == 2
    assert "`pulse.finetuned` asks for 9 people, the data has 4" in capsys.readouterr().err
