"""Every method of the catalogue through the trainer, on image rows, text rows and both."""

import copy
from dataclasses import replace

import pytest
import torch
from unlearn_core import CATALOGUE, EDITS, GRU, GUARDS, METHODS, SKU, TRANSFORMS, Edit, TaskArithmetic, build_method
from unlearn_train import applying
from unlearn_train.applying import unlearn
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import RowSets
from unlearn_train.encoding import render, tokenize
from unlearn_train.models import load_model
from unlearn_train.recipes import read_recipe
from unlearn_train.reference import reference_logps
from unlearn_train.settings import TrainOptions
from unlearn_train.unlearning import forget

WHOLE = TrainOptions(epochs=6, batch_size=6, learning_rate=1e-3, schedule="constant", warmup=0.0)
# The models have two layers.
OPTIONS = {
    "rmu": {"layer": 1},
    "circuit_breaker": {"layer": 1},
    "lat": {"layer": 0, "attack_steps": 2},
    "icul": {"forget": 1, "retain": 1},
    "manu": {"share": 0.2},
    "pdu": {"dual_step": 0.0},
}
ROWS = {"image": {"caption"}, "text": {"qa"}, "both": {"qa", "caption"}}

pytestmark = pytest.mark.parametrize("kind", ["llava"])


@pytest.fixture
def roomy(fresh):
    """Makes copies of the model that read more tokens, so that there is room for examples."""

    def make():
        model, processor = fresh()
        model.config.get_text_config().max_position_embeddings = 512
        return model, copy.deepcopy(processor)

    return make


def recipe(name):
    known = "graddiff" if name in TRANSFORMS else name
    return read_recipe(known, {**OPTIONS.get(known, {}), "transforms": [name] if name in TRANSFORMS else []})


def select(folder, modality="both"):
    data = RowSets.read(folder)
    return data.select("forget10", ROWS[modality]), data.select("retain90", ROWS[modality])


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def known(model, processor, rows):
    """The log-probability of each answer."""
    return reference_logps(model, EncodedRows(processor, rows), Collator(processor), batch_size=3)


@pytest.mark.parametrize("modality", ROWS)
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_method_runs_in_its_own_direction(name, modality, roomy, folder):
    model, processor = roomy()
    before, sides = state(model), select(folder, modality)
    first = known(model, processor, sides[0])
    method, transforms = recipe(name)
    options = replace(WHOLE, batch_size=len(sides[0]))  # all rows in every step, so that the losses of two compare
    done = unlearn(model, processor, method, *sides, options, transforms=transforms, quiet=True)
    after = state(model)
    assert all(value.isfinite().all() for value in after.values())
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[key], before[key]) for key in before) == (name not in GUARDS)
    losses = [entry["loss"] for entry in done.log if name != "scrub" or "retain_loss" not in entry]
    assert (losses == []) == (name in ("manu", "eco", "icul"))
    assert not losses or losses[-1] < losses[0], "what is minimized falls"
    if name in ("ga", "graddiff", "npo", "task_arithmetic", "eco", "uld", *TRANSFORMS):
        assert known(model, processor, sides[0]).sum() < first.sum()


def generated(model, processor, rows):
    """The tokens that are generated for each row, asked alone."""
    found = []
    for row in rows:
        prompt, _ = render(processor, row["question"], "x", has_image=row["image"] is not None)
        inputs = dict(tokenize(processor, prompt, row["image"]))
        ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        found.append(ids[0, inputs["input_ids"].shape[1] :].tolist())
    return found


@pytest.mark.parametrize("name", ["npo", *EDITS, *GUARDS])
def test_what_is_saved_answers_the_same(name, roomy, folder, tmp_path):
    model, processor = roomy()
    sides, template = select(folder), processor.chat_template
    done = unlearn(model, processor, recipe(name).method, *sides, WHOLE, quiet=True)
    done.save(model, processor, tmp_path / "out")
    rows = [*sides[0], *sides[1]]
    expected = known(model, processor, rows).tolist(), generated(model, processor, rows)
    assert (processor.chat_template != template) == (name == "icul")
    processor.chat_template = template
    loaded = load_model(tmp_path / "out")
    assert known(*loaded, rows).tolist() == pytest.approx(expected[0], abs=1e-4)
    assert generated(*loaded, rows) == expected[1]
    assert (tmp_path / "out/guard.json").exists() == (name in ("eco", "uld"))


def test_of_sku_both_stages_are_run(fresh, folder):
    sides = select(folder)
    model, processor = fresh()
    unlearn(model, processor, SKU(retain_weight=0.1), *sides, WHOLE, quiet=True)
    other, _ = fresh()
    before = state(other)
    forget(other, processor, SKU(retain_weight=0.1), *sides, WHOLE, quiet=True)
    for name, learnt in other.named_parameters():
        expected = before[name] - (learnt.detach() - before[name])
        torch.testing.assert_close(model.get_parameter(name).detach(), expected, rtol=0, atol=1e-6)


def test_an_edit_that_fails_leaves_the_model(fresh, folder, monkeypatch):
    model, processor = fresh()
    before = state(model)

    def fail(trained, **options):
        next(trained.parameters()).data.fill_(float("nan"))
        return []

    monkeypatch.setattr(applying.unlearning, "forget", fail)
    with pytest.raises(ValueError, match="would not be finite after the edit"):
        unlearn(model, processor, TaskArithmetic(), *select(folder), WHOLE, quiet=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("method", "transforms", "error", "message"),
    [
        (
            GRU(),
            (),
            TypeError,
            r"GRU\(average=0.8\) is a gradient transform: choose a loss method, and",
        ),
        ("npo", (), TypeError, "`method` must be a loss method, a weight edit or a guard, got 'npo'"),
        (build_method("manu"), (GRU(),), ValueError, r"MANU\(.*\) has no gradients that GRU\(average=0.8\) could"),
        (SKU(), (GRU(),), ValueError, r"TaskArithmetic\(.*\) has no gradients that GRU\(average=0.8\) could"),
        (build_method("uld", layers=3), (), ValueError, "`layers` must be at most the model's 2, got 3"),
        (build_method("rmu", layer=7), (), ValueError, "`layer` must be one of the model's 2 layers"),
        (build_method("icul", forget=3, retain=3), (), ValueError, "take .* of the 128 tokens .*; show fewer"),
        (build_method("icul", forget=30), (), ValueError, "`forget` asks for 30 examples, there are 4 rows"),
    ],
)
def test_what_does_not_fit_is_refused(method, transforms, error, message, fresh, folder):
    model, processor = fresh()
    template = processor.chat_template
    with pytest.raises(error, match=message):
        unlearn(model, processor, method, *select(folder), WHOLE, transforms=transforms, quiet=True)
    assert processor.chat_template == template


def test_no_rows_are_refused(fresh, folder):
    model, processor = fresh()
    with pytest.raises(ValueError, match="rows to forget and rows to keep, got 0 and"):
        unlearn(model, processor, build_method("manu"), [], select(folder)[1], WHOLE)


def test_every_kind_is_covered(kind):
    assert len(CATALOGUE) == len(METHODS) + len(TRANSFORMS) + len(EDITS) + len(GUARDS), "no name stands for two"
    assert all(issubclass(edit, Edit) for edit in EDITS.values())
