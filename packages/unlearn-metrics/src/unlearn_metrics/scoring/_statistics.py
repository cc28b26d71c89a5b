"""Numbers for each answer token, from the logits at its position."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Entries of logits made at a time, and how many of them are worked on at a time: what a CPU's caches hold, what
# keeps a GPU busy.
_MADE, _WORKED_ON = {"cpu": 2**20, "cuda": 2**26}, {"cpu": 2**18, "cuda": 2**26}


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
    states: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor] = torch.clone, vocabulary: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-probability, hit, and mean and standard deviation of log p, in float32.

    No float32 matrix [tokens, vocabulary] exists at any time, but chunks of its rows.

    Args:
        states: [tokens, width], what `head` turns into logits; the logits themselves, of any floating dtype, without.
        targets: [tokens], the token at each position.
        head: From [some tokens, width] to [some tokens, vocabulary], of its own: they are changed.
        vocabulary: How wide the logits are, where that is not the width of `states`.

    Returns:
        Four tensors [tokens], see `TokenScores`.

    Example:
        >>> import torch
        >>> logp, hit, mean, std = token_statistics(torch.zeros(1, 4), torch.tensor([2]))
        >>> logp.exp().item(), hit.item(), mean.exp().item(), std.item()
        (0.25, False, 0.25, 0.0)
    """
    device, width = states.device.type, vocabulary or states.shape[-1]
    made, worked_on = (max(1, entries.get(device, 2**24) // width) for entries in (_MADE, _WORKED_ON))
    found = [
        _statistics(logits.float(), wanted)
        for chunk, theirs in zip(torch.split(states, made), torch.split(targets, made), strict=True)
        for logits, wanted in zip(torch.split(head(chunk), worked_on), torch.split(theirs, worked_on), strict=True)
    ]
    logp, hit, mean, std = (torch.cat(column) for column in zip(*found, strict=True))
    return logp, hit, mean, std


def _statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four of a few tokens, whose logits are used up."""
    # Passes over the whole vocabulary are what takes time: none of them makes an index or a tensor that can be spared,
    # and the normalizer is taken off the sums, not off every entry.
    targets = targets[:, None]
    below = logits.sub_(logits.amax(-1, keepdim=True))
    chosen = below.gather(-1, targets)
    rival = below.scatter_(-1, targets, -torch.inf).amax(-1, keepdim=True)
    below.scatter_(-1, targets, chosen)
    hit = chosen > rival
    # The first of the highest is slow to find, so only where there are several.
    tied = (chosen == rival).squeeze(-1)
    hit[tied] = below[tied].argmax(-1, keepdim=True) == targets[tied]
    weights = below.exp()
    total = weights.sum(-1)
    # A token of probability 0 adds nothing, but 0 · -inf would be NaN; NaN itself passes through.
    below.clamp_(min=-1e4)
    mean = (weights * below).sum(-1) / total
    below -= mean[:, None]
    std = (weights.mul_(below).mul_(below).sum(-1) / total).sqrt()
    normalizer = total.log()
    return chosen.squeeze(-1) - normalizer, hit.squeeze(-1), mean - normalizer, std
