import copy
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from unlearn_core import METHODS, LossParts, Method, ModelForward, build_method
from unlearn_core.losses import nll_loss
from unlearn_train.answers import answers_alone
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED
from unlearn_train.reference import reference_logps
from unlearn_train.refusals import refusal_for
from unlearn_train.settings import LoraOptions, TrainOptions
from unlearn_train.training import finetune
from unlearn_train.unlearning import forget

# The models have two layers.
LAYERS = {"rmu": {"layer": 1}, "circuit_breaker": {"layer": -1}, "lat": {"layer": 0, "attack_steps": 2}}
# Its attack makes rounding larger.
TOLERANCE = {"lat": 1e-6}
# A mixed batch, a last step that is not full, and more than one pass.
EPOCHS = {"epochs": 2.5, "learning_rate": 1e-3, "warmup": 0.0}


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def distance(model, before):
    return max(float((value - before[name]).abs().max()) for name, value in model.state_dict().items())


def doubled(fresh):
    """A model whose rounding cannot be mistaken for a fault."""
    model, processor = fresh()
    return model.double(), processor


def answer_logps(model, encoded):
    """Log p of each answer token of one row that is not padded, from all logits."""
    with torch.no_grad():
        images = {key: value.double() for key, value in encoded.image_inputs.items()}
        logits = model(input_ids=encoded.input_ids[None], **images).logits[0].double()
    places = [n for n in range(1, len(encoded.labels)) if encoded.labels[n] != IGNORED]
    return [(logits[n - 1].exp() / logits[n - 1].exp().sum())[encoded.labels[n]].log() for n in places]


def test_finetuning_lowers_the_loss_on_the_answers(fresh, sides):
    model, processor = fresh()
    encoded = EncodedRows(processor, sides[0])
    collate = Collator(processor)
    before = reference_logps(model, encoded, collate, batch_size=4).mean()
    log = finetune(model, processor, sides[0], TrainOptions(epochs=30, learning_rate=1e-2, batch_size=4), quiet=True)
    assert reference_logps(model, encoded, collate, batch_size=4).mean() > 0.5 * before
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert {"loss", "learning_rate", "step"} <= log[0].keys()


