"""Numbers for each answer token, from the logits at its position."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Entries of float32 log-probabilities that are held at a time: what a CPU's cache holds, and what keeps a GPU busy.
_CHUNK = {"cpu": 2**17, "cuda": 2**26}


class TokenScores(NamedTuple):
    """What the model says of the tokens of one answer, each [tokens]."""

    tokens: np.ndarray
    """int32, end token included"""
    logp: np.ndarray
    """float32, natural logarithm of the token's probability"""
    hit: np.ndarray
    """bool, whether the token was the most probable"""
    mean: np.ndarray
    """float32, expectation of log p, the vocabulary weighted by p"""
    std: np.ndarray
    """float32, standard deviation of log p, the vocabulary weighted by p"""


def token_statistics(
    states: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor] = lambda states: states, vocabulary: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-probability, hit, and mean and standard deviation of log p, in float32.

    No float32 matrix [tokens, vocabulary] exists at any time, but chunks of its rows.

    Args:
        states: [tokens, width], what `head` turns into logits; the logits themselves, of any floating dtype, without.
        targets: [tokens], the token at each position.
        head: From [some tokens, width] to [some tokens, vocabulary].
        vocabulary: How wide the logits are, where that is not the width of `states`.

    Returns:
        Four tensors [tokens], see `TokenScores`.

    Example:
        >>> import torch
        >>> logp, hit, mean, std = token_statistics(torch.zeros(1, 4), torch.tensor([2]))
        >>> logp.exp().item(), hit.item(), mean.exp().item(), std.item()
        (0.25, False, 0.25, 0.0)
    """
    rows = max(1, _CHUNK.get(states.device.type, 2**24) // (vocabulary or states.shape[-1]))
    pairs = zip(torch.split(states, rows), torch.split(targets, rows), strict=True)
    columns = zip(*(_chunk_statistics(head(chunk).float(), wanted) for chunk, wanted in pairs), strict=True)
    logp, hit, mean, std = (torch.cat(column) for column in columns)
    return logp, hit, mean, std


def _chunk_statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Passes over the whole vocabulary are what takes time: the normalizer is taken off the sums, not off every entry.
    highest = logits.amax(-1)
    chosen = logits.gather(-1, targets[:, None]).squeeze(-1)
    hit = chosen == highest
    # The first of the highest is slow to find, so only where there may be several.
    hit[hit.clone()] = logits[hit].argmax(-1) == targets[hit]
    below = logits - highest[:, None]
    weights = below.exp()
    total = weights.sum(-1)
    # A token of probability 0 adds nothing, but 0 · -inf would be NaN; NaN itself passes through.
    below.clamp_(min=-1e4)
    mean = (weights * below).sum(-1) / total
    below -= mean[:, None]
    std = (weights.mul_(below).mul_(below).sum(-1) / total).sqrt()
    normalizer = total.log()
    return chosen - highest - normalizer, hit, mean - normalizer, std
