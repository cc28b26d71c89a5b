"""What the scored answers of a row give: from token log-probabilities to one number per metric and row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import functional as F
from unlearn_metrics._arrow import is_one_of
from unlearn_metrics.benchmarks import REAL_SETS
from unlearn_metrics.functional._inputs import Floats, Ragged
from unlearn_metrics.functional._membership import lowest_means, standardized
from unlearn_metrics.functional._memorization import extraction_strengths

MIN_K_SHARE = 0.4


def score_metrics(scores: pa.Table, at: pa.Array, rows: pa.Table) -> dict[str, Floats]:
    """Metrics of the scored answers; `at` is the row that each belongs to."""
    at, kind = np.asarray(at), np.asarray(scores["kind"])
    is_answer, is_paraphrase = kind == "answer", kind == "paraphrase"
    nll = -_ragged(scores, "logp").means()
    right = _spread(nll[is_answer], at[is_answer], rows.num_rows)
    _check_answered(rows, at, right)
    paraphrase = _spread(nll[is_paraphrase], at[is_paraphrase], rows.num_rows)
    # As published: where the real sets have no paraphrase, the answer itself stands for the right one.
    is_real = np.asarray(is_one_of(rows["set"], REAL_SETS))
    paraphrase = np.where(np.isnan(paraphrase) & is_real, right, paraphrase)
    wrong = _wrong_answers(nll, at, kind == "perturbed", np.asarray(scores["index"]), rows.num_rows)
    by_answer = _answer_metrics(scores.filter(is_one_of(scores["kind"], ["answer"])), nll[is_answer])
    return {
        "loss": right,
        "paraphrase_loss": paraphrase,
        "perturbed_loss": _means(wrong),
        "probability": np.exp(-right),
        "normalized_probability": by_count(F.normalized_probability, right, wrong),
        "truth_ratio": by_count(F.truth_ratio, paraphrase, wrong),
        "mcq_accuracy": by_count(F.mcq_accuracy, right, wrong),
        **{name: _spread(values, at[is_answer], rows.num_rows) for name, values in by_answer.items()},
    }


def _answer_metrics(answers: pa.Table, nll: Floats) -> dict[str, Floats]:
    """What follows from the tokens of the right answers alone."""
    logp, hit = _ragged(answers, "logp"), _ragged(answers, "hit")
    scores = standardized(logp.flat, _ragged(answers, "mean").flat, _ragged(answers, "std").flat)
    return {
        "exact_memorization": hit.means(),
        "extraction_strength": extraction_strengths(hit),
        "extraction_strength_ou": extraction_strengths(hit, ou_compat=True),
        "min_k": lowest_means(logp, MIN_K_SHARE),
        "min_k_pp": lowest_means(logp._replace(flat=scores), MIN_K_SHARE),
        "zlib_ratio": F.zlib_ratio(nll, answers["text"].to_pylist()),
        **_optional_metrics(answers, nll),
    }


def _optional_metrics(answers: pa.Table, nll: Floats) -> dict[str, Floats]:
    """What follows from the optional columns of the scores."""
    metrics = {}
    if "grad_norm" in answers.column_names:
        metrics["grad_norm"] = answers["grad_norm"].to_numpy().astype(np.float64)
    if "ref_logp" in answers.column_names:
        metrics["reference"] = F.reference_difference(nll, -_ragged(answers, "ref_logp").means())
    return metrics


def _spread(values: Floats, at: NDArray[np.int64], n: int) -> Floats:
    """The values at their rows, NaN at the others."""
    spread = np.full(n, np.nan)
    spread[at] = values
    return spread


def _check_answered(rows: pa.Table, at: NDArray[np.int64], right: Floats) -> None:
    unanswered = at[np.isnan(right[at])]
    if unanswered.size:
        row = rows.slice(int(unanswered[0]), 1).to_pylist()[0]
        raise ValueError(f"row {row['id']!r} of set {row['set']!r} has no score of kind `answer`. Score it too.")


def _ragged(table: pa.Table, name: str) -> Ragged:
    column = table[name].combine_chunks()
    lengths = np.asarray(pc.list_value_length(column)).astype(np.int64)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return Ragged(flat.astype(np.float64) if flat.dtype == np.float32 else flat, lengths, False)


def _wrong_answers(
    nll: Floats, at: NDArray[np.int64], is_wrong: NDArray[np.bool_], index: NDArray[np.int32], n: int
) -> Ragged:
    """The NLL of the wrong answers row by row, in the order of their index."""
    order = np.flatnonzero(is_wrong)
    order = order[np.lexsort((index[order], at[order]))]
    return Ragged(nll[order], np.bincount(at[order], minlength=n), False)


def _means(wrong: Ragged) -> Floats:
    """The mean of each row's wrong answers; NaN for rows without any."""
    means = np.full(wrong.lengths.size, np.nan)
    some = wrong.lengths > 0
    means[some] = wrong._replace(lengths=wrong.lengths[some]).means() if some.any() else np.nan
    return means


def by_count(metric: Callable[[Any, Any], Any], right: Floats, wrong: Ragged) -> Floats:
    """`metric` of right and wrong NLL, rows with as many wrong answers at a time; NaN where one side is missing."""
    values = np.full(right.size, np.nan)
    for count in np.unique(wrong.lengths[wrong.lengths > 0]):
        rows = np.flatnonzero((wrong.lengths == count) & ~np.isnan(right))
        if rows.size:
            values[rows] = metric(right[rows], wrong.flat[wrong.starts[rows][:, None] + np.arange(count)])
    return values
