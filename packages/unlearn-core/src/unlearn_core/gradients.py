"""Gradients by parameter, kept apart by what they are for."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import LossParts

Grads: TypeAlias = dict[str, Tensor]
"""A tensor for every parameter that is trained, by the parameter's name and of its shape."""


class Gradients(NamedTuple):
    """The gradients of one optimizer step; their sum is what the optimizer gets.

    Attributes:
        forget: Of the forget term, as weighted in the loss.
        retain: Of all the other terms, likewise.
        kept: Of a loss on the rows to keep, whether or not the method minimizes it: of `retain`, or of the negative
            log-likelihood of these rows where the method has no retain term, or gives it no weight.
    """

    forget: Grads
    retain: Grads
    kept: Grads

    def total(self) -> Grads:
        """Returns the gradient of the whole loss."""
        return {name: self.forget[name] + self.retain[name] for name in self.forget}


def split_gradients(parts: LossParts, parameters: Mapping[str, Tensor]) -> tuple[Grads, Grads]:
    """Returns the gradient of a loss's forget term, as weighted in the total, and that of all the rest of the total.

    The weight is the derivative of the total by the term, so that it need not be known.

    Args:
        parts: A method's loss.
        parameters: What to differentiate by.

    Example:
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> forget, retain = -w, w**2
        >>> split_gradients(LossParts(0.5 * forget + 2 * retain, forget, retain), {"w": w})
        ({'w': tensor(-0.5000)}, {'w': tensor(12.)})
    """
    whole, forget = zeros(parameters), zeros(parameters)
    weight = weight_in(parts.total, parts.forget)
    if parts.forget is not None and weight is not None:
        _add_gradient(forget, parts.forget, parameters, weight, again=True)
    _add_gradient(whole, parts.total, parameters)
    return forget, {name: value - forget[name] for name, value in whole.items()}


def weight_in(total: Tensor, term: Tensor | None) -> Tensor | None:
    """Returns what a term weighs in a total, or `None` where it is missing, has no gradient, or weighs nothing.

    Args:
        total: A loss; its graph is kept.
        term: A part of it.

    Example:
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> forget, retain = -w, w**2
        >>> weight_in(forget + 2 * retain, retain)
        tensor(2.)
        >>> weight_in(forget + 0 * retain, retain)
    """
    if term is None or not term.requires_grad:
        return None
    (weight,) = torch.autograd.grad(total, term, retain_graph=True, allow_unused=True)
    return None if weight is None or weight == 0 else weight


def nll_gradient(forward: Forward, batches: Iterable[Batch], parameters: Mapping[str, Tensor]) -> Grads:
    """Returns the gradient of the mean negative log-likelihood of all answer tokens of `batches`.

    Raises:
        ValueError: If there are no batches.
    """
    total, tokens = zeros(parameters), 0
    for batch in batches:
        logps = forward.token_logps(batch)
        _add_gradient(total, -logps.sum(), parameters)
        tokens += len(logps)
    if not tokens:
        raise ValueError("there are no rows to take a gradient on; give at least one.")
    return {name: gradient / tokens for name, gradient in total.items()}


def squared_gradients(forward: Forward, rows: Iterable[Batch], parameters: Mapping[str, Tensor]) -> tuple[Grads, int]:
    """Returns the sum over `rows` of the squared gradient of a row's mean token log-likelihood, and their number.

    Args:
        forward: Runs the model.
        rows: Batches of one row each: the square of a mean over rows is no mean of squares.
        parameters: What to differentiate by.
    """
    total, count = zeros(parameters), 0
    for row in rows:
        gradient = zeros(parameters)
        _add_gradient(gradient, forward.token_logps(row).mean(), parameters)
        for name, value in gradient.items():
            total[name] += value**2
        count += 1
    return total, count


def zeros(parameters: Mapping[str, Tensor]) -> Grads:
    """Returns a gradient of nothing."""
    return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}


def inner(first: Grads, second: Grads) -> Tensor:
    """Returns the inner product over all parameters, in float32 or finer.

    Example:
        >>> inner({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(2), "b": torch.full((1,), 3.0)})
        tensor(5.)
    """
    return torch.stack([(_fine(first[name]) * _fine(second[name])).sum() for name in first]).sum()


def _add_gradient(
    into: Grads, loss: Tensor, parameters: Mapping[str, Tensor], weight: Tensor | None = None, *, again: bool = False
) -> None:
    """Adds a gradient; `again` keeps the graph for another."""
    found = torch.autograd.grad(loss, list(parameters.values()), weight, retain_graph=again, allow_unused=True)
    for name, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            into[name] += gradient


def _fine(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))
