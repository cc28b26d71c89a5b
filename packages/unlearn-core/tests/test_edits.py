"""Weight edits: each against its formula, by loops in float64 on small models."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unlearn_core import EDITS, MANU, SKU, Batch, Forward, Material, TaskArithmetic, build_method
from unlearn_core.edits.manu import closing_projections
from unlearn_core.edits.task_arithmetic import negate
from unlearn_core.method import Method


class MLP(nn.Module):
    def __init__(self, width: int, neurons: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, neurons, bias=False)
        self.up_proj = nn.Linear(width, neurons, bias=False)
        self.down_proj = nn.Linear(neurons, width, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, state: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(state)) * self.up_proj(state))


class Layer(nn.Module):
    def __init__(self, width: int, neurons: int) -> None:
        super().__init__()
        self.mlp = MLP(width, neurons)

    def forward(self, state: Tensor) -> Tensor:
        return state + self.mlp(state)


class Seeing(nn.Module):
    """A vision tower of one layer, whose patches are no tokens, and a decoder of two."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Layer(3, 4)
        self.table = nn.Embedding(7, 3)
        self.layers = nn.ModuleList(Layer(3, 5) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor | None = None) -> Tensor:
        state = self.table(input_ids)
        if pixels is not None:
            state = state + self.tower(pixels).mean(1, keepdim=True)
        for layer in self.layers:
            state = layer(state)
        return state


def batch(ids: list[list[int]], pixels: bool, seed: int) -> Batch:
    """Rows padded with 0 on the right."""
    length = max(map(len, ids))
    padded = torch.tensor([row + [0] * (length - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids])
    inputs = {"input_ids": padded, "attention_mask": mask}
    if pixels:
        seen = torch.randn(len(ids), 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        inputs["pixels"] = seen
    return Batch(inputs=inputs, labels=padded)


SIDES = {
    "forget": {
        "text": [batch([[1, 2, 3], [4]], False, 0), batch([[5, 5]], False, 0)],
        "image": [batch([[6, 1]], True, 1)],
    },
    "retain": {"text": [batch([[2, 2], [6, 6, 1, 3]], False, 0)], "image": [batch([[1, 3], [2]], True, 2)]},
}


def given(batches: list[Batch]) -> Callable[[int | None], Iterable[Batch]]:
    return lambda size: batches


@pytest.fixture
def material() -> Material:
    return Material(**{side: {name: given(batches) for name, batches in by.items()} for side, by in SIDES.items()})


@pytest.fixture
def model() -> Seeing:
    torch.manual_seed(1)
    return Seeing().double().train()


# MANU


def activations(model: Seeing, batches: list[Batch]) -> dict[str, list[list[float]]]:
    """What every real token, or patch, gives each neuron, row by row and token by token."""
    found: dict[str, list[list[float]]] = {}

    def neurons(mlp: MLP, state: Tensor) -> list[float]:
        return (nn.functional.silu(mlp.gate_proj.weight @ state) * (mlp.up_proj.weight @ state)).tolist()

    with torch.no_grad():
        for each in batches:
            pixels = each.inputs.get("pixels")
            for row, (ids, mask) in enumerate(
                zip(each.inputs["input_ids"], each.inputs["attention_mask"], strict=True)
            ):
                seen = torch.zeros(3, dtype=torch.float64)
                if pixels is not None:
                    for patch in pixels[row]:
                        found.setdefault("tower.mlp.down_proj", []).append(neurons(model.tower.mlp, patch))
                        seen += model.tower(patch) / len(pixels[row])
                for token, real in zip(ids, mask, strict=True):
                    state = model.table.weight[token] + seen
                    for n, layer in enumerate(model.layers):
                        if real:
                            found.setdefault(f"layers.{n}.mlp.down_proj", []).append(neurons(layer.mlp, state))
                        state = layer(state)
    return found


def importances(values: list[float], active: float) -> list[float]:
    mean = sum(values) / len(values)
    return [
        sum(abs(v) for v in values) / len(values),
        sum(abs(v) > active for v in values) / len(values),
        sum((v - mean) ** 2 for v in values) / len(values),
        math.sqrt(sum(v * v for v in values) / len(values)),
    ]


def reference_scores(model: Seeing, active: float) -> dict[str, list[float]]:
    scores: dict[str, list[list[float]]] = {}
    for modality in ("text", "image"):
        forget, retain = (activations(model, SIDES[side][modality]) for side in ("forget", "retain"))
        for name in forget:
            ratios = [
                sum(
                    f / (r + 1e-8)
                    for f, r in zip(importances(list(fs), active), importances(list(rs), active), strict=True)
                )
                for fs, rs in zip(zip(*forget[name], strict=True), zip(*retain[name], strict=True), strict=True)
            ]
            scores.setdefault(name, []).append(ratios)
    return {name: [sum(each) / len(each) for each in zip(*found, strict=True)] for name, found in scores.items()}


@pytest.mark.parametrize("active", [0.0, 0.02, 0.1])
def test_manu_scores_by_loops(model: Seeing, material: Material, active: float) -> None:
    found, expected = MANU(active=active).scores(model, material), reference_scores(model, active)
    assert found.keys() == expected.keys() == closing_projections(model).keys()
    for name, score in found.items():
        assert score.tolist() == pytest.approx(expected[name], rel=1e-9), name
    assert model.training, "the model is left in its mode"


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_manu_cuts_the_highest_and_nothing_else(model: Seeing, material: Material, share: float) -> None:
    ranked = sorted(
        ((score, name, n) for name, found in reference_scores(model, 0.1).items() for n, score in enumerate(found)),
        reverse=True,
    )
    cut = {(name, n) for _, name, n in ranked[: max(1, round(share * len(ranked)))]}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    MANU(share=share).apply(model, material)
    for name, weight in model.state_dict().items():
        if name.endswith("down_proj.weight"):
            for n in range(weight.shape[1]):
                is_cut = (name.removesuffix(".weight"), n) in cut
                assert torch.equal(weight[:, n], torch.zeros(3, dtype=torch.float64) if is_cut else before[name][:, n])
        else:
            assert torch.equal(weight, before[name])


def test_manu_counts_each_modality_for_itself(model: Seeing, material: Material) -> None:
    text = Material(forget={"text": material.forget["text"]}, retain=material.retain)
    assert set(MANU().scores(model, text)) == {"layers.0.mlp.down_proj", "layers.1.mlp.down_proj"}


def test_manu_reads_both_layouts_of_a_projection() -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 2))

        def forward(self, state: Tensor) -> Tensor:
            return state @ self.weight

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Sequential(nn.Linear(2, 4), Conv1D())
            self.h = nn.ModuleList([self.mlp])

        def forward(self, input_ids: Tensor) -> Tensor:
            return self.mlp(input_ids.float())

    rows = [Batch(inputs={"input_ids": torch.tensor([[[1, 2]]])}, labels=torch.tensor([[1]]))]
    model = Block()
    MANU(share=0.5).apply(model, Material(forget={"text": given(rows)}, retain={"text": given(rows)}))
    assert sorted((model.mlp[1].weight == 0).all(1).tolist()) == [False, False, True, True]


