"""Metrics as pure functions of arrays and strings, float64 inside.

An answer's `nll` is its mean negative log-likelihood per answer token, the end token included.
"""

from unlearn_metrics.functional._answers import keyword_accuracy, mcq_accuracy
from unlearn_metrics.functional._forget_quality import ForgetQuality, forget_quality, forget_quality_js
from unlearn_metrics.functional._likelihood import normalized_probability, probability
from unlearn_metrics.functional._membership import auc, min_k, min_k_pp, zlib_ratio
from unlearn_metrics.functional._memorization import exact_memorization, extraction_strength
from unlearn_metrics.functional._rouge import rouge_l_recall, rouge_l_recalls
from unlearn_metrics.functional._statistics import Interval, PairedDifference, bootstrap_interval, paired_difference
from unlearn_metrics.functional._truth_ratio import forget_truth_ratio, retain_truth_ratio, truth_ratio
from unlearn_metrics.functional._utility import model_utility

__all__ = [
    "ForgetQuality",
    "Interval",
    "PairedDifference",
    "auc",
    "bootstrap_interval",
    "exact_memorization",
    "extraction_strength",
    "forget_quality",
    "forget_quality_js",
    "forget_truth_ratio",
    "keyword_accuracy",
    "mcq_accuracy",
    "min_k",
    "min_k_pp",
    "model_utility",
    "normalized_probability",
    "paired_difference",
    "probability",
    "retain_truth_ratio",
    "rouge_l_recall",
    "rouge_l_recalls",
    "truth_ratio",
    "zlib_ratio",
]
