"""What the published benchmarks report, as data: which sets, which metrics, how they are put together.

A benchmark is one entry of `BENCHMARKS`, a number over sets one entry of `AGGREGATES`; to add one, add an entry.
"""

from dataclasses import dataclass, field
from typing import Literal

#: What the model knew before it was finetuned; every benchmark's real sets under one name each.
REAL_SETS = ("real_authors", "real_faces", "real_world", "world_facts")

Role = Literal["forget", "retain", "holdout", "real", "other"]
Formula = Literal["harmonic_mean", "forgotten_pct", "retained_pct"]


def role(set_name: str) -> Role:
    """What a set is for, from its name.

    Args:
        set_name: Name such as `forget10`, `retain90`, `holdout` or `real_faces`.

    Returns:
        `forget`, `retain` or `holdout` for names that begin so, `real` for those of `REAL_SETS`, else `other`.

    Example:
        >>> [role(name) for name in ("forget10", "retain90", "world_facts", "pretrain")]
        ['forget', 'retain', 'real', 'other']
    """
    if set_name in REAL_SETS:
        return "real"
    roles: tuple[Role, ...] = ("forget", "retain", "holdout")
    return next((each for each in roles if set_name.startswith(each)), "other")


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A number over sets.

    Attributes:
        sets: Roles (`forget`, `retain`) or names of sets.
        metrics: Names of the metrics.
        modality: Which rows count: `text`, `image` or `all`.
        required: Those of `sets` that must be there; of the others, those count that are there.
        formula: How sets and metrics become one number: their harmonic mean, or the mean of the one metric over the
            sets as a percentage of what the target has, kept (`retained_pct`) or lost (`forgotten_pct`).
    """

    sets: tuple[str, ...]
    metrics: tuple[str, ...] = ("probability", "rouge_l_recall", "truth_ratio")
    modality: str = "all"
    required: tuple[str, ...] = ()
    formula: Formula = "harmonic_mean"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a benchmark's table holds.

    Attributes:
        source: Where it was published, and how this entry departs from it.
        sets: Roles or names of the sets that it reports.
        metrics: Metrics that it reports for each set.
        aggregates: Numbers over sets that it reports, by name.
        summary: Names of the other numbers over sets: forget quality, membership, leakage.
        elsewhere: What it reports and evidence cannot give, and why.
    """

    source: str
    sets: tuple[str, ...]
    metrics: tuple[str, ...]
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    summary: tuple[str, ...] = ()
    elsewhere: dict[str, str] = field(default_factory=dict)


_NO_ROUGE = ("probability", "truth_ratio")
_ANSWERED = ("probability", "normalized_probability", "rouge_l_recall", "truth_ratio")
_CLEAR_REAL = ("real_faces", "real_world")
_TOFU_SETS = ("retain", "real_authors", "world_facts")
_QUALITY = ("forget_quality", "forget_quality_statistic", "forget_quality_log10_p")
_JUDGED = "a language model has to judge the answers"
_OTHER_SUITE = "it is a suite of questions of its own; ask the model those"

_PERCENTAGES: tuple[tuple[Formula, str], ...] = (("forgotten_pct", "forget"), ("retained_pct", "retain"))
#: PULSE's percentages of what the target knows, of all questions and of those with and without an image.
_KEPT_AND_LOST = {
    f"{formula}{suffix}": Aggregate(sets=(of,), metrics=("mcq_accuracy",), modality=modality, formula=formula)
    for formula, of in _PERCENTAGES
    for modality, suffix in (("all", ""), ("image", "_image"), ("text", "_text"))
}

#: Numbers over sets by name. Of the real sets, `probability` is the normalized one, as published.
AGGREGATES = {
    "model_utility": Aggregate(sets=("retain", *REAL_SETS), required=("retain",)),
    "clear_real": Aggregate(sets=_CLEAR_REAL, modality="image"),
    "clear_retain": Aggregate(sets=("retain",), modality="image"),
    "clear_forget": Aggregate(sets=("forget",), modality="image"),
    "clear_real_no_rouge": Aggregate(sets=_CLEAR_REAL, metrics=_NO_ROUGE, modality="image"),
    "clear_retain_no_rouge": Aggregate(sets=("retain",), metrics=_NO_ROUGE, modality="image"),
    "clear_forget_no_rouge": Aggregate(sets=("forget",), metrics=_NO_ROUGE, modality="image"),
    **_KEPT_AND_LOST,
}

