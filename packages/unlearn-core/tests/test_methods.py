"""Every method against a reference of loops in float64, and under padding, splitting and missing parts: one table."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from unlearn_core import GA, METHODS, NPO, Batch, Forward, LossParts, Method, build_method

OTHERS = ("idk", "alternate", "random", "shuffled")


class Token(NamedTuple):
    """An answer token: its id and what was said where it was predicted, by the model and by the reference."""

    id: int
    logits: Tensor
    ref_logits: Tensor


def answers(batch: Batch | None) -> list[list[Token]]:
    """The answer tokens of every sample."""
    assert batch is not None and batch.ref_logits is not None
    samples = zip(batch.inputs["logits"], batch.ref_logits(), batch.labels.tolist(), strict=True)
    return [
        [Token(label, own[t - 1], ref[t - 1]) for t, label in enumerate(labels) if t > 0 and label != -100]
        for own, ref, labels in samples
    ]


def tokens(batch: Batch | None) -> list[Token]:
    return [token for sample in answers(batch) for token in sample]


def p(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum()


def mean(values: list[Tensor]) -> Tensor:
    return sum(values, torch.zeros((), dtype=torch.float64)) / len(values)


def nll(batch: Batch | None) -> Tensor:
    return mean([-p(token.logits)[token.id].log() for token in tokens(batch)])


def divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """KL(ours ‖ theirs), entry by entry."""
    return sum((a * (a / b).log() for a, b in zip(ours, theirs, strict=True)), torch.zeros((), dtype=torch.float64))


def kl(batch: Batch | None) -> Tensor:
    return mean([divergence(p(token.ref_logits), p(token.logits)) for token in tokens(batch)])


def neg_entropy(batch: Batch) -> Tensor:
    return mean([(p(token.logits) * p(token.logits).log()).sum() for token in tokens(batch)])


def ratios(batch: Batch | None) -> list[Tensor]:
    """Log of model over reference of every sample's answer."""
    assert batch is not None and batch.ref_logps is not None
    logps = [sum(p(token.logits)[token.id].log() for token in sample) for sample in answers(batch)]
    return [logp - ref for logp, ref in zip(logps, batch.ref_logps, strict=True)]


def npo(batch: Batch, beta: float) -> Tensor:
    return mean([2 / beta * torch.log(1 + ratio.exp() ** beta) for ratio in ratios(batch)])


def simnpo(batch: Batch, beta: float, delta: float) -> Tensor:
    margins = [mean([-p(token.logits)[token.id].log() for token in sample]) - delta for sample in answers(batch)]
    return mean([-2 / beta * torch.log(1 / (1 + torch.exp(-beta * margin))) for margin in margins])


def dpo(win: Batch | None, lose: Batch, beta: float) -> Tensor:
    margins = [better - worse for better, worse in zip(ratios(win), ratios(lose), strict=True)]
    return mean([-2 / beta * torch.log(1 / (1 + torch.exp(-beta * margin))) for margin in margins])


def weighted_ascent(batch: Batch, weight: Callable[[float], float]) -> Tensor:
    probs = [p(token.logits)[token.id] for token in tokens(batch)]
    return mean([weight(prob.item()) * prob.log() for prob in probs])


def undial(batch: Batch, beta: float) -> Tensor:
    terms = []
    for token in tokens(batch):
        aim = token.ref_logits.clone()
        aim[token.id] -= beta
        terms.append(-sum(a * b.log() for a, b in zip(p(aim), p(token.logits), strict=True)))
    return mean(terms)


def ceu(batch: Batch) -> Tensor:
    terms = []
    for token in tokens(batch):
        others = [v for v in range(len(token.logits)) if v != token.id]
        aim = p(token.logits[others]).detach()
        terms.append(-sum(a * p(token.logits)[v].log() for a, v in zip(aim, others, strict=True)))
    return mean(terms)


def from_uniform(batch: Batch) -> Tensor:
    return mean(
        [divergence(torch.full_like(token.logits, 1 / len(token.logits)), p(token.logits)) for token in tokens(batch)]
    )


