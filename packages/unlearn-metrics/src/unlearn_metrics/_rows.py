"""From evidence to one line per row with every metric that the row can give; sets are summed up from these lines."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics._arrow import floats, is_one_of
from unlearn_metrics._generation_rows import generation_metrics
from unlearn_metrics._row_table import IDENTITY, METRICS
from unlearn_metrics._score_rows import score_metrics
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.logs import Log


def row_metrics(evidence: Evidence | Log) -> pa.Table:
    """Every metric of every row, in the order of set and id, whatever the order of the evidence.

    `truth_ratio` is R itself, the direction is a matter of the set. Rows of task `mcq` have `mcq_accuracy` alone, other
    rows have everything else. Where a row was answered several times, its generation metrics are the means, and
    `leak_at_<k>` is the chance that one of k samples says all keywords, for k of 1, 2, 4, … up to their count.

    Args:
        evidence: Evidence on one model, or a log.

    Returns:
        Table with the columns `set`, `id`, `subject`, `task`, `modality` and a float64 column per metric, null where a
        row cannot give the metric: no generated answer, no keywords, no word in the reference, no wrong answers. The
        rows of a log as it gives them.

    Raises:
        ValueError: If an answer was not scored though its paraphrase was, or the two tables disagree about a row.
    """
    if isinstance(evidence, Log):
        return evidence.rows
    rows = _identity(evidence)
    keys = _keys(rows)
    metrics = score_metrics(evidence.scores, pc.index_in(_keys(evidence.scores), value_set=keys), rows)
    metrics |= generation_metrics(evidence.generations, pc.index_in(_keys(evidence.generations), value_set=keys), rows)
    is_mcq = np.asarray(is_one_of(rows["task"], ["mcq"]))
    for name in dict.fromkeys([*METRICS, *metrics]):
        values = metrics.get(name, np.full(rows.num_rows, np.nan))
        values[is_mcq != (name == "mcq_accuracy")] = np.nan
        rows = rows.append_column(name, floats(values))
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
