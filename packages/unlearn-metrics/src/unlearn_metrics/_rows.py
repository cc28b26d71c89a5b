"""From evidence to one line per row with every metric that the row can give; sets are summed up from these lines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import functional as F
from unlearn_metrics.benchmarks import REAL_SETS
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.functional import _rouge
from unlearn_metrics.functional._inputs import Floats, Ragged
from unlearn_metrics.functional._membership import lowest_means, standardized
from unlearn_metrics.functional._memorization import extraction_strengths

IDENTITY = ("set", "id", "subject", "task", "modality")
MIN_K_SHARE = 0.4


def row_metrics(evidence: Evidence) -> pa.Table:
    """Every metric of every row, in the order of set and id, whatever the order of the evidence.

    `truth_ratio` is R itself, the direction is a matter of the set. Rows of task `mcq` have `mcq_accuracy` alone, other
    rows have everything else. Where a row was answered several times, its generation metrics are the means.

    Args:
        evidence: Evidence on one model.

    Returns:
        Table with the columns `set`, `id`, `subject`, `task`, `modality` and a float64 column per metric, null where a
        row cannot give the metric: no generated answer, no keywords, no word in the reference, no wrong answers.

    Raises:
        ValueError: If an answer was not scored though its paraphrase was, or the two tables disagree about a row.
    """
    rows = _identity(evidence)
    keys = _keys(rows)
    metrics = _score_metrics(evidence.scores, pc.index_in(_keys(evidence.scores), value_set=keys), rows)
    metrics |= _generation_metrics(evidence.generations, pc.index_in(_keys(evidence.generations), value_set=keys), rows)
    is_mcq = np.asarray(pc.equal(rows["task"], "mcq"))
    for name, values in metrics.items():
        values[is_mcq != (name == "mcq_accuracy")] = np.nan
        rows = rows.append_column(name, pa.array(values, from_pandas=True))
    return rows


def _identity(evidence: Evidence) -> pa.Table:
    names = list(IDENTITY)
    both = pa.concat_tables([evidence.scores.select(names), evidence.generations.select(names)])
    rows = both.group_by(names).aggregate([]).sort_by([(name, "ascending") for name in names])
    keys = _keys(rows)
    same = np.asarray(pc.equal(keys[1:], keys[:-1]))
    if same.any():
        row = rows.slice(int(same.argmax()), 1).to_pylist()[0]
        raise ValueError(f"row {row['id']!r} of set {row['set']!r} occurs with two subjects, tasks or modalities.")
    return rows


def _keys(table: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(table["set"], table["id"], "\x1f")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _score_metrics(scores: pa.Table, at: pa.Array, rows: pa.Table) -> dict[str, Floats]:
    """Metrics of the scored answers; `at` is the row that each belongs to."""
    at, kind = np.asarray(at), np.asarray(scores["kind"])
    is_answer, is_paraphrase = kind == "answer", kind == "paraphrase"
    nll = -_ragged(scores, "logp").means()
    right = _spread(nll[is_answer], at[is_answer], rows.num_rows)
    _check_answered(rows, at, right)
    paraphrase = _spread(nll[is_paraphrase], at[is_paraphrase], rows.num_rows)
    # As published: where the real sets have no paraphrase, the answer itself stands for the right one.
    is_real = np.asarray(pc.is_in(rows["set"], value_set=pa.array(REAL_SETS)))
    paraphrase = np.where(np.isnan(paraphrase) & is_real, right, paraphrase)
    wrong = _wrong_answers(nll, at, kind == "perturbed", np.asarray(scores["index"]), rows.num_rows)
    by_answer = _answer_metrics(scores.filter(pa.array(is_answer)), nll[is_answer])
    return {
        "loss": right,
        "probability": np.exp(-right),
        "normalized_probability": _by_count(F.normalized_probability, right, wrong),
        "truth_ratio": _by_count(F.truth_ratio, paraphrase, wrong),
        "mcq_accuracy": _by_count(F.mcq_accuracy, right, wrong),
        **{name: _spread(values, at[is_answer], rows.num_rows) for name, values in by_answer.items()},
    }


def _answer_metrics(answers: pa.Table, nll: Floats) -> dict[str, Floats]:
    """What follows from the tokens of the right answers alone."""
    logp, hit = _ragged(answers, "logp"), _ragged(answers, "hit")
    scores = standardized(logp.flat, _ragged(answers, "mean").flat, _ragged(answers, "std").flat)
    return {
        "exact_memorization": hit.means(),
        "extraction_strength": extraction_strengths(hit),
        "min_k": lowest_means(logp, MIN_K_SHARE),
        "min_k_pp": lowest_means(logp._replace(flat=scores), MIN_K_SHARE),
        "zlib_ratio": F.zlib_ratio(nll, answers["text"].to_pylist()),
    }


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


def _by_count(metric: Callable[[Any, Any], Any], right: Floats, wrong: Ragged) -> Floats:
    """`metric` of right and wrong NLL, rows with as many wrong answers at a time; NaN where one side is missing."""
    values = np.full(right.size, np.nan)
    for count in np.unique(wrong.lengths[wrong.lengths > 0]):
        rows = np.flatnonzero((wrong.lengths == count) & ~np.isnan(right))
        if rows.size:
            values[rows] = metric(right[rows], wrong.flat[wrong.starts[rows][:, None] + np.arange(count)])
    return values


def _generation_metrics(generations: pa.Table, at: pa.Array, rows: pa.Table) -> dict[str, Floats]:
    """Metrics of the generated answers; `at` is the row that each belongs to."""
    at = np.asarray(at)
    generated, answers = generations["generated"].to_pylist(), generations["answer"].to_pylist()
    keywords = generations["keywords"].to_pylist()
    measurable = [i for i, answer in enumerate(answers) if _rouge.has_words(answer)]
    with_keywords = [i for i, words in enumerate(keywords) if words]
    metrics = {}
    if measurable:
        recalls = F.rouge_l_recalls([generated[i] for i in measurable], [answers[i] for i in measurable])
        metrics["rouge_l_recall"] = _row_means(recalls, at[measurable], rows.num_rows)
    if with_keywords:
        shares = np.array([_keyword_accuracy(generations, i, generated[i], keywords[i]) for i in with_keywords])
        metrics["keyword_accuracy"] = _row_means(shares, at[with_keywords], rows.num_rows)
    return metrics


def _keyword_accuracy(generations: pa.Table, i: int, generated: str, keywords: list[str]) -> float:
    try:
        return F.keyword_accuracy(generated, keywords)
    except ValueError as error:
        raise ValueError(
            f"row {generations['id'][i].as_py()!r} of set {generations['set'][i].as_py()!r}: {error}"
        ) from None


def _row_means(values: Floats, at: NDArray[np.int64], n: int) -> Floats:
    """Mean over the samples of each row; NaN for rows without any."""
    sums, counts = np.bincount(at, weights=values, minlength=n), np.bincount(at, minlength=n)
    means: Floats = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return means