def js(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    tiny = 1e-300  # 0 · log 0 = 0
    mixtures = [((a + b) / 2, a + tiny, b + tiny) for a, b in pairs]
    return mean([(divergence(a, middle) + divergence(b, middle)) / 2 for middle, a, b in mixtures])


def onehots(batch: Batch | None) -> list[tuple[Tensor, Tensor]]:
    return [(p(token.logits), torch.eye(len(token.logits), dtype=torch.float64)[token.id]) for token in tokens(batch)]


def flat(batch: Batch, name: str) -> Tensor:
    """From the variational function and the conjugate of the paper's table."""
    variational, conjugate = {
        "tv": (lambda v: v.tanh() / 2, lambda u: u),
        "kl": (lambda v: v, lambda u: (u - 1).exp()),
        "js": (lambda v: torch.log(2 / (1 + (-v).exp())), lambda u: -torch.log(2 - u.exp())),
        "pearson": (lambda v: v, lambda u: u**2 / 4 + u),
    }[name]
    sides = [
        [mean([p(token.logits)[token.id] for token in row]) for row in answers(each)] for each in (batch.idk, batch)
    ]
    return mean([conjugate(variational(bad)) - variational(good) for good, bad in zip(*sides, strict=True)])


def margin(batch: Batch) -> Tensor:
    return mean([(token.logits.max() - token.logits.mean()) ** 2 for token in tokens(batch)])


def steered_to(batch: Batch, scale: float, seed: int) -> Tensor:
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    aim = scale * drawn / (drawn**2).sum().sqrt()
    return mean([((token.logits - aim) ** 2).sum() for token in tokens(batch)])


def distances(batch: Batch, factor: float) -> list[Tensor]:
    """Squared, from the reference's hidden states, which are its logits times a factor."""
    return [((token.logits - factor * token.ref_logits) ** 2).sum() for token in tokens(batch)]


def cosines(batch: Batch, factor: float) -> list[Tensor]:
    pairs = [(token.logits, factor * token.ref_logits) for token in tokens(batch)]
    return [(a * b).sum() / ((a**2).sum() * (b**2).sum()).sqrt() for a, b in pairs]


def attacked(batch: Batch, epsilon: float, step: float, steps: int) -> Tensor:
    """NLL with the last position of each prompt pushed towards the answer; no other decides about it."""
    terms = []
    for sample in answers(batch):
        push = torch.zeros_like(sample[0].logits)
        for _ in range(steps):
            slope = p(sample[0].logits + push).detach()
            slope[sample[0].id] -= 1
            push = push - step * slope / (slope**2).sum().sqrt()
            push = push * min(1.0, epsilon / (push**2).sum().sqrt().item())
        terms += [-p(token.logits + (push if n == 0 else 0))[token.id].log() for n, token in enumerate(sample)]
    return mean(terms)


class Case(NamedTuple):
    """Options away from the defaults, the terms before weighting, and how they add up: all from the paper."""

    options: dict[str, Any]
    forget: Callable[[Batch], Tensor] | None
    retain: Callable[[Batch], Tensor] | None
    total: Callable[..., Tensor] = lambda forget, retain: 0.3 * forget + 2 * retain
    step: int = 0


WEIGHTS = {"forget_weight": 0.3, "retain_weight": 2.0}
ONE = {"forget_weight": 0.3}


def alone(forget: Tensor, retain: None) -> Tensor:
    return 0.3 * forget


CASES = {
    "retain_finetune": Case({"retain_weight": 0.5}, None, nll, lambda f, r: 0.5 * r),
    "ga": Case(ONE, lambda b: -nll(b), None, alone),
    "graddiff": Case({"forget_form": "nll", "retain_form": "nll", **WEIGHTS}, lambda b: -nll(b), nll),
    "graddiff:kl": Case({"forget_form": "kl", "retain_form": "kl", **WEIGHTS}, lambda b: -kl(b), kl),
    "graddiff:entropy": Case({"forget_form": "entropy", "retain_form": "nll", **WEIGHTS}, neg_entropy, nll),
    "kl": Case(WEIGHTS, lambda b: -nll(b), kl),
    "npo": Case({"beta": 0.4, **WEIGHTS}, lambda b: npo(b, 0.4), nll),
    "simnpo": Case({"beta": 2.5, "delta": 0.7, **WEIGHTS}, lambda b: simnpo(b, 2.5, 0.7), nll),
    "idk": Case(WEIGHTS, lambda b: nll(b.idk), nll),
    "dpo": Case({"beta": 0.4, **WEIGHTS}, lambda b: dpo(b.idk, b, 0.4), nll),
    "altpo": Case({"beta": 0.4, **WEIGHTS}, lambda b: dpo(b.alternate, b, 0.4), nll),
    "wga": Case({"beta": 0.7, **WEIGHTS}, lambda b: weighted_ascent(b, lambda q: q**0.7), nll),
    "satimp": Case(
        {"beta1": 0.7, "beta2": 1.6, **WEIGHTS}, lambda b: weighted_ascent(b, lambda q: q**0.7 * (1 - q) ** 1.6), nll
    ),
    "undial": Case({"beta": 3.0, **ONE}, lambda b: undial(b, 3.0), None, alone),
    "ceu": Case(ONE, ceu, None, alone),
    "me": Case(WEIGHTS, from_uniform, nll),
    "jensun": Case(
        WEIGHTS,
        lambda b: js(onehots(b.idk)),
        lambda b: js([(p(token.logits), p(token.ref_logits)) for token in tokens(b)]),
    ),
    **{
        f"flat:{name}": Case({"divergence": name, **ONE}, lambda b, name=name: flat(b, name), None, alone)
        for name in ("tv", "kl", "js", "pearson")
    },
    "pdu": Case(
        {"tolerance": 0.4, "dual": 7.0, "dual_step": 0.5, **ONE}, margin, nll, lambda f, r: 0.3 * f + 3 * (r - 0.4)
    ),
    "llmu": Case({"random_weight": 0.6, **WEIGHTS}, lambda b: 0.6 * nll(b.random) - nll(b), kl),
    "scrub": Case({"ascent": 0.4, "kl_weight": 0.7, **WEIGHTS}, lambda b: -kl(b), None, alone),
    "scrub:descent": Case(
        {"ascent": 1.0, "kl_weight": 0.7, **WEIGHTS},
        None,
        nll,
        lambda f, r: 2 * r,
        step=1,
    ),
    "sku": Case({"random_weight": 0.6, **WEIGHTS}, lambda b: nll(b) + 0.6 * nll(b.shuffled), lambda b: -kl(b)),
    "rmu": Case(
        {"layer": 1, "scale": 2.5, "seed": 3, **WEIGHTS},
        lambda b: steered_to(b, 2.5, 3),
        lambda b: mean(distances(b, 1.5)),
    ),
    "circuit_breaker": Case(
        {"layer": 1, "weight": 4.0},
        lambda b: mean([max(cosine, cosine * 0) for cosine in cosines(b, 1.5)]),
        lambda b: mean([distance.sqrt() for distance in distances(b, 1.5)]),
        lambda f, r: 4 * (1 - 6 / 20) * f + 4 * 6 / 20 * r,
        step=6,
    ),
    "lat": Case(
        {"inner": GA(forget_weight=0.3), "layer": 1, "epsilon": 1.1, "step_size": 0.5, "attack_steps": 4},
        lambda b: -attacked(b, 1.1, 0.5, 4),
        None,
        alone,
    ),
}
DEFAULTS = {
    "retain_finetune": {"retain_weight": 1.0},
    "ga": {"forget_weight": 1.0},
    "graddiff": {"forget_form": "nll", "retain_form": "nll", "forget_weight": 1.0, "retain_weight": 1.0},
    "kl": {"forget_weight": 1.0, "retain_weight": 1.0},
    "npo": {"beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0},
    "simnpo": {"beta": 4.5, "delta": 0.0, "forget_weight": 0.125, "retain_weight": 1.0},
    "idk": {"forget_weight": 1.0, "retain_weight": 1.0},
    "dpo": {"beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0},
    "altpo": {"beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0},
    "wga": {"beta": 1.0, "forget_weight": 1.0, "retain_weight": 1.0},
    "satimp": {"beta1": 5.0, "beta2": 1.0, "forget_weight": 1.0, "retain_weight": 0.1},
    "undial": {"beta": 10.0, "forget_weight": 1.0},
    "ceu": {"forget_weight": 1.0},
    "me": {"forget_weight": 0.1, "retain_weight": 1.0},
    "jensun": {"forget_weight": 1.0, "retain_weight": 1.0},
    "flat": {"divergence": "tv", "forget_weight": 1.0},
    "pdu": {"tolerance": 0.3, "dual": 50.0, "dual_step": 1.0, "forget_weight": 1.0},
    "llmu": {"forget_weight": 0.5, "random_weight": 2.0, "retain_weight": 1.0},
    "scrub": {"ascent": 0.5, "forget_weight": 1.0, "retain_weight": 0.99, "kl_weight": 0.001},
    "sku": {"forget_weight": 1.0, "random_weight": 1.0, "retain_weight": 1.0},
    "rmu": {"layer": 7, "scale": 6.5, "seed": 0, "forget_weight": 1.0, "retain_weight": 1200.0},
    "circuit_breaker": {"layer": 20, "weight": 10.0},
    "lat": {"inner": build_method("graddiff"), "layer": 8, "epsilon": 6.0, "step_size": 1.5, "attack_steps": 8},
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def method(case: str) -> Method:
    return build_method(case.partition(":")[0], **CASES[case].options)


@pytest.fixture
def forget(case: str, make_batch: Callable[..., Batch]) -> Batch:
    return make_batch("forget", seed=1, step=CASES[case].step, steps=10)


@pytest.fixture
def retain(case: str, make_batch: Callable[..., Batch]) -> Batch:
    return make_batch("retain", seed=2, step=CASES[case].step, steps=10)


@pytest.fixture(params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def others(batch: Batch) -> list[Batch]:
    return [each for each in (getattr(batch, name) for name in OTHERS) if each is not None]


def leaves(*batches: Batch) -> list[Tensor]:
    """The logits of the batches, and of the other answers to their questions."""
    return [each.inputs["logits"] for batch in batches for each in (batch, *others(batch))]


def gradients(loss: Tensor, *batches: Batch) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves(*batches), allow_unused=True, materialize_grads=True))


def test_every_method_has_its_case_and_its_defaults() -> None:
    assert {case.partition(":")[0] for case in CASES} == set(DEFAULTS) == set(METHODS)
    for name, method in METHODS.items():
        assert {field.name: field.default for field in fields(method)} == DEFAULTS[name]  # type: ignore[arg-type]
    for case, (options, *_) in CASES.items():
        assert set(options) == set(DEFAULTS[case.partition(":")[0]]), "the case leaves an option at its default"


def test_loss_and_gradient_equal_the_reference(
    case: str, method: Method, forward: Forward, forget: Batch, retain: Batch
) -> None:
    _, forget_term, retain_term, add, _ = CASES[case]
    found = method.loss(forward, forget, retain)
    wanted = [None if term is None else term(batch) for term, batch in [(forget_term, forget), (retain_term, retain)]]
    for part, term in zip((found.forget, found.retain), wanted, strict=True):
        assert (part is None) == (term is None)
        if part is not None:
            torch.testing.assert_close(part, term, rtol=1e-10, atol=1e-12)
    expected = add(*wanted)
    if case == "scrub:descent":
        expected = expected + 0.7 * kl(retain)
    torch.testing.assert_close(found.total, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(gradients(found.total, forget, retain), gradients(expected, forget, retain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_gradient_is_exactly_zero_away_from_answers(
    method: Method, forward: Forward, forget: Batch, retain: Batch
) -> None:
    total = method.loss(forward, forget, retain).total
    batches = [each for batch in (forget, retain) for each in (batch, *others(batch))]
    read = 0
    for batch, gradient in zip(batches, gradients(total, forget, retain), strict=True):
        predicts = torch.nn.functional.pad(batch.labels[:, 1:] != -100, (0, 1))
        assert (gradient[~predicts] == 0).all()
        read += bool((gradient[predicts].abs().sum(-1) > 0).all())
    assert read > 0, "every answer token of some batch has a gradient"


def pad(batch: Batch, amount: int) -> Batch:
    assert batch.ref_logits is not None and batch.ref_hidden is not None
    ref, hidden = batch.ref_logits(), batch.ref_hidden
    longer = {"pad": (0, 0, 0, amount), "value": 7.0}
    return replace(
        batch,
        inputs={"logits": torch.nn.functional.pad(batch.inputs["logits"], **longer)},
        labels=torch.nn.functional.pad(batch.labels, (0, amount), value=-100),
        ref_logits=lambda: torch.nn.functional.pad(ref, **longer),
        ref_hidden=lambda layer: torch.nn.functional.pad(hidden(layer), **longer),
        **{name: pad(other, amount) for name in OTHERS if (other := getattr(batch, name)) is not None},
    )


def test_padding_changes_nothing(method: Method, forward: Forward, forget: Batch, retain: Batch) -> None:
    plain, padded = method.loss(forward, forget, retain), method.loss(forward, pad(forget, 9), pad(retain, 4))
    torch.testing.assert_close(padded.total, plain.total, rtol=1e-12, atol=0)
    for ours, theirs in zip(
        gradients(padded.total, forget, retain), gradients(plain.total, forget, retain), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def cut(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, as a part of the optimizer step that the whole batch is."""
    assert batch.ref_logits is not None and batch.ref_hidden is not None and batch.ref_logps is not None
    ref, hidden = batch.ref_logits(), batch.ref_hidden
    return replace(
        batch,
        inputs={"logits": batch.inputs["logits"][rows]},
        labels=batch.labels[rows],
        ref_logps=batch.ref_logps[rows],
        ref_logits=lambda: ref[rows],
        ref_hidden=lambda layer: hidden(layer)[rows],
        step_tokens=int((batch.labels != -100).sum()),
        step_sequences=len(batch.labels),
        **{name: cut(other, rows) for name in OTHERS if (other := getattr(batch, name)) is not None},
    )


def test_splitting_the_step_changes_nothing(method: Method, forward: Forward, forget: Batch, retain: Batch) -> None:
    whole = method.loss(forward, forget, retain)
    splits = [(slice(0, 1), slice(0, 1)), (slice(1, 3), slice(1, 2))]
    pieces = [method.loss(forward, cut(forget, first), cut(retain, second)) for first, second in splits]
    summed = LossParts(*(None if values[0] is None else sum(values) for values in zip(*pieces, strict=True)))
    for ours, theirs in zip(summed, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(
        gradients(summed.total, forget, retain), gradients(whole.total, forget, retain), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def stripped(batch: Batch, needs: frozenset[str]) -> Batch:
    """The batch with nothing that was not asked for."""
    kept = {name: stripped(other, needs) for name in OTHERS if name in needs and (other := getattr(batch, name))}
    references = {name: getattr(batch, name) for name in ("ref_logps", "ref_logits", "ref_hidden") if name in needs}
    times = {"step": batch.step, "steps": batch.steps, "state": batch.state}
    return Batch(inputs=batch.inputs, labels=batch.labels, **kept, **references, **times)


def test_what_is_asked_for_is_enough(method: Method, forward: Forward, forget: Batch, retain: Batch) -> None:
    needs = method.asks()
    assert needs <= method.needs | {"retain", "idk", "alternate", "random", "shuffled"}
    sides = [
        stripped(batch, needs) if side in needs else None for side, batch in [("forget", forget), ("retain", retain)]
    ]
    found = method.loss(forward, *sides)
    torch.testing.assert_close(found.total, method.loss(forward, forget, retain).total, rtol=0, atol=0)


def test_what_is_missing_is_named(method: Method, forward: Forward, forget: Batch, retain: Batch) -> None:
    for need in method.asks():
        sides = [
            None if side == need else stripped(batch, method.asks() - {need})
            for side, batch in [("forget", forget), ("retain", retain)]
        ]
        with pytest.raises(ValueError, match=f"this method needs `{need}`, which is missing: .*"):
            method.loss(forward, *sides)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    for option in fields(METHODS[name]):  # type: ignore[arg-type]
        if option.type is not float or (option.name == "delta" and value == -1.0):
            continue  # a margin may be negative
        with pytest.raises(ValueError, match=f"`{option.name}` must be .*, got {value}"):
            build_method(name, **{option.name: value})


@pytest.mark.usefixtures("unenforced")
def test_options_of_another_type_are_refused(name: str) -> None:
    for option in fields(METHODS[name]):  # type: ignore[arg-type]
        if option.type is str:
            with pytest.raises(ValueError, match=f"`{option.name}` must be one of .*, got 'x'"):
                METHODS[name](**{option.name: "x"})
        else:
            with pytest.raises(TypeError, match=f"`{option.name}` must be a .*, got 'x'"):
                METHODS[name](**{option.name: "x"})
        if option.type is float:
            with pytest.raises(TypeError, match=f"`{option.name}` must be a number, got True"):
                METHODS[name](**{option.name: True})


@pytest.mark.usefixtures("unenforced")
def test_weights_that_would_undo_the_method_are_refused(name: str) -> None:
    own = {"retain_finetune": "retain_weight", "circuit_breaker": "weight", "lat": "epsilon"}.get(name, "forget_weight")
    with pytest.raises(ValueError, match=f"`{own}` must be positive, got 0"):
        build_method(name, **{own: 0.0})


def test_a_method_is_its_options(case: str, method: Method) -> None:
    name, options = case.partition(":")[0], CASES[case].options
    assert method == METHODS[name](**options)
    assert hash(build_method(name)) == hash(METHODS[name]())
    assert method != build_method(name)
    with pytest.raises(FrozenInstanceError):
        method.forget_weight = 2.0  # type: ignore[attr-defined]


def test_papers_summaries_and_needs_are_stated(name: str) -> None:
    method = METHODS[name]
    assert "https://" in method.paper
    assert "\n" not in method.summary and method.summary.endswith(".")
    assert method.needs <= {"forget", "retain", *OTHERS, "ref_logps", "ref_logits", "ref_hidden"}
    assert method.needs
    assert build_method(name).asks() <= method.needs | {"retain"}


def test_the_reference_of_both_answers_is_needed(make_batch: Callable[..., Batch], forward: Forward) -> None:
    forget, retain = make_batch("forget", seed=1), make_batch("retain", seed=2)
    for name, other in [("dpo", "idk"), ("altpo", "alternate")]:
        answer = getattr(forget, other)
        for half in [replace(forget, ref_logps=None), replace(forget, **{other: replace(answer, ref_logps=None)})]:
            with pytest.raises(ValueError, match="needs `ref_logps`"):
                build_method(name).loss(forward, half, retain)


def test_lat_takes_any_method_and_passes_on_what_that_carries(forward: Forward) -> None:
    lat = build_method("lat", inner=NPO())
    assert lat.asks() == {"forget", "retain", "ref_logps"}
    primal = build_method("pdu", dual=2.0, tolerance=1.0, dual_step=1.0)
    around = build_method("lat", inner=primal)
    assert around.start() == primal.start() == {"dual": 2.0}
    assert around.advance({"dual": 2.0}, {"forget": 9.0, "retain": 1.5}) == {"dual": 2.5}
