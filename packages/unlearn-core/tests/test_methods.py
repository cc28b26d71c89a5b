"""A table over METHODS: each against a reference in float64, one sample at a time."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from unlearn_core import METHODS, Batch, LossParts, build_method
from unlearn_core.method import Method

VOCAB = 6
FORGET = [[-100, -100, 3, 1, 0, -100], [-100, 2, -100, -100, -100, -100], [-100, -100, -100, 5, 5, 0]]
REFUSALS = [[-100, 4, 4, 4, 0, -100], [-100, 4, 0, -100, -100, -100], [-100, -100, -100, -100, 4, 0]]
RETAIN = [[-100, 1, 2, 3, 4, 0], [-100, -100, -100, -100, -100, 2]]


def make_batch(labels: list[list[int]], *, seed: int, refusals: bool = False) -> Batch:
    """A batch whose logits are its input, so that a loss's gradient is seen position by position."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(labels), len(labels[0]), VOCAB)
    logits, ref_logits = (2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).unbind()
    target = torch.tensor(labels)
    return Batch(
        inputs={"logits": logits.clone().requires_grad_()},
        labels=target,
        ref_logps=torch.stack([sum(answer_logps(*pair)) for pair in zip(ref_logits, target, strict=True)]),
        ref_logits=lambda: ref_logits,
        idk=make_batch(REFUSALS, seed=seed + 100) if refusals else None,
    )


def forward(batch: Batch) -> Tensor:
    return batch.inputs["logits"]


def answer_logps(logits: Tensor, labels: Tensor) -> list[Tensor]:
    """Log p of the answer tokens of one sample."""
    places = [place for place in range(1, len(labels)) if labels[place] != -100]
    return [(logits[place - 1].exp() / logits[place - 1].exp().sum())[labels[place]].log() for place in places]


class Sample(NamedTuple):
    """One sequence, as the references see it: log p of each answer token, under the model and under the reference."""

    logps: list[Tensor]
    ref_logp: Tensor
    kl: list[Tensor]


def samples(batch: Batch | None) -> list[Sample]:
    assert batch is not None and batch.ref_logits is not None and batch.ref_logps is not None
    found = []
    for logits, ref, labels, ref_logp in zip(
        forward(batch), batch.ref_logits(), batch.labels, batch.ref_logps, strict=True
    ):
        p, q = ref.exp() / ref.exp().sum(-1, keepdim=True), logits.exp() / logits.exp().sum(-1, keepdim=True)
        places = [place for place in range(1, len(labels)) if labels[place] != -100]
        kl = [sum(p[t - 1, v] * (p[t - 1, v] / q[t - 1, v]).log() for v in range(VOCAB)) for t in places]
        found.append(Sample(answer_logps(logits, labels), ref_logp, kl))
    return found


def mean(values: list[Tensor]) -> Tensor:
    return sum(values, torch.zeros((), dtype=torch.float64)) / len(values)


def token_nll(batch: Batch | None) -> Tensor:
    return mean([-logp for sample in samples(batch) for logp in sample.logps])


def token_kl(batch: Batch) -> Tensor:
    return mean([kl for sample in samples(batch) for kl in sample.kl])


def npo(batch: Batch, beta: float) -> Tensor:
    ratios = [(sum(sample.logps) - sample.ref_logp).exp() for sample in samples(batch)]
    return mean([2 / beta * torch.log(1 + ratio**beta) for ratio in ratios])


def simnpo(batch: Batch, beta: float, delta: float) -> Tensor:
    margins = [mean([-logp for logp in sample.logps]) - delta for sample in samples(batch)]
    return mean([-2 / beta * torch.log(1 / (1 + torch.exp(-beta * margin))) for margin in margins])


def dpo(batch: Batch, beta: float) -> Tensor:
    pairs = zip(samples(batch.idk), samples(batch), strict=True)
    margins = [sum(win.logps) - win.ref_logp - (sum(lose.logps) - lose.ref_logp) for win, lose in pairs]
    return mean([-2 / beta * torch.log(1 / (1 + torch.exp(-beta * margin))) for margin in margins])


class Case(NamedTuple):
    """Options away from the defaults, and the terms they weigh, written from the paper."""

    options: dict[str, float]
    forget: Callable[[Batch], Tensor] | None
    retain: Callable[[Batch], Tensor] | None


