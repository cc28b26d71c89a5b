"""Do text and image agree? The consistency of what is known of a subject in the two modalities."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics import _estimates
from unlearn_metrics import functional as F
from unlearn_metrics._estimates import Draw, Estimate
from unlearn_metrics.benchmarks import role
from unlearn_metrics.functional._inputs import Floats

_SCORES = ("mcq_accuracy", "cloze_accuracy", "rouge_l_recall", "keyword_accuracy")


def consistency(rows: pa.Table) -> dict[str, Estimate]:
    """`<score>_consistency` of a set that has rows of both modalities: the mean over subjects that have both.

    Evidence does not say which text and which image row ask for the same fact, so the subject's means take the place
    of the fact's two scores.
    """
    found: dict[str, Estimate] = {}
    name = rows["set"][0].as_py()
    for score in _SCORES:
        pairs = _pairs(rows.filter(pc.is_valid(rows[score])), score)
        if pairs.size:
            kind: Literal["forget", "retain"] = "forget" if role(name) == "forget" else "retain"
            values = F.cross_modal_consistency(pairs[:, 1], pairs[:, 0], kind)
            how = Draw(np.arange(len(values)), len(values), f"{name} {score}")
            found |= _estimates.means({f"{score}_consistency": values}, how)
    return found


def _pairs(rows: pa.Table, score: str) -> Floats:
    """Mean score on texts and on images of each subject that has both, shape (subjects, 2)."""
    rows = rows.filter(pc.is_valid(rows["subject"]))
    means = rows.group_by(["subject", "modality"]).aggregate([(score, "mean")])
    table = {(each["subject"], each["modality"]): each[f"{score}_mean"] for each in means.to_pylist()}
    both = sorted({subject for subject, _ in table if {(subject, "text"), (subject, "image")} <= table.keys()})
    return np.array([[table[subject, "text"], table[subject, "image"]] for subject in both])
