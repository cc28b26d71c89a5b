"""Unlearning from logit difference."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch.nn import Module

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward, decoder_layers
from unlearn_core.guard import Guard, Kept
from unlearn_core.losses import max_entropy_loss
from unlearn_core.material import Material
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class ULD(Guard):
    """Unlearning from logit difference.

    The logits are z - w · z', where z' are those of an assistant that was trained with the objectives reversed: to know
    the rows to forget, and to be uniform on those to keep. So what the assistant knows is pushed down, and what it does
    not know stays as it is. The assistant is a copy of the model's first layers. The authors' filter of unlikely tokens
    is left out.

    Attributes:
        weight: w, what the assistant's logits weigh. Default 1, as in the authors' configuration; on TOFU they
            set 0.8.
        layers: Of the assistant. Default a quarter of the model's, as in the paper: 8 of the 32 of Llama-2-7B.
        retain_weight: Weight of the divergence from uniform on the rows to keep, in the assistant's training. Default
            1, chosen here; the authors' configuration has 5.
    """

    paper: ClassVar[str] = "Ji et al. 2024, https://arxiv.org/abs/2406.08607"
    summary: ClassVar[str] = "Subtracts the logits of a small assistant that knows only what is to be forgotten."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "train"})

    weight: float = 1.0
    layers: int | None = None
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("weight", self.weight)
        _checks.positive("retain_weight", self.retain_weight)
        if self.layers is not None:
            _checks.whole("layers", self.layers, least=1)

    def make(self, model: Module, material: Material) -> Kept:
        """Trains the assistant."""
        known = len(decoder_layers(model))
        layers = max(1, known // 4) if self.layers is None else self.layers
        if layers > known:
            raise ValueError(f"`layers` must be at most the model's {known}, got {layers}.")
        assistant = _shortened(model, layers)
        material.train(assistant, _Reversed(retain_weight=self.retain_weight))
        return Kept(assistant=assistant)

    def attach(self, model: Module, kept: Kept) -> None:
        """Has the assistant read along."""
        if kept.assistant is None:
            raise ValueError("this guard needs its assistant, which is missing: take what `make` returned.")
        kept.assistant.train(False).requires_grad_(False)
        hook = partial(_subtract, kept.assistant, self.weight, len(decoder_layers(model)))
        model.register_forward_hook(hook, with_kwargs=True)


def _subtract(
    assistant: Module, weight: float, layers: int, model: Module, args: Any, kwargs: Mapping[str, Any], output: Any
) -> Any:
    """Takes the assistant's logits off the output of a model of so many layers.

    What the assistant has read so far are further layers of the model's own cache, so that whatever selects, repeats or
    cuts rows of that does it for both.
    """
    given = {name: value for name, value in kwargs.items() if name not in ("past_key_values", "labels")}
    cache = getattr(output, "past_key_values", None)
    if cache is not None and cache.layers[layers:]:
        given["past_key_values"] = copy.copy(cache)
        given["past_key_values"].layers = cache.layers[layers:]
    with torch.no_grad():
        read = assistant(*args, **given)
    if cache is not None:
        cache.layers[layers:] = read.past_key_values.layers
    output.logits = output.logits - weight * read.logits.to(output.logits.dtype)
    return output


def _shortened(model: Module, layers: int) -> Module:
    """A copy of the model with its first layers alone, its config told so."""
    # The layers that are left out are no part of the copy at any time: they are most of its memory.
    dropped = list(decoder_layers(model)[layers:])
    copied = copy.deepcopy(model, {id(layer): None for layer in dropped})
    del decoder_layers(copied)[layers:]
    config: Any = getattr(copied, "config", None)
    if config is not None:
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None) is not None:
            text.layer_types = text.layer_types[:layers]
    return copied


@dataclass(frozen=True, kw_only=True)
class _Reversed(Method):
    """The assistant's loss."""

    paper: ClassVar[str] = "Ji et al. 2024, https://arxiv.org/abs/2406.08607"
    summary: ClassVar[str] = "Learns the rows to forget, and is uniform on those to keep."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})

    retain_weight: float = 1.0

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns NLL(forget) + α · KL(uniform ‖ model) on retain."""
        known, retain = nll(forward, supplied(forget, "forget")), supplied(retain, "retain")
        blank = max_entropy_loss(forward(retain), retain.labels) * retain.token_share
        return weigh(known, blank, forget_weight=1.0, retain_weight=self.retain_weight)
