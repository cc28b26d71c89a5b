import json
import shutil

import pytest
import torch
from unlearn_train.data import RowSets
from unlearn_train.experiment import Experiment
from unlearn_train.models import load_model
from unlearn_train.settings import DataOptions, EvaluateOptions, ModelOptions, TrainOptions, WatchOptions
from unlearn_train.stages import Run
from unlearn_train.tiny import tiny_llama
from unlearn_train.watching import answer_probability
from unlearn_train.workflow import asked_sets, plan

QUICK = TrainOptions(epochs=1, batch_size=8, learning_rate=1e-3, warmup=0.0)


@pytest.fixture
def experiment(folder, saved):
    def make(**more):
        defaults = {
            "benchmark": "clear",
            "tasks": ("qa", "caption"),
            "data": DataOptions(folder=str(folder)),
            "model": ModelOptions(name=str(saved["llava"])),
            "finetune": QUICK,
            "unlearn": QUICK,
            "methods": {"ga": {}, "npo": {}},
        }
        return Experiment(**{**defaults, **more})

    return make


def keys(experiment, folder):
    return {stage.name: stage.key for stage in plan(experiment, folder) if stage.name.split("/")[0] != "evidence"}


def changed(one, other):
    return {name.removeprefix("models/") for name in one if one[name] != other[name]}


def test_stages_come_after_their_inputs(experiment, tmp_path):
    stages = plan(experiment(), tmp_path)
    places = {stage.name: n for n, stage in enumerate(stages)}
    assert all(places[needed.name] < places[stage.name] for stage in stages for needed in stage.inputs)
    assert list(places)[:4] == ["data", "models/pretrained", "models/target", "models/retrained"]


def test_what_changes_a_key_changes_all_that_follows(experiment, tmp_path):
    before = keys(experiment(), tmp_path)
    assert changed(before, keys(experiment(), tmp_path / "elsewhere")) == set()
    one = experiment(methods={"ga": {}, "npo": {"train": {"epochs": 2}}})
    assert changed(before, keys(one, tmp_path)) == {"npo"}
    assert changed(before, keys(experiment(methods={"ga": {}, "npo": {"beta": 0.2}}), tmp_path)) == {"npo"}
    finetuned = experiment(finetune=TrainOptions(epochs=2))
    assert changed(before, keys(finetuned, tmp_path)) == {"target", "retrained", "ga", "npo"}
    assert changed(before, keys(experiment(forget="holdout"), tmp_path)) == {"target", "ga", "npo"}
    assert changed(before, keys(experiment(seed=1), tmp_path)) == {"pretrained", "target", "retrained", "ga", "npo"}


def test_a_chat_template_s_text_is_part_of_the_key(experiment, saved, tmp_path):
    def with_template(name, text):
        (tmp_path / name).write_text(text)
        model = ModelOptions(name=str(saved["llava"]), chat_template=str(tmp_path / name))
        return keys(experiment(model=model), tmp_path)

    first = with_template("a.jinja", "{{ messages }}")
    assert first == with_template("b.jinja", "{{ messages }}")
    everything = {"pretrained", "target", "retrained", "ga", "npo"}
    assert changed(first, with_template("a.jinja", "{{ messages }}!")) == everything
    assert changed(first, keys(experiment(), tmp_path)) == everything


