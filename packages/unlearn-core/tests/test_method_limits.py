"""What each paper says of its method's limits, and how methods turn into one another there."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from unlearn_core import LAT, PDU, SCRUB, Batch, Forward, GradDiff, Method, build_method
from unlearn_core.losses import nll_loss, sequence_logps


def with_logits(batch: Batch, logits: Tensor, **more: object) -> Batch:
    return replace(batch, inputs={"logits": logits}, **more)


def at_reference(batch: Batch) -> Batch:
    """The batch as it is before the first step: the model is its own reference."""
    logits = batch.inputs["logits"].detach()
    return replace(
        batch,
        ref_logits=lambda: logits,
        ref_hidden=lambda layer: logits,
        ref_logps=sequence_logps(logits, batch.labels).sum,
        **{name: at_reference(other) for name in ("idk", "alternate") if (other := getattr(batch, name)) is not None},
    )


def forget_gradient(method: Method, forward: Forward, forget: Batch, retain: Batch) -> Tensor:
    term = method.loss(forward, forget, retain).forget
    assert term is not None
    (gradient,) = torch.autograd.grad(term, forget.inputs["logits"])
    return gradient


def test_npo_has_the_gradient_of_sequence_level_ascent_as_beta_vanishes(
    forward: Forward, forget: Batch, retain: Batch
) -> None:
    found = forget_gradient(build_method("npo", beta=1e-9), forward, forget, retain)
    ascent = sequence_logps(forget.inputs["logits"], forget.labels).sum.mean()
    torch.testing.assert_close(found, torch.autograd.grad(ascent, forget.inputs["logits"])[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["npo", "dpo", "altpo"])
def test_preferences_at_the_reference_are_log_two(name: str, forward: Forward, forget: Batch, retain: Batch) -> None:
    found = build_method(name, beta=0.3).loss(forward, at_reference(forget), retain).forget
    assert found is not None and found.item() == pytest.approx(2 / 0.3 * math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("limit", "other"),
    [
        (build_method("wga", beta=0.0), build_method("graddiff")),
        (build_method("satimp", beta1=0.7, beta2=0.0), build_method("wga", beta=0.7, retain_weight=0.1)),
        (build_method("graddiff", retain_form="kl"), build_method("kl")),
        (build_method("llmu", random_weight=0.0, forget_weight=1.0), build_method("kl")),
        (build_method("lat", inner=build_method("npo"), attack_steps=0), build_method("npo")),
        (build_method("lat", inner=build_method("npo"), epsilon=1e-12), build_method("npo")),
        (build_method("satimp", beta1=0.0, beta2=0.0, retain_weight=1.0), build_method("graddiff")),
    ],
    ids=repr,
)
def test_one_method_is_another_at_its_limit(
    limit: Method, other: Method, forward: Forward, forget: Batch, retain: Batch
) -> None:
    ours, theirs = (method.loss(forward, forget, retain) for method in (limit, other))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_altpo_is_dpo_with_alternates_for_refusals(forward: Forward, forget: Batch, retain: Batch) -> None:
    swapped = replace(forget, idk=forget.alternate)
    altpo, dpo = build_method("altpo"), build_method("dpo")
    torch.testing.assert_close(altpo.loss(forward, forget, retain), dpo.loss(forward, swapped, retain))


@pytest.mark.parametrize("name", ["kl", "jensun", "llmu", "sku", "rmu"])
def test_the_retain_term_is_least_at_the_reference(name: str, forward: Forward, forget: Batch, retain: Batch) -> None:
    options = {"layer": 0} if name == "rmu" else {}
    same = at_reference(retain)
    found = build_method(name, **options).loss(forward, forget, same).retain
    assert found is not None and found.item() == pytest.approx(0, abs=1e-12)
    (slope,) = torch.autograd.grad(found, same.inputs["logits"])
    assert slope.abs().max() < 1e-12


def test_undial_without_a_penalty_stays_at_the_reference(forward: Forward, forget: Batch, retain: Batch) -> None:
    tiny = forget_gradient(build_method("undial", beta=1e-9), forward, at_reference(forget), retain)
    assert tiny.abs().max() < 1e-8


@pytest.mark.parametrize(("name", "least"), [("me", 0.0), ("pdu", 0.0), ("graddiff", -math.log(6))])
def test_what_aims_at_no_idea_is_least_there(
    name: str, least: float, forward: Forward, forget: Batch, retain: Batch
) -> None:
    options = {"forget_form": "entropy"} if name == "graddiff" else {}
    flat = with_logits(forget, torch.full_like(forget.inputs["logits"], 5.0).detach().requires_grad_())
    found = build_method(name, **options).loss(forward, flat, retain).forget
    assert found is not None and found.item() == pytest.approx(least, abs=1e-12)
    assert forget_gradient(build_method(name, **options), forward, flat, retain).abs().max() < 1e-12


def test_jensun_is_bounded_on_both_sides(forward: Forward, forget: Batch, retain: Batch) -> None:
    idk = forget.idk
    assert idk is not None
    shape = idk.inputs["logits"].shape
    sure = 200 * torch.nn.functional.one_hot(idk.labels.clamp(min=0), shape[-1]).roll(-1, 1).double()
    for logits, bound in [(sure, 0.0), (-sure, math.log(2))]:
        found = build_method("jensun").loss(forward, replace(forget, idk=with_logits(idk, logits)), retain).forget
        assert found is not None and found.item() == pytest.approx(bound, abs=1e-12)


def test_total_variation_does_not_tell_a_refusal_from_itself(forward: Forward, forget: Batch, retain: Batch) -> None:
    found = build_method("flat").loss(forward, replace(forget, idk=forget), retain).forget
    assert found is not None and found.item() == 0


def test_ceu_keeps_the_proportions_of_the_rest(forward: Forward, forget: Batch, retain: Batch) -> None:
    gradient = forget_gradient(build_method("ceu"), forward, forget, retain)
    probs = forget.inputs["logits"].detach().softmax(-1)
    for row, place in (forget.labels != -100).nonzero().tolist():
        slope, p, label = gradient[row, place - 1], probs[row, place - 1], int(forget.labels[row, place])
        others = torch.arange(len(p)) != label
        # descent lowers the label's logit and raises the others' as their probabilities are
        torch.testing.assert_close(slope[others] / p[others], (slope[others] / p[others]).mean().expand(len(p) - 1))
        assert slope[label] > 0 and (slope[others] < 0).all()


def test_circuit_breaking_lets_go_of_what_points_elsewhere(forward: Forward, forget: Batch, retain: Batch) -> None:
    method = build_method("circuit_breaker", layer=0)
    assert forget.ref_hidden is not None
    away = with_logits(forget, (-forget.ref_hidden(0)).requires_grad_())
    assert method.loss(forward, away, retain).forget == 0
    assert (forget_gradient(method, forward, away, retain) == 0).all()
    along = with_logits(forget, (3 * forget.ref_hidden(0)).requires_grad_())
    found = method.loss(forward, along, retain).forget
    assert found is not None and found.item() == pytest.approx(1, rel=1e-9)


def test_circuit_breaking_shifts_from_turning_to_holding(make_batch: Callable[..., Batch], forward: Forward) -> None:
    method = build_method("circuit_breaker", layer=0, weight=8.0)
    for step, turn, hold in [(0, 8.0, 0.0), (5, 6.0, 2.0), (9, 4.4, 3.6)]:
        found = method.loss(forward, *(make_batch(side, seed=1, step=step, steps=10) for side in ("forget", "retain")))
        assert found.forget is not None and found.retain is not None
        torch.testing.assert_close(found.total, turn * found.forget + hold * found.retain)


def test_rmu_aims_at_the_same_vector_whatever_the_batch(forward: Forward, forget: Batch, retain: Batch) -> None:
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    aim = 6.5 * drawn / drawn.norm()
    assert (aim > 0).all()
    there = with_logits(forget, aim.expand_as(forget.inputs["logits"]))
    found = build_method("rmu", layer=0).loss(forward, there, retain).forget
    assert found is not None and found.item() == pytest.approx(0, abs=1e-20)


def test_pdu_raises_the_price_of_a_broken_promise_and_no_price_is_negative() -> None:
    method = PDU(tolerance=0.5, dual=1.0, dual_step=2.0)
    state = method.start()
    assert state == {"dual": 1.0}
    dearer = method.advance(state, {"forget": 9.0, "retain": 0.75})
    assert dearer == {"dual": 1.5} and state == {"dual": 1.0}
    assert method.advance(dearer, {"forget": 9.0, "retain": 0.25}) == {"dual": 1.0}
    assert method.advance(dearer, {"forget": 9.0, "retain": -9.0}) == {"dual": 0.0}


def test_methods_without_a_state_carry_nothing() -> None:
    assert build_method("npo").start() == {}
    assert build_method("npo").advance({}, {"forget": 1.0}) == {}


@pytest.mark.parametrize(
    ("ascent", "ascending"), [(0.0, []), (0.5, [0, 2, 4]), (0.6, [0, 2, 4]), (1.0, [0, 2, 4, 6, 8])]
)
def test_scrub_ascends_every_other_step_as_long_as_it_does(
    ascent: float, ascending: list[int], make_batch: Callable[..., Batch], forward: Forward
) -> None:
    method, found = SCRUB(ascent=ascent), []
    for step in range(10):
        sides = [make_batch(side, seed=1, step=step, steps=10) for side in ("forget", "retain")]
        parts = method.loss(forward, *sides)
        assert (parts.forget is None) != (parts.retain is None)
        found += [step] * (parts.forget is not None)
    assert found == ascending


@pytest.mark.parametrize(
    "name", ["graddiff", "kl", "npo", "simnpo", "idk", "dpo", "altpo", "wga", "satimp", "me", "jensun", "llmu", "sku"]
)
def test_a_zero_retain_weight_leaves_the_retain_gradient_zero(
    name: str, forward: Forward, forget: Batch, retain: Batch
) -> None:
    total = build_method(name, retain_weight=0.0).loss(forward, forget, retain).total
    assert (torch.autograd.grad(total, retain.inputs["logits"])[0] == 0).all()


class Watching(Method):
    """Notes what it is given; its loss is the forget NLL."""

    paper, summary, needs = "none", "Watches.", frozenset({"forget", "retain"})  # type: ignore[assignment]

    def loss(self, forward, forget, retain):  # type: ignore[no-untyped-def]
        self.seen = [forward(batch).detach() for batch in (forget, forget.idk, retain)]
        return GradDiff().loss(forward, forget, retain)


def test_the_attack_is_on_prompts_within_its_bound_and_lowers_the_loss(
    forward: Forward, forget: Batch, retain: Batch
) -> None:
    watching = Watching()
    LAT(inner=watching, layer=0, epsilon=1.5, step_size=0.5).loss(forward, forget, retain)
    assert forget.idk is not None
    plain = [batch.inputs["logits"].detach() for batch in (forget, forget.idk, retain)]
    pushed, pushed_idk, kept = (seen - before for seen, before in zip(watching.seen, plain, strict=True))
    assert (kept == 0).all()
    lengths = pushed.norm(dim=-1)
    first = (forget.labels != -100).int().argmax(1)
    places = torch.arange(lengths.shape[1]).expand_as(lengths)
    assert (lengths[places >= first[:, None]] == 0).all()
    torch.testing.assert_close(lengths[places == first[:, None] - 1], torch.full((3,), 1.5, dtype=torch.float64))
    torch.testing.assert_close(pushed_idk, pushed)  # the same prompts, pushed the same way
    assert nll_loss(plain[0] + pushed, forget.labels) < nll_loss(plain[0], forget.labels) - 0.1


@pytest.mark.usefixtures("unenforced")
def test_lat_refuses_what_is_no_method() -> None:
    with pytest.raises(TypeError, match=r"`inner` must be a loss method, got 'npo': `build_method` makes one"):
        LAT(inner="npo")  # type: ignore[arg-type]
