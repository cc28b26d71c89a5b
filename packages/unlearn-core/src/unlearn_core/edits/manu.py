"""Modality-aware neuron unlearning."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Linear, Module

from unlearn_core import _checks
from unlearn_core.edit import Edit
from unlearn_core.forward import decoder_layers
from unlearn_core.material import Material, Rows

_TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class MANU(Edit):
    """Modality-aware neuron unlearning.

    A neuron of an MLP is scored by how much more it matters on the rows to forget than on those to keep: the mean over
    the modalities that reach it (image rows against image rows, text rows against text rows) of the sum of four ratios
    forget / retain, of the mean of |a|, the frequency of |a| > `active`, the variance and the root mean square of its
    activation a over all tokens. The neurons with the highest scores are set to zero: what reads them reads them no
    more.

    Attributes:
        share: How many of all MLP neurons are cut. Default 0.03; the paper chooses it by model.
        active: Size of an activation that counts as active. Default 0.1, as in the authors' code.
    """

    paper: ClassVar[str] = "Liu et al. 2025, https://arxiv.org/abs/2502.15910"
    summary: ClassVar[str] = "Cuts the MLP neurons that matter more to the rows to forget than to the rest."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    share: float = 0.03
    active: float = 0.1

    def __post_init__(self) -> None:
        _checks.share("share", self.share)
        _checks.non_negative("active", self.active)

    def apply(self, model: Module, material: Material) -> None:
        """Scores the neurons, and cuts the highest."""
        scores = self.scores(model, material)
        everything = torch.cat(list(scores.values()))
        cut = everything.argsort(descending=True, stable=True)[: max(1, round(self.share * len(everything)))]
        chosen = torch.zeros_like(everything, dtype=torch.bool).index_fill(0, cut, True)
        parts = torch.split(chosen, [len(score) for score in scores.values()])
        for name, neurons in zip(scores, parts, strict=True):
            _cut(model.get_submodule(name), neurons)

    def scores(self, model: Module, material: Material) -> dict[str, Tensor]:
        """Returns the score of every neuron, [neurons], by the name of the projection that reads it.

        Raises:
            ValueError: If the model has no MLP, or no modality has rows on both sides.
        """
        closing = closing_projections(model)
        shared = [modality for modality in material.forget if modality in material.retain]
        if not shared:
            forget, retain = (" and ".join(side) or "missing" for side in (material.forget, material.retain))
            raise ValueError(
                f"the rows to forget are {forget}, those to keep are {retain}: give both sides rows of one modality."
            )
        ratios: dict[str, list[Tensor]] = {}
        for modality in shared:
            forgotten = _importances(model, closing, material.forget[modality], self.active)
            kept = _importances(model, closing, material.retain[modality], self.active)
            for name in forgotten:
                ratios.setdefault(name, []).append((forgotten[name] / (kept[name] + _TINY)).sum(0))
        return {name: torch.stack(found).mean(0) for name, found in ratios.items()}


def closing_projections(model: Module) -> dict[str, Module]:
    """Returns the projection that reads the neurons of each MLP, by name: the last one in every module named `mlp`.

    Raises:
        ValueError: If the model has none, or one that routes to experts.
    """
    found: dict[str, Module] = {}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "mlp":
            # the one projection beside the experts is the router, which reads no neurons
            if isinstance(getattr(module, "experts", None), Module):
                raise ValueError(f"`{name}` routes to experts, whose neurons cannot be cut: choose a model without.")
            projections = [child for child, part in module.named_children() if _is_projection(part)]
            if projections:
                found[f"{name}.{projections[-1]}"] = module.get_submodule(projections[-1])
    if not found:
        raise ValueError(f"{type(model).__name__} has no MLP whose neurons could be cut: no module is named `mlp`.")
    return found


def _is_projection(module: Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2


@torch.no_grad()
def _cut(projection: Module, neurons: Tensor) -> None:
    """Zeroes what a projection reads of some neurons."""
    weight: Any = projection.weight  # [width, neurons]; GPT-2's own kind of projection holds the transpose
    (weight.T if isinstance(projection, Linear) else weight)[neurons.to(weight.device)] = 0


class _Tally:
    """Running sums of a projection's input over tokens, in float64."""

    def __init__(self, active: float) -> None:
        self.active, self.count = active, 0
        self.sums: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Adds activations [tokens, neurons]."""
        fine = values.detach().double()
        size = fine.abs()
        sums = torch.stack([size.sum(0), (size > self.active).double().sum(0), fine.sum(0), (fine**2).sum(0)])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(fine)

    def importances(self) -> Tensor:
        """Returns mean size, frequency, variance and root mean square: [4, neurons]."""
        if self.sums is None:
            raise ValueError("there are no activations to measure.")
        size, frequency, mean, square = self.sums / self.count
        return torch.stack([size, frequency, (square - mean**2).clamp(min=0), square.sqrt()])


@torch.no_grad()
def _importances(model: Module, closing: Mapping[str, Module], rows: Rows, active: float) -> dict[str, Tensor]:
    """The importances of the neurons that these rows reach."""
    tallies = {name: _Tally(active) for name in closing}
    of_tokens = set(decoder_layers(model).modules())  # a vision tower's neurons see patches, which have no mask
    training = model.training
    model.train(False)
    for batch in rows(None):
        mask = batch.inputs.get("attention_mask")
        with ExitStack() as hooks:
            for name, module in closing.items():
                watch = partial(_watch, tallies[name], mask if module in of_tokens else None)
                hooks.callback(module.register_forward_pre_hook(watch).remove)
            model(**batch.inputs)
    model.train(training)
    return {name: tally.importances() for name, tally in tallies.items() if tally.count}


def _watch(tally: _Tally, mask: Tensor | None, module: Module, args: tuple[Tensor, ...]) -> None:
    """Adds what comes in, padding left out."""
    tally.add(args[0].flatten(0, -2) if mask is None else args[0][mask.bool()])
