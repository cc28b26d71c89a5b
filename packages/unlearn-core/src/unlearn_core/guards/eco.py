"""Embedding-corrupted prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import ModelForward, decoder_layers
from unlearn_core.guard import Guard, Kept
from unlearn_core.material import Material, every

# What a forward may be given that is none of its inputs.
_ASIDE = ("labels", "logits_to_keep", "past_key_values", "use_cache", "cache_position", "return_dict")


@dataclass(frozen=True, kw_only=True)
class ECO(Guard):
    """Embedding-corrupted prompts.

    A classifier tells prompts to forget from others; where it fires, noise is added to what enters the model's first
    layer at the tokens of the question and of its image. The rest of the prompt, the answer and all other prompts stay
    as they are. The classifier is a logistic regression on the mean of the model's last hidden states over these
    tokens, in place of the paper's second language model, so that it sees images as well. On TOFU, the authors
    add noise to names alone, here it is to the whole question.

    Attributes:
        strength: Standard deviation of the noise, in units of the root mean square of what it is added to. Default 10,
            which leaves nothing of a token; the paper searches it for each model.
        threshold: Probability above which a prompt is taken for one to forget. Default 0.5, that of the authors'
            classifier; on TOFU they set 0.99.
        penalty: L2 penalty of the classifier. Default 0.01.
        seed: Of the noise, which is the same for every prompt and every call. Default 0.
    """

    paper: ClassVar[str] = "Liu et al. 2024, https://arxiv.org/abs/2406.07933"
    summary: ClassVar[str] = "Detects prompts to forget, and corrupts their embeddings."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "frame"})

    strength: float = 10.0
    threshold: float = 0.5
    penalty: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.positive("strength", self.strength)
        _checks.share("threshold", self.threshold)
        _checks.positive("penalty", self.penalty)
        _checks.whole("seed", self.seed, least=0)

    def make(self, model: Module, material: Material) -> Kept:
        """Fits the classifier."""
        lead, marker = (list(ids) for ids in material.frame)
        if not marker:
            raise ValueError(
                "the prompts have no ending in common, so that none can be told from its answer: use a chat template "
                "whose generation prompt ends every question alike."
            )
        frame = {"lead": torch.tensor(lead, dtype=torch.long), "marker": torch.tensor(marker, dtype=torch.long)}
        forget, retain = (_features(model, every(side), frame) for side in (material.forget, material.retain))
        return Kept(tensors={**frame, **fit_classifier(forget, retain, penalty=self.penalty)})

    def attach(self, model: Module, kept: Kept) -> None:
        """Has the classifier look at every prompt that the model reads."""
        missing = {"lead", "marker", "mean", "scale", "weight", "bias"} - kept.tensors.keys()
        if missing:
            raise ValueError(f"this guard needs `{min(missing)}`, which is missing: take what `make` returned.")
        corruption = _Corruption(self, dict(kept.tensors))
        model.register_forward_pre_hook(corruption.look, with_kwargs=True)
        decoder_layers(model)[0].register_forward_pre_hook(corruption.corrupt, with_kwargs=True)
        model.register_forward_hook(corruption.end, always_call=True)


class _Corruption:
    """What happens in one forward pass of a guarded model."""

    def __init__(self, guard: ECO, tensors: Mapping[str, Tensor]) -> None:
        self.guard, self.tensors = guard, tensors
        self.places: Tensor | None = None
        self.looking = False

    def look(self, model: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Finds the tokens to corrupt, where this pass reads prompts."""
        past = kwargs.get("past_key_values")
        if self.looking or (past is not None and past.get_seq_length() > 0):
            return
        inputs = {name: value for name, value in kwargs.items() if name not in _ASIDE}
        if args:
            inputs["input_ids"] = args[0]
        places = content(inputs, self.tensors)
        if not places.any():
            return
        self.looking = True
        try:
            found = _pooled(model, inputs, places)
        finally:
            self.looking = False
        flagged = predict(found, self.tensors) > self.guard.threshold
        self.places = places & flagged[:, None].to(places.device)

    def corrupt(self, layer: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Adds the noise to what enters the first layer."""
        if self.places is None or self.looking:
            return None
        state: Tensor = args[0] if args else kwargs["hidden_states"]
        noisy = corrupted(state, self.places, strength=self.guard.strength, seed=self.guard.seed)
        return ((noisy, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": noisy})

    def end(self, model: Module, args: Any, output: Any) -> None:
        """Forgets the pass."""
        if not self.looking:
            self.places = None


def content(inputs: Mapping[str, Tensor], frame: Mapping[str, Tensor]) -> Tensor:
    """Returns where the question and its image are, [batch, length]: between the frame's `lead` and its last `marker`.

    Args:
        inputs: `input_ids`, and `attention_mask` where there is padding.
        frame: Token ids that begin and that end a prompt. A row without the ending holds no question.

    Example:
        >>> frame = {"lead": torch.tensor([1]), "marker": torch.tensor([8, 9])}
        >>> content({"input_ids": torch.tensor([[1, 5, 6, 8, 9, 7]])}, frame).int()
        tensor([[0, 1, 1, 0, 0, 0]], dtype=torch.int32)
    """
    ids = inputs["input_ids"]
    mask = inputs["attention_mask"] if "attention_mask" in inputs else torch.ones_like(ids)
    marker = frame["marker"].to(ids.device)
    places = torch.arange(ids.shape[1], device=ids.device)
    if ids.shape[1] < len(marker):
        return torch.zeros_like(ids, dtype=torch.bool)
    windows = (ids.unfold(1, len(marker), 1) == marker).all(-1) & mask[:, : ids.shape[1] - len(marker) + 1].bool()
    end = (windows * (places[: windows.shape[1]] + 1)).max(1).values - 1
    start = mask.int().argmax(1) + len(frame["lead"])
    return (places >= start[:, None]) & (places < end[:, None])


def corrupted(state: Tensor, places: Tensor, *, strength: float, seed: int) -> Tensor:
    """Returns hidden states with noise at some places, the same at the first of a row's places in every row, and so on.

    Args:
        state: [batch, length, width].
        places: [batch, length], where to add noise.
        strength: Standard deviation, in units of a row's root mean square over its places.
        seed: Of the noise.
    """
    count = int(places.sum(1).max())
    # A multiple of 16 rows, so that the noise of a place does not depend on how many there are.
    table = torch.randn(-(-count // 16) * 16 or 16, state.shape[-1], generator=torch.Generator().manual_seed(seed))
    noise = table.to(state.device, state.dtype)[(places.cumsum(1) - 1).clamp(min=0)]
    energy = (state.float().square().mean(-1) * places).sum(1) / places.sum(1).clamp(min=1)
    return state + strength * (energy.sqrt()[:, None] * places).to(state.dtype)[..., None] * noise


def fit_classifier(forget: Tensor, retain: Tensor, *, penalty: float) -> dict[str, Tensor]:
    """Fits a logistic regression that gives features of prompts to forget a probability near 1.

    Args:
        forget: [prompts, width].
        retain: [prompts, width].
        penalty: L2 penalty on the weight, with features scaled to standard deviation 1.

    Returns:
        `mean` and `scale` of the features, `weight` and `bias`: what `predict` takes.

    Raises:
        ValueError: If a side has no prompt.

    Example:
        >>> fitted = fit_classifier(torch.ones(4, 2), -torch.ones(4, 2), penalty=0.01)
        >>> predict(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), fitted) > 0.5
        tensor([ True, False])
    """
    if not len(forget) or not len(retain):
        raise ValueError(
            f"a classifier needs prompts of both sides, got {len(forget)} to forget, {len(retain)} to keep."
        )
    features = torch.cat([forget, retain]).double()
    wanted = torch.cat([torch.ones(len(forget)), torch.zeros(len(retain))]).to(features)
    mean, scale = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    given = (features - mean) / scale
    weight, bias = (
        torch.zeros(n, dtype=torch.float64, device=given.device, requires_grad=True) for n in (given.shape[1], 1)
    )
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(given @ weight + bias, wanted) + penalty * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = {"mean": mean, "scale": scale, "weight": weight.detach(), "bias": bias.detach()}
    return {name: value.float().cpu() for name, value in found.items()}


def predict(features: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    """Returns the probability that a prompt is one to forget, [prompts]."""
    mean, scale, weight, bias = (fitted[name].to(features.device) for name in ("mean", "scale", "weight", "bias"))
    return torch.sigmoid((features.float() - mean) / scale @ weight + bias)


@torch.no_grad()
def _features(model: Module, batches: Iterable[Batch], frame: Mapping[str, Tensor]) -> Tensor:
    training = model.training
    model.train(False)
    found = [_pooled(model, batch.inputs, content(batch.inputs, frame)) for batch in batches]
    model.train(training)
    return torch.cat(found) if found else torch.zeros(0, 1)


@torch.no_grad()
def _pooled(model: Module, inputs: Mapping[str, Tensor], places: Tensor) -> Tensor:
    """The mean of the last layer's hidden states over some places, [batch, width]; no place, no state."""
    states = ModelForward(model).hidden(Batch(inputs=inputs, labels=inputs["input_ids"]), -1).float()
    return (states * places[..., None]).sum(1) / places.sum(1, keepdim=True).clamp(min=1)
