"""Gradient transforms: each against its formula, written out in float64 on models small enough to do by hand."""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unlearn_core import GRU, SAM, TRANSFORMS, WAGLE, Batch, LossParts, MMUnlearner, SalUn, build_method
from unlearn_core.forward import ModelForward
from unlearn_core.gradients import Gradients, nll_gradient, split_gradients, squared_gradients
from unlearn_core.material import Material, language_parameters
from unlearn_core.transform import transformed
from unlearn_core.transforms._masks import check_mask, highest, masked


def gradients(forget: dict[str, Any], retain: dict[str, Any], kept: dict[str, Any] | None = None) -> Gradients:
    parts = [
        {name: torch.tensor(value, dtype=torch.float64) for name, value in part.items()}
        for part in (forget, retain, retain if kept is None else kept)
    ]
    return Gradients(*parts)


# GRU


def rectify(forget: list[float], kept: list[float]) -> list[float]:
    """The projection, number by number."""
    against = sum(a * b for a, b in zip(forget, kept, strict=True))
    length = sum(b * b for b in kept)
    if against >= 0 or length == 0:
        return forget
    return [a - against / length * b for a, b in zip(forget, kept, strict=True)]


@pytest.mark.parametrize(
    ("forget", "kept"),
    [
        ([1.0, -2.0, 0.5], [-3.0, 1.0, 2.0]),  # against
        ([1.0, 2.0, 0.5], [3.0, 1.0, -2.0]),  # with
        ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),  # neither
        ([1.0, -2.0, 0.5], [0.0, 0.0, 0.0]),  # nothing is kept
        ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),  # straight against: nothing is left
    ],
)
def test_gru_projects_over_all_parameters_together(forget: list[float], kept: list[float]) -> None:
    step = gradients({"a": forget[:2], "b": forget[2:]}, {"a": [9.0, 9.0], "b": [9.0]}, {"a": kept[:2], "b": kept[2:]})
    found = GRU(average=1.0).gradients(lambda: step, {}, {})
    expected = rectify(forget, kept)
    assert torch.cat([found.forget["a"], found.forget["b"]]).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert sum(a * b for a, b in zip(expected, kept, strict=True)) >= -1e-12
    assert found.retain is step.retain


def test_gru_averages_what_is_kept_over_the_steps() -> None:
    state: dict[str, Tensor] = {}
    seen, average = [[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], [1.0, 0.0]
    for n, kept in enumerate(seen):
        found = GRU(average=0.7).gradients(lambda kept=kept: gradients({"w": [-1.0, -1.0]}, {"w": kept}), {}, state)
        if n:
            average = [0.7 * new + 0.3 * old for new, old in zip(kept, average, strict=True)]
        assert found.forget["w"].tolist() == pytest.approx(rectify([-1.0, -1.0], average), rel=1e-12)


# SAM


def test_sam_on_a_quadratic() -> None:
    """For ½ Σ cᵢ θᵢ², the gradient at θ + ρ g / ‖g‖ is c (θ + ρ c θ / ‖c θ‖)."""
    theta, c, rho = [1.0, -2.0, 3.0], [0.5, 4.0, 1.0], 0.1
    weight = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor(c, dtype=torch.float64)

    def step() -> Gradients:
        forget = {"w": (curvature * weight).detach().clone()}
        return Gradients(forget, {"w": weight.detach().clone()}, {"w": torch.zeros(3, dtype=torch.float64)})

    found = SAM(rho=rho).gradients(step, {"w": weight}, {})
    g = [a * b for a, b in zip(c, theta, strict=True)]
    norm = math.sqrt(sum(x * x for x in g))
    expected = [k * (t + rho * x / norm) for k, t, x in zip(c, theta, g, strict=True)]
    assert found.forget["w"].tolist() == pytest.approx(expected, rel=1e-12)
    assert found.retain["w"].tolist() == theta, "what is kept is measured where the weights are"
    assert weight.tolist() == theta, "bit for bit"


def test_sam_goes_to_the_plain_gradient_as_rho_vanishes() -> None:
    weight = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)

    def step() -> Gradients:
        found = {"w": torch.autograd.grad((weight**4).sum(), weight)[0]}
        return Gradients(found, found, found)

    torch.testing.assert_close(
        SAM(rho=1e-9).gradients(step, {"w": weight}, {}).forget["w"], step().forget["w"], rtol=1e-7, atol=0
    )


