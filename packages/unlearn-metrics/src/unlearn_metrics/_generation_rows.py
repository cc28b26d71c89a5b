"""What the generated answers of a row give: the words and keywords that they say."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unlearn_metrics import functional as F
from unlearn_metrics.functional import _rouge
from unlearn_metrics.functional._inputs import Floats

#: The k of `leak_at_<k>`, as far as there are samples.
LEAK_AT = (1, 2, 4, 8, 16, 32, 64, 128)


def generation_metrics(generations: pa.Table, at: pa.Array, rows: pa.Table) -> dict[str, Floats]:
    """Metrics of the generated answers; `at` is the row that each belongs to."""
    at = np.asarray(at)
    generated, answers = generations["generated"].to_pylist(), generations["answer"].to_pylist()
    keywords, n = generations["keywords"].to_pylist(), rows.num_rows
    measurable = [i for i, answer in enumerate(answers) if _rouge.has_words(answer)]
    cloze = np.flatnonzero(np.asarray(generations["task"]) == "cloze")
    with_keywords = [i for i, words in enumerate(keywords) if words]
    metrics = {}
    if measurable:
        recalls = F.rouge_l_recalls([generated[i] for i in measurable], [answers[i] for i in measurable])
        metrics["rouge_l_recall"] = _row_means(recalls, at[measurable], n)
    if cloze.size:
        said = F.cloze_accuracy([generated[i] for i in cloze], [answers[i] for i in cloze])
        metrics["cloze_accuracy"] = _row_means(said, at[cloze], n)
    if with_keywords:
        shares = np.array([_keyword_accuracy(generations, i, generated[i], keywords[i]) for i in with_keywords])
        metrics["keyword_accuracy"] = _row_means(shares, at[with_keywords], n)
        found = F.keyword_em([generated[i] for i in with_keywords], [keywords[i] for i in with_keywords])
        metrics["keyword_em"] = _row_means(found, at[with_keywords], n)
        metrics |= _leaks(shares == 1, at[with_keywords], n)
    return metrics


def _leaks(leaking: NDArray[np.bool_], at: NDArray[np.int64], n: int) -> dict[str, Floats]:
    """The chance that one of k samples says all keywords, for rows of several samples; NaN for the others."""
    samples, leaks = np.bincount(at, minlength=n), np.bincount(at, weights=leaking, minlength=n).astype(np.int64)
    several = np.flatnonzero(samples > 1)
    most = samples[several].min() if several.size else 0
    metrics = {}
    for k in (k for k in LEAK_AT if k <= most):
        metrics[f"leak_at_{k}"] = np.full(n, np.nan)
        metrics[f"leak_at_{k}"][several] = F.leak_at_k(samples[several], leaks[several], k)
    return metrics


def _keyword_accuracy(generations: pa.Table, i: int, generated: str, keywords: list[str]) -> float:
    try:
        return float(F.keyword_accuracy(generated, keywords))
    except ValueError as error:
        raise ValueError(
            f"row {generations['id'][i].as_py()!r} of set {generations['set'][i].as_py()!r}: {error}"
        ) from None


def _row_means(values: Floats, at: NDArray[np.int64], n: int) -> Floats:
    """Mean over the samples of each row; NaN for rows without any."""
    sums, counts = np.bincount(at, weights=values, minlength=n), np.bincount(at, minlength=n)
    means: Floats = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return means