def test_manu_refuses_what_it_cannot_weigh(model: Seeing, material: Material) -> None:
    with pytest.raises(ValueError, match="Embedding has no MLP whose neurons could be cut: no module is named `mlp`"):
        MANU().apply(nn.Embedding(2, 2), material)
    routed = nn.Module()
    routed.mlp = nn.Module()
    routed.mlp.gate, routed.mlp.experts = nn.Linear(2, 3), nn.ModuleList([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match="`mlp` routes to experts, whose neurons cannot be cut: choose"):
        MANU().apply(routed, material)
    apart = Material(forget={"text": material.forget["text"]}, retain={"image": material.retain["image"]})
    with pytest.raises(ValueError, match="rows to forget are text, those to keep are image: give both sides rows of"):
        MANU().apply(model, apart)
    with pytest.raises(ValueError, match="rows to forget are missing, those to keep are missing"):
        MANU().apply(model, Material())


# Task arithmetic


def shift(model: nn.Module, method: Method) -> None:
    """Stands for a training: every weight grows by its index."""
    for n, weight in enumerate(model.parameters()):
        weight.data += n + 1


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_task_arithmetic_negates_what_training_adds(scale: float) -> None:
    model = nn.Linear(3, 2).double()
    before = [weight.detach().clone() for weight in model.parameters()]
    TaskArithmetic(scale=scale).apply(model, Material(train=shift))
    for n, (weight, old) in enumerate(zip(model.parameters(), before, strict=True)):
        for found, was in zip(weight.flatten().tolist(), old.flatten().tolist(), strict=True):
            assert found == pytest.approx(was - scale * (n + 1), rel=1e-12)


def test_task_arithmetic_trains_on_what_to_forget_alone() -> None:
    seen: list[Method] = []
    TaskArithmetic().apply(nn.Linear(1, 1), Material(train=lambda model, method: seen.append(method)))
    (method,) = seen
    assert method.needs == {"forget"}

    class Uniform(Forward):
        def __call__(self, batch: Batch) -> Tensor:
            return torch.zeros(1, 3, 4)

    ids = torch.tensor([[0, 1, 2]])
    parts = method.loss(Uniform(), Batch(inputs={"input_ids": ids}, labels=ids, step_tokens=4), None)
    assert parts.total.item() == pytest.approx(math.log(4) * 2 / 4), "descended, and weighted by its share of the step"
    with pytest.raises(ValueError, match="needs `forget`, which is missing"):
        method.loss(Uniform(), None, None)


def test_another_loss_may_do_the_learning() -> None:
    seen: list[Method] = []
    edit = TaskArithmetic(learn=SKU(retain_weight=0.5))
    edit.apply(nn.Linear(1, 1), Material(train=lambda model, method: seen.append(method)))
    assert seen == [SKU(retain_weight=0.5)]


def test_an_edit_that_breaks_a_model_leaves_it_as_it_was() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match="the trained copy has no weight `weight` of shape"):
        negate(model, {}, scale=1.0)
    broken: dict[str, Any] = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    broken["bias"][0] = math.nan
    with pytest.raises(ValueError, match="`bias` would not be finite after the edit: .* lower `scale`, which is 2"):
        negate(model, broken, scale=2.0)
    assert torch.equal(model.weight, before)


def test_a_missing_training_is_named() -> None:
    with pytest.raises(ValueError, match="needs `train`, which is missing"):
        TaskArithmetic().apply(nn.Linear(1, 1), Material())


# Options


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("task_arithmetic", {"scale": 0.0}, ValueError, "`scale` must be positive, got 0.0"),
        (
            "task_arithmetic",
            {"learn": 3},
            TypeError,
            "`learn` must be a loss method, got 3:",
        ),
        ("task_arithmetic", {"scale": math.inf}, ValueError, "`scale` must be finite, got inf"),
        ("manu", {"share": 0.0}, ValueError, "`share` must be above 0 and at most 1, got 0.0"),
        ("manu", {"active": -0.1}, ValueError, "`active` must be at least 0, got -0.1"),
        ("manu", {"share": True}, TypeError, "`share` must be a number, got True"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build_method(name, **options)


def test_every_edit_says_what_it_is() -> None:
    for edit in EDITS.values():
        assert edit.kind == "edit"
        assert "https://arxiv.org/abs/" in edit.paper
        assert edit.needs <= {"forget", "retain", "train"}