def test_sam_leaves_a_flat_loss_alone_and_weights_as_they_were_where_a_step_fails() -> None:
    weight = torch.tensor([0.1, 0.2], requires_grad=True)
    zero = {"w": torch.zeros(2)}
    assert SAM().gradients(lambda: Gradients(zero, zero, zero), {"w": weight}, {}).forget == zero
    calls: list[int] = []

    def failing() -> Gradients:
        calls.append(1)
        if len(calls) == 2:
            raise FloatingPointError("the loss is not finite")
        return Gradients({"w": torch.ones(2)}, zero, zero)

    before = weight.detach().clone()
    with pytest.raises(FloatingPointError):
        SAM(rho=1.0).gradients(failing, {"w": weight}, {})
    assert torch.equal(weight, before)


# Masks, on a model of two layers


class Net(nn.Module):
    """Embedding, hidden layer and output; what the decoder is can be told."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Linear(2, 3, bias=False)
        self.decoder = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))

    def get_decoder(self) -> nn.Module:
        return self.decoder

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, input_ids: Tensor, seen: Tensor | None = None) -> SimpleNamespace:
        state = self.decoder[0](input_ids)
        if seen is not None:
            state = state + self.eye(seen)[:, None]
        return SimpleNamespace(logits=self.decoder[1](torch.tanh(state)))


ROWS = {
    "forget": {"text": [([1, 2, 3], None)], "image": [([2, 4, 0], [1.0, -1.0]), ([0, 1, 1], [0.5, 2.0])]},
    "retain": {"text": [([4, 4, 1], None), ([3, 0, 2], None)], "image": [([1, 3, 4], [-1.0, 0.3])]},
}


def row_batch(rows: list[tuple[list[int], list[float] | None]]) -> Batch:
    ids = torch.tensor([ids for ids, _ in rows])
    labels = ids.clone()
    labels[:, 0] = -100
    inputs = {"input_ids": ids}
    if rows[0][1] is not None:
        inputs["seen"] = torch.tensor([seen for _, seen in rows], dtype=torch.float64)
    return Batch(inputs=inputs, labels=labels)


def given(rows: list[Any]) -> Callable[[int | None], Iterable[Batch]]:
    def batches(size: int | None) -> list[Batch]:
        size = size or 2
        return [row_batch(rows[start : start + size]) for start in range(0, len(rows), size)]

    return batches


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture
def material() -> Material:
    return Material(**{side: {name: given(rows) for name, rows in by.items()} for side, by in ROWS.items()})


def row_gradient(net: Net, ids: list[int], seen: list[float] | None) -> tuple[dict[str, Tensor], int]:
    """The gradient of a row's summed negative log-likelihood, token by token, and its number of tokens."""
    total = {name: torch.zeros_like(weight) for name, weight in net.named_parameters()}
    extra = {} if seen is None else {"seen": torch.tensor([seen], dtype=torch.float64)}
    for place in range(1, len(ids)):
        logits = net(torch.tensor([ids]), **extra).logits[0, place - 1]
        nll = -(logits[ids[place]].exp() / logits.exp().sum()).log()
        found = torch.autograd.grad(nll, list(net.parameters()), allow_unused=True)
        for (name, _), gradient in zip(net.named_parameters(), found, strict=True):
            if gradient is not None:
                total[name] += gradient
    return total, len(ids) - 1


def mean_gradient(net: Net, side: str) -> dict[str, Tensor]:
    found = [row_gradient(net, *row) for rows in ROWS[side].values() for row in rows]
    return {name: sum(g[name] for g, _ in found) / sum(n for _, n in found) for name, _ in net.named_parameters()}


def fisher(net: Net, side: str, name: str) -> Tensor:
    rows = ROWS[side]["image"] if name.startswith("eye") else [row for rows in ROWS[side].values() for row in rows]
    return sum((g[name] / n) ** 2 for g, n in (row_gradient(net, *row) for row in rows)) / len(rows)


def start(transform: Any, net: Net, material: Material) -> dict[str, Tensor]:
    parameters = dict(net.named_parameters())
    return transform.start(ModelForward(net), parameters, language_parameters(net), material)


def top(scores: dict[str, Tensor], share: float) -> set[tuple[str, int]]:
    ranked = sorted(
        ((float(value), name, n) for name, score in scores.items() for n, value in enumerate(score.flatten())),
        reverse=True,
    )
    return {(name, n) for value, name, n in ranked[: round(share * len(ranked))] if value > 0}


def marked(mask: dict[str, Tensor]) -> set[tuple[str, int]]:
    return {(name, n) for name, part in mask.items() for n, on in enumerate(part.flatten().tolist()) if on}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_salun_takes_the_largest_gradients(net: Net, material: Material, share: float) -> None:
    scores = {name: value.abs() for name, value in mean_gradient(net, "forget").items()}
    assert marked(start(SalUn(share=share), net, material)) == top(scores, share)


