"""What the published benchmarks report, as data: which sets, which metrics, how they are put together."""

from dataclasses import dataclass
from typing import Literal

#: What the model knew before it was finetuned; every benchmark's real sets under one name each.
REAL_SETS = ("real_authors", "real_faces", "real_world", "world_facts")

Role = Literal["forget", "retain", "holdout", "real", "other"]


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
    """A number over sets: the harmonic mean of some metrics on some sets.

    Attributes:
        sets: Roles (`forget`, `retain`) or names of sets.
        metrics: Names of the metrics.
        modality: Which rows count: `text`, `image` or `all`.
        required: Those of `sets` that must be there; of the others, those count that are there.
    """

    sets: tuple[str, ...]
    metrics: tuple[str, ...] = ("probability", "rouge_l_recall", "truth_ratio")
    modality: str = "all"
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a benchmark's table holds.

    Attributes:
        source: Where it was published, and how this entry departs from it.
        sets: Roles or names of the sets that it reports.
        metrics: Metrics that it reports for each set.
        aggregates: Numbers over sets, by name.
        summary: Names of the other summary numbers that it reports.
    """

    source: str
    sets: tuple[str, ...]
    metrics: tuple[str, ...]
    aggregates: dict[str, Aggregate]
    summary: tuple[str, ...]


_NO_ROUGE = ("probability", "truth_ratio")
_CLEAR_REAL = ("real_faces", "real_world")
_QUALITY = ("forget_quality", "forget_quality_statistic", "forget_quality_log10_p")

#: Numbers over sets by name. Of the real sets, `probability` is the normalized one, as published.
AGGREGATES = {
    "model_utility": Aggregate(sets=("retain", *REAL_SETS), required=("retain",)),
    "clear_real": Aggregate(sets=_CLEAR_REAL, modality="image"),
    "clear_retain": Aggregate(sets=("retain",), modality="image"),
    "clear_forget": Aggregate(sets=("forget",), modality="image"),
    "clear_real_no_rouge": Aggregate(sets=_CLEAR_REAL, metrics=_NO_ROUGE, modality="image"),
    "clear_retain_no_rouge": Aggregate(sets=("retain",), metrics=_NO_ROUGE, modality="image"),
    "clear_forget_no_rouge": Aggregate(sets=("forget",), metrics=_NO_ROUGE, modality="image"),
}

_TOFU_SETS = ("retain", "real_authors", "world_facts")
_TOFU_UTILITY = Aggregate(sets=_TOFU_SETS, modality="text", required=_TOFU_SETS)

BENCHMARKS = {
    "tofu": Benchmark(
        source="Maini et al., 2024; truth ratios with the geometric mean, as its code and OpenUnlearning have them",
        sets=("forget", *_TOFU_SETS),
        metrics=("probability", "normalized_probability", "rouge_l_recall", "truth_ratio"),
        aggregates={"model_utility": _TOFU_UTILITY},
        summary=_QUALITY,
    ),
    "clear": Benchmark(
        source="Dontsov et al., 2024, as the paper describes it, ROUGE included; forget quality compares distributions",
        sets=("forget", "retain", *_CLEAR_REAL),
        metrics=("probability", "normalized_probability", "rouge_l_recall", "truth_ratio"),
        aggregates={name: AGGREGATES[name] for name in ("clear_real", "clear_retain", "clear_forget")},
        summary=("forget_quality_js", *_QUALITY),
    ),
    "clear_no_rouge": Benchmark(
        source="Dontsov et al., 2024, as the published table was computed: the same without ROUGE",
        sets=("forget", "retain", *_CLEAR_REAL),
        metrics=("probability", "normalized_probability", "truth_ratio"),
        aggregates={
            name: AGGREGATES[name] for name in ("clear_real_no_rouge", "clear_retain_no_rouge", "clear_forget_no_rouge")
        },
        summary=("forget_quality_js", *_QUALITY),
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