_TOFU_UTILITY = {"model_utility": Aggregate(sets=_TOFU_SETS, modality="text", required=_TOFU_SETS)}

BENCHMARKS = {
    "tofu": Benchmark(
        source="Maini et al., 2024; truth ratios with the geometric mean, as its code and OpenUnlearning have them",
        sets=("forget", *_TOFU_SETS),
        metrics=_ANSWERED,
        aggregates=_TOFU_UTILITY,
        summary=_QUALITY,
    ),
    "openunlearning": Benchmark(
        source="Dorna et al., 2025; its TOFU suite, with its variants of extraction strength and of PrivLeak",
        sets=("forget", *_TOFU_SETS),
        metrics=(*_ANSWERED, "exact_memorization", "extraction_strength_ou"),
        aggregates=_TOFU_UTILITY,
        summary=(
            "forget_quality",
            "privleak_ou",
            *(f"{attack}_auc" for attack in ("loss", "min_k", "min_k_pp", "zlib", "grad_norm", "reference")),
        ),
    ),
    "clear": Benchmark(
        source="Dontsov et al., 2024, corrected: with ROUGE, as the paper says, and forget quality of distributions",
        sets=("forget", "retain", *_CLEAR_REAL),
        metrics=_ANSWERED,
        aggregates={name: AGGREGATES[name] for name in ("clear_real", "clear_retain", "clear_forget")},
        summary=("forget_quality_js", *_QUALITY),
    ),
    "clear_published": Benchmark(
        source="Dontsov et al., 2024, as its code has it: without ROUGE, and forget quality of rows in their order",
        sets=("forget", "retain", *_CLEAR_REAL),
        metrics=("probability", "normalized_probability", "truth_ratio"),
        aggregates={
            name: AGGREGATES[name] for name in ("clear_real_no_rouge", "clear_retain_no_rouge", "clear_forget_no_rouge")
        },
        summary=("forget_quality_clear_compat",),
    ),
    "pulse": Benchmark(
        source="Kawakami et al., 2025; accuracies of lettered choice become those of the likeliest option",
        sets=("forget", "retain"),
        metrics=("mcq_accuracy",),
        aggregates=_KEPT_AND_LOST,
        elsewhere={"mmbench": _OTHER_SUITE},
    ),
    "muse": Benchmark(
        source="Shi et al., 2025; ROUGE-L recall where it takes F1. Verbatim and question rows are told by their sets, "
        "such as `forget_verbatim` and `forget_knowledge`. Its own PrivLeak is `privleak_ou`",
        sets=("forget", "retain", "holdout"),
        metrics=("rouge_l_recall",),
        summary=("privleak", "privleak_ou", "min_k_auc"),
    ),
    "mllmu": Benchmark(
        source="Liu et al., 2025 (MLLMU-Bench); its test set of altered images is a set such as `forget_altered`",
        sets=("forget", "retain", "real_faces"),
        metrics=("mcq_accuracy", "rouge_l_recall", "cloze_accuracy"),
        elsewhere={"factuality_score": _JUDGED},
    ),
    "fiubench": Benchmark(
        source="Ma et al., 2025; its exact match is `keyword_em`",
        sets=("forget", "retain", "real_faces"),
        metrics=("rouge_l_recall", "truth_ratio", "keyword_em", "mcq_accuracy"),
        summary=("forget_quality", "min_k_auc"),
        elsewhere={
            "ape": "evidence holds no answers to paraphrased questions; `functional.ape` takes them",
            "gpt_score": _JUDGED,
            "mme_and_pope": _OTHER_SUITE,
        },
    ),
    "umu": Benchmark(
        source="UMU-Bench, 2025; consistency of the modalities per subject, of each of its three scores",
        sets=("forget", "retain", "real_faces"),
        metrics=(
            *(scores := ("mcq_accuracy", "rouge_l_recall", "cloze_accuracy")),
            *(f"{score}_consistency" for score in scores),
        ),
        elsewhere={"factuality_score": _JUDGED},
    ),
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Args:
        name: One of `BENCHMARKS`.

    Returns:
        What it reports.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark `{name}`. There are: {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]