@pytest.mark.parametrize(("share", "mu"), [(0.1, 1.0), (0.5, 0.2), (0.3, 1e9)])
def test_wagle_weighs_forgetting_with_retention(net: Net, material: Material, share: float, mu: float) -> None:
    forget, retain = mean_gradient(net, "forget"), mean_gradient(net, "retain")
    scores = {name: ((w.detach() - retain[name] / mu) * forget[name]).abs() for name, w in net.named_parameters()}
    assert marked(start(WAGLE(share=share, mu=mu), net, material)) == top(scores, share)


@pytest.mark.parametrize("parts", ["both", "language", "vision"])
@pytest.mark.parametrize("threshold", [0.3, 1.0, 4.0])
def test_mmunlearner_compares_fisher_information(net: Net, material: Material, parts: str, threshold: float) -> None:
    mask = start(MMUnlearner(threshold=threshold, parts=parts), net, material)
    for name, found in mask.items():
        forget, retain = fisher(net, "forget", name), fisher(net, "retain", name)
        expected = (forget >= threshold * retain) & (forget > 0)
        is_vision = name.startswith("eye")
        asked = parts == "both" or (parts == "vision") == is_vision
        assert torch.equal(found, expected if asked else torch.zeros_like(expected)), name
    assert {name for name, part in mask.items() if part.any()} != set()


def test_parts_of_a_model_are_told_apart(net: Net) -> None:
    assert language_parameters(net) == {name for name, _ in net.named_parameters() if name.startswith("decoder")}


def test_a_part_that_the_model_lacks_is_refused(material: Material) -> None:
    net = nn.Sequential(nn.Embedding(5, 5))
    with pytest.raises(ValueError, match="`parts` is 'vision', but no such weight of the model is trained: choose"):
        MMUnlearner(parts="vision").start(
            ModelForward(net), dict(net.named_parameters()), language_parameters(net), material
        )


def test_gradients_do_not_depend_on_how_rows_are_batched(net: Net) -> None:
    parameters, rows = dict(net.named_parameters()), ROWS["forget"]["image"]
    one, two = (nll_gradient(ModelForward(net), given(rows)(size), parameters) for size in (1, 2))
    for name in parameters:
        torch.testing.assert_close(one[name], two[name], rtol=1e-12, atol=1e-15)
    squares, count = squared_gradients(ModelForward(net), given(rows)(1), parameters)
    assert count == 2
    torch.testing.assert_close(squares["eye.weight"] / 2, fisher(net, "forget", "eye.weight"), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["salun", "wagle", "mmunlearner"])
def test_weights_outside_of_a_mask_stay_bit_for_bit(name: str, net: Net, material: Material) -> None:
    transform, parameters = build_method(name), dict(net.named_parameters())
    state = start(transform, net, material)
    before = {name: weight.detach().clone() for name, weight in parameters.items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.0)
    batches = [next(iter(given(ROWS[side]["image"])(None))) for side in ("forget", "retain")]
    for _ in range(3):

        def step() -> Gradients:
            parts = build_method("graddiff").loss(ModelForward(net), *batches)
            forget, retain = split_gradients(parts, parameters)
            return Gradients(forget, retain, retain)

        for name, value in transformed([(transform, state)], step, parameters).total().items():
            parameters[name].grad = value
        optimizer.step()
    moved = 0
    for name, weight in parameters.items():
        assert torch.equal(weight[~state[name]], before[name][~state[name]]), name
        moved += int((weight != before[name]).sum())
    assert 0 < moved <= sum(int(part.sum()) for part in state.values())


def test_a_mask_that_misses_parameters_is_refused(net: Net, material: Material) -> None:
    parameters = {name: weight.detach() for name, weight in net.named_parameters()}
    mask = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in parameters.items()}
    everything = Gradients(parameters, parameters, parameters)
    assert torch.equal(masked(everything, mask).forget["eye.weight"], parameters["eye.weight"])
    del mask["eye.weight"]
    with pytest.raises(ValueError, match=r"the mask misses 1 of the 4 parameters that are trained, `eye.weight` among"):
        masked(everything, mask)
    with pytest.raises(ValueError, match=r"mask of `eye.weight` has the shape \[2\], the parameter \[3, 2\]"):
        check_mask({**mask, "eye.weight": torch.ones(2)}, parameters)


def test_scores_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="every weight has the score 0"):
        highest({"w": torch.zeros(3)}, 0.5)
    assert highest({"w": torch.tensor([0.0, 2.0, 0.0])}, 1.0)["w"].tolist() == [False, True, False]


