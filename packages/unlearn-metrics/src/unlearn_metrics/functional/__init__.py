"""Metrics as pure functions of arrays and strings, float64 inside.

An answer's `nll` is its mean negative log-likelihood per answer token, the end token included.
"""

from unlearn_metrics.functional._answers import cloze_accuracy, mcq_accuracy, mcq_letter_accuracy
from unlearn_metrics.functional._before_after import (
    forgotten_pct,
    privleak,
    quant_robustness,
    relearn_robustness,
    retained_pct,
)
from unlearn_metrics.functional._consistency import cross_modal_consistency
from unlearn_metrics.functional._depth import unlearning_depth
from unlearn_metrics.functional._forget_quality import ForgetQuality, forget_quality, forget_quality_js
from unlearn_metrics.functional._keywords import ape, keyword_accuracy, keyword_em
from unlearn_metrics.functional._leakage import leak_at_k
from unlearn_metrics.functional._likelihood import fluency, normalized_probability, probability
from unlearn_metrics.functional._membership import ATTACKS, auc, min_k, min_k_pp, reference_difference, zlib_ratio
from unlearn_metrics.functional._memorization import exact_memorization, extraction_strength
from unlearn_metrics.functional._rouge import rouge_l_recall, rouge_l_recalls
from unlearn_metrics.functional._statistics import Interval, PairedDifference, bootstrap_interval, paired_difference
from unlearn_metrics.functional._truth_ratio import forget_truth_ratio, retain_truth_ratio, truth_ratio
from unlearn_metrics.functional._utility import model_utility

__all__ = [
    "ATTACKS",
    "ForgetQuality",
    "Interval",
    "PairedDifference",
    "ape",
    "auc",
    "bootstrap_interval",
    "cloze_accuracy",
    "cross_modal_consistency",
    "exact_memorization",
    "extraction_strength",
    "fluency",
    "forget_quality",
    "forget_quality_js",
    "forget_truth_ratio",
    "forgotten_pct",
    "keyword_accuracy",
    "keyword_em",
    "leak_at_k",
    "mcq_accuracy",
    "mcq_letter_accuracy",
    "min_k",
    "min_k_pp",
    "model_utility",
    "normalized_probability",
    "paired_difference",
    "privleak",
    "probability",
    "quant_robustness",
    "reference_difference",
    "relearn_robustness",
    "retain_truth_ratio",
    "retained_pct",
    "rouge_l_recall",
    "rouge_l_recalls",
    "truth_ratio",
    "unlearning_depth",
    "zlib_ratio",
]
