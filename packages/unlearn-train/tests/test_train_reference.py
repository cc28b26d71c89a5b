"""What is kept of the reference gives what a second model gives, step for step."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from unlearn_core import METHODS, LossParts, Method, build_method
from unlearn_core.losses import kl_loss
from unlearn_train import joining, trainers
from unlearn_train import reference as reference_module
from unlearn_train.reference import ModelReference
from unlearn_train.settings import LoraOptions, TrainOptions
from unlearn_train.trainers import UnlearnTrainer
from unlearn_train.unlearning import forget

LAYERS = {"rmu": {"layer": 1}, "circuit_breaker": {"layer": -1}, "lat": {"layer": 0, "attack_steps": 2}}
# Without warmup, so that every step moves the model away from its reference.
SCHEDULE = TrainOptions(epochs=2.5, learning_rate=1e-3, warmup=0.0, batch_size=3)
LORA = LoraOptions(rank=2)
WITH_REFERENCE = [name for name in METHODS if {"ref_logps", "ref_logits", "ref_hidden"} & build_method(name).asks()]


def trained(fresh, sides, method, *, head=None, **options):
    """A model that has forgotten, in float64, and the losses on its way."""
    model, processor = fresh()
    model.double()
    if head is not None:
        head(model)
    if isinstance(method, str):
        method = build_method(method, **LAYERS.get(method, {}))
    cache = options.pop("cache", None)
    losses = []

    def note(trainer, parts, note=UnlearnTrainer.note):
        losses.append(float(parts.total.detach()))
        note(trainer, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UnlearnTrainer, "note", note)
        forget(model, processor, method, *sides, replace(SCHEDULE, **options), cache=cache, quiet=True)
    return {name: value.clone() for name, value in model.state_dict().items()}, losses


def close(found, expected, tolerance=1e-6):
    assert found[1] == pytest.approx(expected[1], abs=tolerance)
    for name, value in found[0].items():
        torch.testing.assert_close(value, expected[0][name], atol=tolerance, rtol=0)


@pytest.fixture
def copies(monkeypatch):
    """The second models that were made."""
    made, freeze = [], reference_module._frozen
    monkeypatch.setattr(reference_module, "_frozen", lambda model: made.append(freeze(model)) or made[-1])
    return made


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        # Circuit breaking starts where its gradient is nothing but rounding.
        *(("llama", name) for name in WITH_REFERENCE if name != "circuit_breaker"),
        *(("llava", name) for name in ("kl", "npo", "rmu")),
    ],
)
def test_what_is_kept_gives_what_a_second_model_gives(fresh, sides, method, copies, tmp_path):
    two = trained(fresh, sides, method, reference="model")
    assert len(copies) == 1
    kept = trained(fresh, sides, method, cache=tmp_path / "cache")
    assert len(copies) == 1, "no second model is made"
    close(kept, two)
    asks_logps = "ref_logps" in build_method(method).needs
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert bool(left) == asks_logps and all(name.startswith("logps-") for name in left)


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("method", ["npo", "kl", "rmu", "jensun"])
def test_with_lora_the_reference_is_the_model_with_its_adapter_off(fresh, sides, method, copies):
    two = trained(fresh, sides, method, lora=LORA, reference="model")
    assert len(copies) == 1
    off = trained(fresh, sides, method, lora=LORA)
    assert len(copies) == 1, "no second model is made"
    close(off, two)
    full = trained(fresh, sides, method)
    assert max(abs(a - b) for a, b in zip(off[1], full[1], strict=True)) > 1e-6, "the adapter alone is trained"


@pytest.mark.parametrize("kind", ["llama"])
def test_dropout_leaves_the_reference_alone(fresh, sides, monkeypatch):
    seen = []
    logits = ModelReference.logits
    monkeypatch.setattr(
        ModelReference,
        "logits",
        lambda self, batch, kept: seen.append((batch.inputs, found := logits(self, batch, kept))) or found,
    )
    model, processor = fresh()
    before = fresh()[0].eval()
    schedule = replace(SCHEDULE, lora=replace(LORA, dropout=0.5))
    forget(model, processor, build_method("kl"), *sides, schedule, quiet=True)
    assert len(seen) >= 3
    for inputs, found in seen:
        assert not found.requires_grad
        with torch.no_grad():
            torch.testing.assert_close(found, before(**inputs).logits[:, -found.shape[1] :], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("options", [{}, {"reference": "model"}, {"lora": LORA}], ids=["kept", "model", "adapter off"])
def test_in_bf16_a_model_is_at_first_what_it_was(fresh, sides, options, monkeypatch):
    """NPO's ratio and KL's divergence are 0, where they would be some 1e-2 from a reference in float32."""
    found = []

    def note(trainer, parts, note=UnlearnTrainer.note):
        found.append(parts)
        note(trainer, parts)

    monkeypatch.setattr(UnlearnTrainer, "note", note)
    for name, given in (("npo", {"beta": 0.1}), ("kl", {})):
        model, processor = fresh()
        schedule = replace(SCHEDULE, precision="bf16", **options)
        forget(model, processor, build_method(name, **given), *sides, schedule, quiet=True)
        first = found[0]
        found.clear()
        term, wanted = (first.forget, 2 / 0.1 * math.log(2)) if name == "npo" else (first.retain, 0.0)
        assert float(term.detach()) == pytest.approx(wanted, abs=1e-4)


def untie(model, bias=False):
    """Gives the model an output embedding of its own, which may add something."""
    head = torch.nn.Linear(*reversed(model.lm_head.weight.shape), bias=bias, dtype=torch.float64)
    head.weight.data.copy_(model.lm_head.weight.data)
    if bias:
        head.bias.data.copy_(torch.linspace(-2, 2, len(head.bias)))
    model.lm_head = head
    model.config.tie_word_embeddings = False


def freeze_head(model):
    untie(model)
    model.lm_head.requires_grad_(False)


def cap(model):
    """Changes the logits after the output embedding, as some models do."""

    def capped(module, args, output):
        output.logits = 3 * (output.logits / 3).tanh()
        return output

    model.register_forward_hook(capped)


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize(
    ("head", "second"),
    [(untie, 0), (lambda model: untie(model, bias=True), 0), (freeze_head, 0), (cap, 1)],
    ids=["untied", "with a bias", "frozen", "capped"],
)
def test_output_embeddings_of_all_kinds(fresh, sides, head, second, copies):
    kept = trained(fresh, sides, "kl", head=head)
    assert len(copies) == second, "a second model is made where logits are more than a linear map"
    close(kept, trained(fresh, sides, "kl", head=head, reference="model"))


@pytest.mark.parametrize("kind", ["llama"])
def test_a_frozen_output_embedding_is_not_copied(fresh):
    model, _ = fresh()
    freeze_head(model.double())
    assert reference_module._head(model) is model.lm_head
    untie(model)
    copied = reference_module._head(model)
    assert copied is not model.lm_head and not copied.weight.requires_grad
    assert torch.equal(copied.weight, model.lm_head.weight)


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    """Does not say what it asks the reference."""

    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "ref_logits"})

    def loss(self, forward, forget, retain):
        loss = kl_loss(forward(retain), retain.ref_logits(), retain.labels) * retain.token_share
        pull = -forward.token_logps(forget).mean() * forget.token_share
        return LossParts(loss - pull, None, loss)


@pytest.mark.parametrize("kind", ["llama"])
def test_a_method_that_does_not_say_what_it_asks_gets_a_second_model(fresh, sides, copies):
    own = trained(fresh, sides, Plain())
    assert len(copies) == 1
    close(own, trained(fresh, sides, "kl"))


@dataclass(frozen=True, kw_only=True)
class Forgetful(Plain):
    """Says less than it asks."""

    def references(self):
        return build_method("rmu", layer=1).references()


@pytest.mark.parametrize("kind", ["llama"])
def test_a_method_that_says_less_than_it_asks_is_told(fresh, sides):
    with pytest.raises(
        ValueError, match=r"Forgetful\(\) asks for `ref_logits` but does not say so in `needs` and `ref"
    ):
        trained(fresh, sides, Forgetful())


@pytest.mark.parametrize(
    ("kind", "method"),
    [("llama", name) for name in METHODS if build_method(name).together and name != "circuit_breaker"]
    + [("llava", name) for name in ("npo", "kl", "dpo", "rmu")],
)
def test_one_pass_for_all_sides_changes_nothing(fresh, sides, method, monkeypatch):
    """Mixed text and image rows, other answers of other lengths, batches that are not full."""
    ways = []
    for spared in (-(10**9), 10**9):
        joint, made = [], trainers.JointForward
        monkeypatch.setattr(joining, "SPARED_ON_CPU", spared)
        monkeypatch.setattr(trainers, "JointForward", lambda *args, j=joint, m=made: j.append(1) or m(*args))
        ways.append(trained(fresh, sides, method))
        assert bool(joint) == (spared > 0)
        monkeypatch.undo()
    close(ways[1], ways[0])


@pytest.mark.parametrize("kind", ["llama"])
def test_large_logits_are_not_computed_in_one_pass(fresh, sides, monkeypatch):
    plain = trained(fresh, sides, "npo")
    monkeypatch.setattr("unlearn_core.forward.LARGE", 0)
    monkeypatch.setattr(joining, "SPARED_ON_CPU", 10**9)
    monkeypatch.setattr(trainers, "JointForward", None)
    close(trained(fresh, sides, "npo"), plain)


def test_the_reference_stays_what_it_was(fresh, sides, copies):
    before = fresh()[0].double().state_dict()
    model, _ = trained(fresh, sides, "kl", reference="model")
    (reference,) = copies
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in model.items())
    assert not reference.training
    assert not any(parameter.requires_grad for parameter in reference.parameters())