def test_no_rows_are_refused(net: Net) -> None:
    for name in ("salun", "wagle", "mmunlearner"):
        with pytest.raises(ValueError, match="there are no rows to"):
            start(build_method(name), net, Material())


# Parts of a loss, and chains


def test_a_loss_is_split_by_its_own_weights() -> None:
    """Terms that the parts do not name, like a penalty, belong to the rest."""

    def made() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        v = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        return w, v, -(w**2).sum() * v, (w.sum() - 2 * v) ** 2

    w, v, forget, retain = made()
    parts = LossParts(0.3 * forget + 2.0 * (retain - 5.0) + 0.1 * v, forget, retain)
    first, rest = split_gradients(parts, {"w": w, "v": v})
    assert first["w"].tolist() == pytest.approx([0.3 * -2 * 3 * 1, 0.3 * -2 * 3 * 2])
    assert first["v"].item() == pytest.approx(0.3 * -5)
    assert rest["w"].tolist() == pytest.approx([2.0 * 2 * -3, 2.0 * 2 * -3])
    assert rest["v"].item() == pytest.approx(2.0 * 2 * -3 * -2 + 0.1)


@pytest.mark.parametrize(("forget", "retain"), [(True, False), (False, True)])
def test_a_loss_of_one_term_has_one_gradient(forget: bool, retain: bool) -> None:
    w = torch.tensor(2.0, requires_grad=True)
    term = w**2
    first, rest = split_gradients(LossParts(term, term if forget else None, term if retain else None), {"w": w})
    assert (first["w"].item(), rest["w"].item()) == (4.0 * forget, 4.0 * retain)


def test_a_term_that_weighs_nothing_has_no_gradient() -> None:
    w = torch.tensor(2.0, requires_grad=True)
    for alpha, gamma in ((0.0, 1.0), (1.0, 0.0)):
        forget, retain = w * 1, w**2
        first, rest = split_gradients(LossParts(gamma * forget + alpha * retain, forget, retain), {"w": w})
        assert (first["w"].item(), rest["w"].item()) == (gamma, alpha * 4.0)
    first, rest = split_gradients(LossParts(3 * w, w * 1, None), {"w": w})
    assert (first["w"].item(), rest["w"].item()) == (0.0, 3.0), "this forget term is no part of the total"


def test_transforms_come_in_the_order_given() -> None:
    """A mask after the projection is not the projection after a mask."""
    step = gradients({"w": [1.0, -1.0]}, {"w": [0.0, 0.0]}, {"w": [1.0, 2.0]})
    mask = {"w": torch.tensor([True, False])}
    gru, salun = (GRU(average=1.0), dict[str, Tensor]()), (SalUn(), mask)
    projected = rectify([1.0, -1.0], [1.0, 2.0])
    assert transformed([gru, salun], lambda: step, {}).forget["w"].tolist() == pytest.approx([projected[0], 0.0])
    assert transformed([salun, gru], lambda: step, {}).forget["w"].tolist() == pytest.approx(
        rectify([1.0, 0.0], [1.0, 0.0])
    )


def test_no_transform_changes_nothing() -> None:
    step = gradients({"w": [1.0]}, {"w": [2.0]})
    assert transformed([], lambda: step, {}).total()["w"].item() == 3.0


# Options


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("gru", {"average": 0.0}, ValueError, "`average` must be above 0 and at most 1, got 0.0"),
        ("gru", {"average": 1.1}, ValueError, "`average` must be above 0 and at most 1, got 1.1"),
        ("sam", {"rho": -1.0}, ValueError, "`rho` must be positive, got -1.0"),
        ("sam", {"rho": math.nan}, ValueError, "`rho` must be finite, got nan"),
        ("salun", {"share": 1.5}, ValueError, "`share` must be above 0 and at most 1, got 1.5"),
        ("wagle", {"mu": 0.0}, ValueError, "`mu` must be positive, got 0.0"),
        ("wagle", {"share": "all"}, TypeError, "`share` must be a number, got 'all'"),
        ("mmunlearner", {"parts": "eyes"}, ValueError, "`parts` must be one of both, language, vision, got 'eyes'"),
        ("mmunlearner", {"threshold": 0}, ValueError, "`threshold` must be positive, got 0"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build_method(name, **options)


def test_every_transform_says_what_it_is() -> None:
    for transform in TRANSFORMS.values():
        assert transform.kind == "transform"
        assert "https://arxiv.org/abs/" in transform.paper
        assert transform.needs <= {"forget", "retain", "kept"}
        assert transform.freezes == (transform is SalUn or transform is WAGLE or transform is MMUnlearner)
        assert hash(transform()) == hash(transform()) and fields(transform)