def test_logits_of_answers_alone_give_the_loss_of_all(fresh, sides):
    model, processor = doubled(fresh)
    encoded = EncodedRows(processor, sides[0])
    batch = answers_alone(Collator(processor)([encoded[n] for n in range(len(encoded))]))
    naive = [logp for n in range(len(encoded)) for logp in answer_logps(model, encoded[n])]
    first = min(int((encoded[n].labels != IGNORED).nonzero()[0]) for n in range(len(encoded)))
    assert batch.labels.shape[1] == max(len(encoded[n].labels) for n in range(len(encoded))) - first + 1
    loss = nll_loss(ModelForward(model)(batch), batch.labels)
    torch.testing.assert_close(loss, -torch.stack(naive).mean(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_reference_logps_are_those_of_each_row_alone(fresh, sides, batch_size):
    model, processor = doubled(fresh)
    rows = [*sides[0], *sides[1]]
    encoded = EncodedRows(processor, rows)
    model.train()
    found = reference_logps(model, encoded, Collator(processor), batch_size=batch_size)
    assert model.training
    expected = torch.stack([torch.stack(answer_logps(model.eval(), encoded[n])).sum() for n in range(len(rows))])
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def trained(fresh, sides, method=None, **options):
    """The model that is finetuned, or has forgotten by a method, and its log."""
    model, processor = doubled(fresh)
    schedule = TrainOptions(**{**EPOCHS, **options})
    if method is None:
        return model, finetune(model, processor, [*sides[0], *sides[1]], schedule, quiet=True)
    return model, forget(model, processor, build_method(method, **LAYERS.get(method, {})), *sides, schedule, quiet=True)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("llama", None),
        ("llama", "npo"),
        *(("llava", method) for method in (None, *METHODS) if method != "circuit_breaker"),
    ],
)
def test_accumulation_changes_nothing(fresh, sides, method):
    """Circuit breaking is left out: it starts where its gradient is nothing but rounding."""
    before = weights(doubled(fresh)[0])
    whole, log = trained(fresh, sides, method, batch_size=8)
    split, split_log = trained(fresh, sides, method, batch_size=2, accumulation=4)
    assert distance(whole, before) > 1e-4, "the method changes the weights"
    assert distance(split, weights(whole)) < TOLERANCE.get(method, 1e-9)
    assert [entry["loss"] for entry in split_log] == pytest.approx([entry["loss"] for entry in log], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("method", [None, "npo", "lat"])
def test_a_large_vocabulary_trains_alike_without_its_logits(fresh, sides, method, monkeypatch):
    plain, _ = trained(fresh, sides, method, batch_size=4)
    monkeypatch.setattr("unlearn_core.forward.LARGE", 0)
    found, _ = trained(fresh, sides, method, batch_size=4)
    assert distance(found, weights(plain)) < TOLERANCE.get(method, 1e-9)


def test_a_large_vocabulary_trains_in_bfloat16(fresh, sides, monkeypatch):
    _, plain = trained(fresh, sides, "npo", batch_size=4, precision="bf16")
    monkeypatch.setattr("unlearn_core.forward.LARGE", 0)
    _, found = trained(fresh, sides, "npo", batch_size=4, precision="bf16")
    # Not the weights: Adam moves one by as much for a gradient that is rounding as for any other.
    assert [entry["loss"] for entry in found] == pytest.approx([entry["loss"] for entry in plain], rel=1e-2)


def test_terms_are_logged(fresh, sides):
    _, log = trained(fresh, sides, "graddiff")
    assert all({"loss", "forget_loss", "retain_loss"} <= entry.keys() for entry in log)
    one = trained(fresh, sides, "graddiff", batch_size=64)[1][0]
    assert one["loss"] == pytest.approx(one["forget_loss"] + one["retain_loss"], abs=1e-4)


@pytest.mark.parametrize("kind", ["llama"])
def test_gradient_ascent_forgets_and_refusals_are_learnt(fresh, sides):
    model, processor = fresh()
    encoded = EncodedRows(processor, sides[0])
    collate = Collator(processor)
    refusals = EncodedRows(processor, sides[0], answer=lambda row: refusal_for(row["id"]))
    before = [reference_logps(model, rows, collate, batch_size=8).sum() for rows in (encoded, refusals)]
    schedule = TrainOptions(epochs=10, learning_rate=1e-3)
    forget(model, processor, build_method("dpo", beta=1.0), *sides, schedule, quiet=True)
    after = [reference_logps(model, rows, collate, batch_size=8).sum() for rows in (encoded, refusals)]
    assert after[1] - after[0] > before[1] - before[0] + 1
    ascended, _ = fresh()
    forget(ascended, processor, build_method("ga"), *sides, schedule, quiet=True)
    assert reference_logps(ascended, encoded, collate, batch_size=8).sum() < before[0] - 1


@pytest.mark.parametrize("method", [None, "npo"])
def test_a_seed_decides_everything(fresh, sides, method):
    first, _ = trained(fresh, sides, method, epochs=1, batch_size=3, seed=1)
    torch.rand(7)
    again, _ = trained(fresh, sides, method, epochs=1, batch_size=3, seed=1)
    other, _ = trained(fresh, sides, method, epochs=1, batch_size=3, seed=2)
    assert distance(again, weights(first)) == 0
    assert distance(other, weights(first)) > 1e-6


def test_bfloat16_autocast_trains(fresh, sides):
    model, processor = fresh()
    before = weights(model)
    schedule = TrainOptions(precision="bf16", learning_rate=1e-3, warmup=0.0)
    forget(model, processor, build_method("npo"), *sides, schedule, quiet=True)
    assert distance(model, before) > 1e-4
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@dataclass(frozen=True, kw_only=True)
class Bursting(Method):
    """Is finite twice."""

    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    calls: ClassVar[list[int]] = []

    def loss(self, forward, forget, retain):
        self.calls.append(1)
        retained = nll_loss(forward(retain), retain.labels)
        forgotten = retained * (float("inf") if len(self.calls) > 2 else 1.0)
        return LossParts(retained + forgotten, forgotten, retained)


def test_a_loss_that_is_not_finite_names_its_step_and_terms(fresh, sides):
    Bursting.calls.clear()
    model, processor = fresh()
    with pytest.raises(
        FloatingPointError,
        match=r"the forget loss of Bursting\(\) is not finite at step 3 \({'forget': inf, 'retain': \d\.\d+}\); ",
    ):
        forget(model, processor, Bursting(), *sides, TrainOptions(batch_size=1), quiet=True)


def test_finetuning_stops_at_a_loss_that_is_not_finite(fresh, sides):
    model, processor = fresh()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"the loss is not finite at step 1 \(nan\); lower the learning rate"):
        finetune(model, processor, sides[0], TrainOptions(), quiet=True)