CASES = {
    "retain_finetune": Case({"retain_weight": 0.5}, None, token_nll),
    "ga": Case({"forget_weight": 0.3}, lambda b: -token_nll(b), None),
    "graddiff": Case({"forget_weight": 0.3, "retain_weight": 2.0}, lambda b: -token_nll(b), token_nll),
    "kl": Case({"forget_weight": 0.3, "retain_weight": 2.0}, lambda b: -token_nll(b), token_kl),
    "npo": Case({"beta": 0.4, "forget_weight": 0.3, "retain_weight": 2.0}, lambda b: npo(b, 0.4), token_nll),
    "simnpo": Case(
        {"beta": 2.5, "delta": 0.7, "forget_weight": 0.3, "retain_weight": 2.0},
        lambda b: simnpo(b, 2.5, 0.7),
        token_nll,
    ),
    "idk": Case({"forget_weight": 0.3, "retain_weight": 2.0}, lambda b: token_nll(b.idk), token_nll),
    "dpo": Case({"beta": 0.4, "forget_weight": 0.3, "retain_weight": 2.0}, lambda b: dpo(b, 0.4), token_nll),
}
DEFAULTS = {
    "retain_finetune": {"retain_weight": 1.0},
    "ga": {"forget_weight": 1.0},
    "graddiff": {"forget_weight": 1.0, "retain_weight": 1.0},
    "kl": {"forget_weight": 1.0, "retain_weight": 1.0},
    "npo": {"beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0},
    "simnpo": {"beta": 4.5, "delta": 0.0, "forget_weight": 0.125, "retain_weight": 1.0},
    "idk": {"forget_weight": 1.0, "retain_weight": 1.0},
    "dpo": {"beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0},
}


@pytest.fixture
def forget() -> Batch:
    return make_batch(FORGET, seed=1, refusals=True)


@pytest.fixture
def retain() -> Batch:
    return make_batch(RETAIN, seed=2)


@pytest.fixture(params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def method(name: str) -> Method:
    return build_method(name, **CASES[name].options)


def leaves(*batches: Batch) -> list[Tensor]:
    """The logits of the batches, and of their refusals."""
    return [each.inputs["logits"] for batch in batches for each in (batch, batch.idk) if each is not None]


def gradients(loss: Tensor, *batches: Batch) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves(*batches), allow_unused=True, materialize_grads=True))


def test_every_method_has_its_case_and_its_defaults() -> None:
    assert set(CASES) == set(DEFAULTS) == set(METHODS)
    for name, method in METHODS.items():
        assert {field.name: field.default for field in fields(method)} == DEFAULTS[name]
        assert set(CASES[name].options) == set(DEFAULTS[name]), "the case leaves an option at its default"


def test_loss_and_gradient_equal_the_reference(name: str, method: Method, forget: Batch, retain: Batch) -> None:
    case = CASES[name]
    found = method.loss(forward, forget, retain)
    expected = torch.zeros((), dtype=torch.float64)
    for part, term, batch, weight in [
        (found.forget, case.forget, forget, case.options.get("forget_weight")),
        (found.retain, case.retain, retain, case.options.get("retain_weight")),
    ]:
        assert (part is None) == (term is None) == (weight is None)
        if part is not None and term is not None:
            torch.testing.assert_close(part, term(batch), rtol=1e-10, atol=1e-12)
            expected = expected + weight * term(batch)
    torch.testing.assert_close(found.total, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(gradients(found.total, forget, retain), gradients(expected, forget, retain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_gradient_is_exactly_zero_away_from_answers(method: Method, forget: Batch, retain: Batch) -> None:
    total = method.loss(forward, forget, retain).total
    batches = [each for batch in (forget, retain) for each in (batch, batch.idk) if each is not None]
    for batch, gradient in zip(batches, gradients(total, forget, retain), strict=True):
        predicts = torch.nn.functional.pad(batch.labels[:, 1:] != -100, (0, 1))
        assert (gradient[~predicts] == 0).all()


def pad(batch: Batch | None, amount: int) -> Batch | None:
    if batch is None or batch.ref_logits is None:
        return None
    ref_logits = torch.nn.functional.pad(batch.ref_logits(), (0, 0, 0, amount), value=7.0)
    return replace(
        batch,
        inputs={"logits": torch.nn.functional.pad(forward(batch), (0, 0, 0, amount), value=-3.0)},
        labels=torch.nn.functional.pad(batch.labels, (0, amount), value=-100),
        ref_logits=lambda: ref_logits,
        idk=pad(batch.idk, amount),
    )


def test_padding_changes_nothing(method: Method, forget: Batch, retain: Batch) -> None:
    plain, padded = method.loss(forward, forget, retain), method.loss(forward, pad(forget, 9), pad(retain, 4))
    torch.testing.assert_close(padded.total, plain.total, rtol=1e-12, atol=0)


def part(batch: Batch | None, rows: slice, *, whole: Batch) -> Batch | None:
    """Some rows of a batch, as a part of the optimizer step that the whole batch is."""
    if batch is None or batch.ref_logits is None or batch.ref_logps is None:
        return None
    ref_logits = batch.ref_logits()[rows]
    return replace(
        batch,
        inputs={"logits": forward(batch)[rows]},
        labels=batch.labels[rows],
        ref_logps=batch.ref_logps[rows],
        ref_logits=lambda: ref_logits,
        idk=part(batch.idk, rows, whole=whole),
        step_tokens=int((batch.labels != -100).sum()),
        step_sequences=len(whole.labels),
    )


def test_splitting_the_step_changes_nothing(method: Method, forget: Batch, retain: Batch) -> None:
    whole = method.loss(forward, forget, retain)
    splits = [(slice(0, 1), slice(0, 1)), (slice(1, 3), slice(1, 2))]
    pieces = [
        method.loss(forward, part(forget, first, whole=forget), part(retain, second, whole=retain))
        for first, second in splits
    ]
    summed = LossParts(*(None if values[0] is None else sum(values) for values in zip(*pieces, strict=True)))
    for ours, theirs in zip(summed, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for ours, theirs in zip(
        gradients(summed.total, forget, retain), gradients(whole.total, forget, retain), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_only_what_is_needed_is_read(method: Method, forget: Batch, retain: Batch) -> None:
    needs = method.needs
    keep = {
        "ref_logps": forget.ref_logps if "ref_logps" in needs else None,
        "idk": replace(forget.idk, ref_logits=None) if forget.idk and "idk" in needs else None,
    }
    bare = method.loss(
        forward,
        replace(forget, ref_logits=None, **keep) if "forget" in needs else None,
        replace(retain, ref_logps=None, ref_logits=retain.ref_logits if "ref_logits" in needs else None)
        if "retain" in needs
        else None,
    )
    torch.testing.assert_close(bare.total, method.loss(forward, forget, retain).total, rtol=0, atol=0)


def without(need: str, forget: Batch, retain: Batch) -> tuple[Batch | None, Batch | None]:
    match need:
        case "forget":
            return None, retain
        case "retain":
            return forget, None
        case _:
            return replace(forget, **{need: None}), replace(retain, **{need: None})


def test_what_is_missing_is_named(method: Method, forget: Batch, retain: Batch) -> None:
    for need in method.needs:
        with pytest.raises(ValueError, match=f"this method needs `{need}`, which is missing: .*"):
            method.loss(forward, *without(need, forget, retain))


def test_dpo_needs_the_reference_of_both_answers(forget: Batch, retain: Batch) -> None:
    assert forget.idk is not None
    for half in [replace(forget, ref_logps=None), replace(forget, idk=replace(forget.idk, ref_logps=None))]:
        with pytest.raises(ValueError, match="needs `ref_logps`"):
            build_method("dpo").loss(forward, half, retain)


def test_npo_has_the_gradient_of_sequence_level_ascent_as_beta_vanishes(forget: Batch, retain: Batch) -> None:
    npo_term = build_method("npo", beta=1e-9).loss(forward, forget, retain).forget
    ascent = mean([sum(sample.logps) for sample in samples(forget)])
    assert npo_term is not None
    torch.testing.assert_close(gradients(npo_term, forget)[0], gradients(ascent, forget)[0], rtol=1e-6, atol=1e-9)


def test_dpo_at_the_reference_is_log_two(forget: Batch, retain: Batch) -> None:
    def at_reference(batch: Batch) -> Batch:
        ref = torch.stack([sum(sample.logps) for sample in samples(batch)]).detach()
        return replace(batch, ref_logps=ref, idk=batch.idk and at_reference(batch.idk))

    found = build_method("dpo", beta=0.3).loss(forward, at_reference(forget), retain).forget
    assert found is not None and found.item() == pytest.approx(2 / 0.3 * math.log(2), rel=1e-12)


def test_kl_is_zero_at_the_reference(forget: Batch, retain: Batch) -> None:
    same = replace(retain, ref_logits=lambda: forward(retain).detach())
    found = build_method("kl").loss(forward, forget, same).retain
    assert found is not None and found.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.forget and case.retain])
def test_a_zero_retain_weight_leaves_the_retain_gradient_zero(name: str, forget: Batch, retain: Batch) -> None:
    total = build_method(name, retain_weight=0.0).loss(forward, forget, retain).total
    assert (gradients(total, retain)[0] == 0).all()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    for option in fields(METHODS[name]):
        if option.name == "delta" and value == -1.0:
            continue  # a margin may be negative
        with pytest.raises(ValueError, match=f"`{option.name}` must be .*, got {value}"):
            build_method(name, **{option.name: value})


@pytest.mark.usefixtures("unenforced")
def test_weights_that_would_undo_the_method_are_refused(name: str) -> None:
    own = "retain_weight" if name == "retain_finetune" else "forget_weight"
    with pytest.raises(ValueError, match=f"`{own}` must be positive, got 0"):
        build_method(name, **{own: 0.0})
    with pytest.raises(TypeError, match=f"`{own}` must be a number, got True"):
        METHODS[name](**{own: True})


def test_a_method_is_its_options(name: str) -> None:
    options: dict[str, Any] = CASES[name].options
    assert build_method(name, **options) == METHODS[name](**options)
    assert hash(build_method(name)) == hash(METHODS[name]())
    assert build_method(name, **options) != build_method(name)
    with pytest.raises(FrozenInstanceError):
        build_method(name).forget_weight = 2.0  # type: ignore[attr-defined]


def test_papers_summaries_and_needs_are_stated(name: str) -> None:
    method = METHODS[name]
    assert "https://" in method.paper
    assert "\n" not in method.summary and method.summary.endswith(".")
    assert method.needs <= {"forget", "retain", "idk", "ref_logps", "ref_logits"}
