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
    at = np.asarray(at)
    kind = np.asarray(scores["kind"])
    answers = scores.filter(pa.array(kind == "answer"))
    at_answer = at[kind == "answer"]
    nll = -_ragged(scores, "logp").means()

    def per_row(values: Floats, where: NDArray[np.int64] = at_answer) -> Floats:
        spread = np.full(rows.num_rows, np.nan)
        spread[where] = values
        return spread

    right, paraphrase = per_row(nll[kind == "answer"]), per_row(nll[kind == "paraphrase"], at[kind == "paraphrase"])
    _check_answered(rows, at, right)
    # As published: the real sets have no paraphrases, there the answer itself stands for the right one.
    is_real = np.asarray(pc.is_in(rows["set"], value_set=pa.array(REAL_SETS)))
    paraphrase = np.where(np.isnan(paraphrase) & is_real, right, paraphrase)
    wrong = _wrong_answers(nll, at, kind == "perturbed", np.asarray(scores["index"]), rows.num_rows)
    logp = _ragged(answers, "logp")
    spread = standardized(logp.flat, _ragged(answers, "mean").flat, _ragged(answers, "std").flat)
    scored = ~np.isnan(right)
    return (
        {
            "probability": np.exp(-right),
            "normalized_probability": _by_count(F.normalized_probability, right, wrong),
            "truth_ratio": _by_count(F.truth_ratio, paraphrase, wrong),
            "mcq_accuracy": _by_count(F.mcq_accuracy, right, wrong),
            "exact_memorization": per_row(_ragged(answers, "hit").means()),
            "extraction_strength": per_row(extraction_strengths(_ragged(answers, "hit"))),
            "loss": right,
            "min_k": per_row(lowest_means(logp, MIN_K_SHARE)),
            "min_k_pp": per_row(lowest_means(logp._replace(flat=spread), MIN_K_SHARE)),
            "zlib_ratio": per_row(F.zlib_ratio(nll[kind == "answer"], answers["text"].to_pylist())),
        }
        if scored.any()
        else {}
    )


def _check_answered(rows: pa.Table, at: NDArray[np.int64], right: Floats) -> None:
    unanswered = at[np.isnan(right[at])]
    if unanswered.size:
        row = rows.slice(int(unanswered[0]), 1).to_pylist()[0]
        raise ValueError(f"row {row['id']!r} of set {row['set']!r} has no score of kind `answer`. Score it too.")


def _ragged(table: pa.Table, name: str) -> Ragged:
    column = table[name].combine_chunks()
    lengths = np.asarray(pc.list_value_length(column)).astype(np.int64)
    return Ragged(column.flatten().to_numpy(zero_copy_only=False), lengths, False)


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