def test_an_adapter_s_base_is_part_of_the_key(experiment, saved, tmp_path):
    base, adapter = shutil.copytree(saved["llava"], tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    chosen = experiment(model=ModelOptions(name=str(adapter)))
    before = keys(chosen, tmp_path)
    assert changed(before, keys(chosen, tmp_path)) == set()
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    assert "pretrained" in changed(before, keys(chosen, tmp_path))


@pytest.mark.parametrize("name", ["models/target", "models/npo"])
def test_sets_that_share_subjects_are_refused_in_a_run_that_was_begun_with_others(experiment, name, tmp_path):
    run = Run(tmp_path, quiet=True)
    run.make(plan(experiment(), tmp_path)[:2])
    stages = plan(experiment(retain="forget10"), tmp_path)
    assert run.record(stages[1]) is not None  # what is pretrained depends on neither
    with pytest.raises(ValueError, match="`forget10` and `forget10` share"):
        next(stage for stage in stages if stage.name == name).make(tmp_path / "out")


def test_models_are_made_from_a_checkpoint(experiment, saved, tmp_path):
    template = load_model(saved["llava"])[1].chat_template.replace("USER:", "Q:")
    (tmp_path / "mine.jinja").write_text(template)
    model = ModelOptions(name=str(saved["llava"]), chat_template=str(tmp_path / "mine.jinja"))
    chosen = experiment(model=model, methods={"idk": {}})
    stages = [stage for stage in plan(chosen, tmp_path, quiet=True) if not stage.name.startswith("evidence")]
    Run(tmp_path, quiet=True).make(stages)
    names = ["pretrained", "target", "retrained", "idk"]
    made = {name: load_model(tmp_path / "models" / name) for name in names}
    assert all(processor.chat_template == template for _, processor in made.values())
    heads = [model.get_input_embeddings().weight for model, _ in made.values()]
    assert all((a != b).any() for n, a in enumerate(heads) for b in heads[:n]), "no two are the same model"


def test_a_small_model_is_built_where_none_is_named(experiment, text_folder, size, tmp_path):
    model = ModelOptions(tiny=size)
    chosen = experiment(
        data=DataOptions(folder=str(text_folder)), model=model, tasks=("qa",), pretrain=QUICK, rehearse=True
    )
    stages = [stage for stage in plan(chosen, tmp_path, quiet=True) if stage.name in ("data", "models/pretrained")]
    Run(tmp_path, quiet=True).make(stages)
    assert load_model(tmp_path / "models/pretrained")[0].config.model_type == "llama"


def test_a_small_model_starts_untaught_where_that_is_asked_for(experiment, text_folder, size, tmp_path):
    chosen = experiment(
        data=DataOptions(folder=str(text_folder)),
        model=ModelOptions(tiny=size, attention="eager"),
        tasks=("qa",),
        pretrain=None,
    )
    stages = [stage for stage in plan(chosen, tmp_path, quiet=True) if stage.name in ("data", "models/pretrained")]
    Run(tmp_path, quiet=True).make(stages)
    sets = RowSets.read(tmp_path / "data")
    texts = [text for column in ("question", "answer") for text in sets.rows[column]]
    untaught, _ = tiny_llama(texts, size, seed=chosen.seed_for("pretrained"))
    made = load_model(tmp_path / "models/pretrained")[0].state_dict()
    assert all(torch.equal(value, made[name]) for name, value in untaught.state_dict().items())


def test_every_model_is_asked_the_same(experiment, folder):
    chosen = experiment(evaluate=EvaluateOptions(rows=2))
    asked = asked_sets(chosen, RowSets.read(folder))
    assert list(asked) == ["forget", "retain", "holdout"]
    assert len(asked["forget"]) == 8, "forget sets are asked in full"
    assert {row["subject"] for row in asked["retain"]} in ({"cy"}, {"di"})
    assert {row["task"] for row in asked["forget"]} == {"qa", "caption", "mcq"}


def test_unlearning_that_is_watched_ends_where_the_retrained_model_is(experiment, tmp_path):
    watched = TrainOptions(epochs=40, batch_size=8, learning_rate=3e-2, warmup=0.0, watch=WatchOptions(floor=0.0))
    chosen = experiment(unlearn=watched, methods={"graddiff": {}})
    stages = [stage for stage in plan(chosen, tmp_path, quiet=True) if stage.name.split("/")[0] != "evidence"]
    by_name = {stage.name: stage for stage in stages}
    assert by_name["models/retrained"] in by_name["models/graddiff"].inputs
    Run(tmp_path, quiet=True).make(stages)
    forgotten = RowSets.read(tmp_path / "data").select("forget10", chosen.tasks)
    known = {
        state: answer_probability(*load_model(tmp_path / "models" / state), forgotten, watched)
        for state in ("target", "retrained", "graddiff")
    }
    assert known["retrained"] < known["target"]
    assert known["graddiff"] <= known["retrained"]
