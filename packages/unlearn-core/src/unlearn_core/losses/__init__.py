"""Losses of machine unlearning: pure functions of logits or of log-probabilities.

Labels are as in Hugging Face: aligned with the input ids, -100 where there is no answer token, and shifted in here: the
logits at position t - 1 predict the label at position t. Prompt, padding and image positions therefore never count.
Token-level losses are means over all answer tokens of the batch, sequence-level ones means over its sequences.
"""

from unlearn_core.losses._answers import SequenceLogps, sequence_logps, token_logps
from unlearn_core.losses._divergence import kl_loss
from unlearn_core.losses._likelihood import nll_loss
from unlearn_core.losses._preference import dpo_loss, npo_loss, simnpo_loss

__all__ = [
    "SequenceLogps",
    "dpo_loss",
    "kl_loss",
    "nll_loss",
    "npo_loss",
    "sequence_logps",
    "simnpo_loss",
    "token_logps",
]