@dataclass(frozen=True, kw_only=True)
class Secretive(Method):
    """Asks for what it does not say."""

    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})

    def loss(self, forward, forget, retain):
        return LossParts(retain.ref_logits().mean(), None, None)


def test_a_method_that_hides_its_needs_is_told(fresh, sides):
    model, processor = fresh()
    with pytest.raises(ValueError, match=r"Secretive\(\) asks for `ref_logits` but does not say so in `needs` and"):
        forget(model, processor, Secretive(), *sides, TrainOptions(), quiet=True)


def test_no_rows_are_refused(fresh, sides):
    model, processor = fresh()
    with pytest.raises(ValueError, match="there are no rows to learn"):
        finetune(model, processor, [], TrainOptions())
    with pytest.raises(ValueError, match="rows to forget and rows to keep, got 0 and"):
        forget(model, processor, build_method("ga"), [], sides[1], TrainOptions())


def test_a_row_that_does_not_fit_is_named(fresh, sides, make_row):
    model, processor = fresh()
    long = make_row("ada/qa/9", "Who?", "Ada " * 200)
    with pytest.raises(ValueError, match="row ada/qa/9 has .* tokens, the model reads 128"):
        finetune(model, processor, [*sides[0], long], TrainOptions(), quiet=True)


def test_quiet_is_silent_and_leaves_nothing_behind(fresh, sides, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, processor = fresh()
    finetune(model, processor, sides[0], TrainOptions(), quiet=True)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_training_does_not_change_what_it_is_given(fresh, sides):
    model, processor = fresh()
    rows = copy.deepcopy(sides)
    forget(model, processor, build_method("idk"), *sides, TrainOptions(), quiet=True)
    assert [[row["id"] for row in side] for side in sides] == [[row["id"] for row in side] for side in rows]
    assert [row["answer"] for row in sides[0]] == [row["answer"] for row in rows[0]]


def test_a_training_leaves_no_trace_on_the_model_s_arithmetic(fresh, sides):
    model, processor = fresh()
    own = set(vars(model))
    finetune(model, processor, sides[0], TrainOptions(precision="bf16", batch_size=4), quiet=True)
    assert set(vars(model)) - own <= {"_tp_plan"}
    again, _ = fresh()
    again.load_state_dict(model.state_dict())
    for each in (model, again):
        forget(each, processor, build_method("npo"), *sides, TrainOptions(batch_size=4, learning_rate=1e-3), quiet=True)
    assert distance(model, weights(again)) == 0


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize(
    ("given", "warns"), [({}, True), ({"lora": LoraOptions(rank=2)}, False), ({"learning_rate": 1e-3}, False)]
)
def test_it_is_said_that_small_steps_are_lost_in_bfloat16(given, warns, fresh, sides, caplog):
    model, processor = fresh()
    finetune(model.bfloat16(), processor, sides[0], TrainOptions(batch_size=4, **given), quiet=True)
    assert ("rounded away on most of them" in caplog.text) == warns
