"""Losses of machine unlearning: pure functions of logits or of log-probabilities.

Labels are as in Hugging Face: aligned with the input ids, -100 where there is no answer token, and shifted in here: the
logits at position t - 1 predict the label at position t. Prompt, padding and image positions therefore never count.
Token-level losses are means over all answer tokens of the batch, sequence-level ones means over its sequences. Losses
of hidden states look at the positions that answer tokens are predicted from.
"""

from unlearn_core.losses._answers import SequenceLogps, sequence_logps, sequence_probs, sequence_sums, token_logps
from unlearn_core.losses._divergence import (
    ceu_loss,
    entropy_loss,
    js_loss,
    kl_loss,
    margin_loss,
    max_entropy_loss,
    undial_loss,
)
from unlearn_core.losses._likelihood import jensun_loss, nll_loss, satimp_loss, wga_loss
from unlearn_core.losses._linear import TokenStats, linear_token_logps, linear_token_stats
from unlearn_core.losses._preference import dpo_loss, flat_loss, npo_loss, simnpo_loss
from unlearn_core.losses._representation import circuit_breaker_loss, drift_loss, rmu_loss

__all__ = [
    "SequenceLogps",
    "TokenStats",
    "ceu_loss",
    "circuit_breaker_loss",
    "dpo_loss",
    "drift_loss",
    "entropy_loss",
    "flat_loss",
    "jensun_loss",
    "js_loss",
    "kl_loss",
    "linear_token_logps",
    "linear_token_stats",
    "margin_loss",
    "max_entropy_loss",
    "nll_loss",
    "npo_loss",
    "rmu_loss",
    "satimp_loss",
    "sequence_logps",
    "sequence_probs",
    "sequence_sums",
    "simnpo_loss",
    "token_logps",
    "undial_loss",
    "wga_loss",
]
