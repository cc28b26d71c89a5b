"""What `results.json` holds, checked, and the words and the order in which a reader meets it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from unlearn_metrics.benchmarks import role

BASE_STATES = ("pretrained", "target", "retrained")
# The first of these that is there says what a model knows; all lie between 0 and 1.
KNOWLEDGE = ("keyword_accuracy", "rouge_l_recall", "probability")

_STATES = {
    "retain_finetune": "Retain finetune",
    "ga": "GA",
    "graddiff": "GradDiff",
    "kl": "KL",
    "npo": "NPO",
    "simnpo": "SimNPO",
    "idk": "IDK",
    "dpo": "DPO",
}
_METRICS = {
    "keyword_accuracy": ("Keywords", "Share of the words that carry the fact which the generated answer says."),
    "rouge_l_recall": ("ROUGE-L", "Longest common subsequence of generated and right answer, over the right one."),
    "probability": ("Probability", "Probability of the right answer, normalized by its length."),
    "truth_ratio": ("Truth ratio", "How a paraphrase of the right answer fares against wrong answers of its form."),
    "normalized_probability": ("Norm. prob.", "Probability of the right answer among it and the wrong ones."),
    "mcq_accuracy": ("Choice", "Multiple choice: how often the right option is the most likely."),
    "exact_memorization": ("Exact mem.", "Share of answer tokens that the model would say, given those before."),
    "extraction_strength": ("Extraction", "Share of the answer that the model completes from what precedes it."),
    "forget_quality": (
        "Forget quality",
        "p-value that truth ratios on the forget set are those of the retrained model.",
    ),
    "model_utility": ("Model utility", "Harmonic mean of what the model can do on all that it was to keep."),
    "forget_quality_text": ("Forget quality, text", "The same on text rows alone."),
    "forget_quality_image": ("Forget quality, images", "The same on image rows alone."),
    "forget_quality_statistic": ("KS statistic", "Largest gap between the two distributions of truth ratios."),
    "forget_quality_log10_p": ("Forget quality, log10 p", "Logarithm of the p-value, which stays finite."),
    "forget_quality_js": ("Forget quality, JS", "1 minus the Jensen-Shannon distance of the two distributions."),
    "clear_real": ("CLEAR real", "Harmonic mean over images of real people and things."),
    "clear_retain": ("CLEAR retain", "Harmonic mean over images of the retain set."),
    "clear_forget": ("CLEAR forget", "Harmonic mean over images of the forget set."),
    "loss_auc": ("Loss AUC", "Membership: how well the loss tells forget rows from rows never seen; 0.5 is chance."),
    "min_k_auc": ("Min-K AUC", "Membership, by the least likely tokens; 0.5 is chance."),
    "min_k_pp_auc": ("Min-K++ AUC", "Membership, by the least likely tokens, standardized; 0.5 is chance."),
    "zlib_auc": ("zlib AUC", "Membership, by the loss over the compressed length; 0.5 is chance."),
    "grad_norm_auc": ("Gradient AUC", "Membership, by the norm of the loss gradient; 0.5 is chance."),
    "reference_auc": ("Reference AUC", "Membership, by the loss beyond that of a reference model; 0.5 is chance."),
    "privleak": ("PrivLeak", "How far the Min-K AUC is from the retrained model's, in percent of it; 0 is best."),
    "privleak_ou": ("PrivLeak, published", "The same of 1 - AUC, as MUSE and OpenUnlearning report it."),
    "forgotten_pct": ("Forgotten %", "Share of the target's right choices on the forget set that are gone."),
    "retained_pct": ("Retained %", "Share of the target's right choices on the retain set that are still there."),
    "cloze_accuracy": ("Cloze", "How often the words that fill the blank are said."),
    "keyword_em": ("Keywords, anywhere", "The keywords wherever their letters stand, as FIUBench counts them."),
    "extraction_strength_ou": ("Extraction, OU", "As OpenUnlearning has it: never 0."),
    "forget_quality_clear_compat": ("Forget quality, CLEAR's code", "It compares rows in their order."),
}
# What the tables show first; the rest is folded away.
_PRIMARY = (
    "keyword_accuracy",
    "rouge_l_recall",
    "probability",
    "normalized_probability",
    "truth_ratio",
    "mcq_accuracy",
)
_PRIMARY_SUMMARY = ("forget_quality", "model_utility", "clear_real", "clear_retain", "clear_forget")
_SETS = {
    "forget": ("Forget set", "what was to be forgotten"),
    "retain": ("Retain set", "what was learnt with it and to be kept"),
    "real_faces": ("Real faces", "public figures, known from pretraining"),
    "real_world": ("Real world", "general visual questions"),
    "real_authors": ("Real authors", "known from pretraining"),
    "world_facts": ("World facts", "general knowledge in text"),
    "holdout": ("Holdout", "subjects that no model has met"),
}


class Number(NamedTuple):
    """A measured number; `low` and `high` are its 95 % interval, where there is one."""

    value: float
    low: float | None
    high: float | None
    n: int | None


def number(entry: Any, where: str) -> Number | None:
    """Returns what an entry of `results.json` holds; `None` where it is not there or says that nothing was measured.

    Raises:
        ValueError: If it is no mapping with a finite `value`, or its interval is no pair of finite numbers.
    """
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or "value" not in entry:
        raise ValueError(f"`{where}` must be an object with `value`, `low`, `high` and `n`, got {entry!r}.")
    if entry["value"] is None:
        return None
    value: Any = entry["value"]
    low, high, n = (entry.get(key) for key in ("low", "high", "n"))
    for key, part in (("value", value), ("low", low), ("high", high), ("n", n)):
        if part is not None and (
            isinstance(part, bool) or not isinstance(part, int | float) or not math.isfinite(part)
        ):
            raise ValueError(f"`{where}.{key}` must be a finite number, got {part!r}; compute the results again.")
    if (low is None) != (high is None):
        raise ValueError(f"`{where}` must have both ends of its interval or neither, got {low!r} and {high!r}.")
    return Number(value, low, high, n)


class Results:
    """The numbers of a run, by name.

    Args:
        raw: What `results.json` holds.

    Raises:
        ValueError: If it has no states, or an entry does not have the documented form.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        states = _mapping(raw, "states")
        if not states:
            raise ValueError("the results have no states: there is nothing to report. Score a model first.")
        self.summary = {state: _mapping(_mapping(raw, "summary", {}), state, {}) for state in states}
        self.missing = {state: _mapping(_mapping(raw, "missing", {}), state, {}) for state in states}
        self.run = _mapping(raw, "run", {})
        self.states = [*(s for s in BASE_STATES if s in states), *(s for s in states if s not in BASE_STATES)]
        self._numbers: dict[tuple[str, str, str, str], Number] = {}
        for state, sets in states.items():
            for path, entry in _leaves(sets, ("states", state), depth=3):
                if (found := number(entry, ".".join(path))) is not None:
                    self._numbers[path[1], path[2], path[3], path[4]] = found
        self._summaries = {
            (state, name): number(entry, f"summary.{state}.{name}")
            for state, entries in self.summary.items()
            for name, entry in entries.items()
        }
        self.summary_names = _parted(_ordered((name for _, name in self._summaries), list(_METRICS)), _PRIMARY_SUMMARY)

    @property
    def methods(self) -> list[str]:
        """The states that a method made."""
        return [state for state in self.states if state not in BASE_STATES]

    @property
    def apart(self) -> list[str]:
        """The modalities to show apart: `all` only where there is no other."""
        found = _ordered((key[2] for key in self._numbers), ("text", "image"))
        return [modality for modality in found if modality != "all"] or found

    def sets(self, modality: str) -> list[str]:
        """The sets with a number in this modality, what was to be forgotten and what was to be kept first.

        Under `all`, a set that has but one modality is left out: its numbers are those of that modality.
        """
        found = _ordered((key[1] for key in self._numbers if key[2] == modality), list(_SETS))
        if modality == "all" and "all" not in self.apart:
            found = [
                name for name in found if all(name in self.sets(each) for each in self.apart) and len(self.apart) > 1
            ]
        return sorted(found, key=lambda name: (role(name) != "forget", role(name) != "retain"))

    def metrics(self, dataset: str, modality: str) -> tuple[list[str], list[str]]:
        """The metrics of a set in a modality, those to show first and the others."""
        found = _ordered((key[3] for key in self._numbers if key[1:3] == (dataset, modality)), list(_METRICS))
        return _parted(found, _PRIMARY)

    def get(self, state: str, dataset: str, modality: str, metric: str) -> Number | None:
        """One number, or `None` where it was not measured."""
        return self._numbers.get((state, dataset, modality, metric))

    def get_summary(self, state: str, name: str) -> Number | None:
        """One number over sets, or `None` where it was not measured."""
        return self._summaries.get((state, name))

    def knowledge(self, modality: str) -> tuple[str, str, str] | None:
        """The forget set, the retain set and the metric that say what a model of this modality knows."""
        sets = self.sets(modality)
        forget, retain = (
            next((name for name in sets if role(name) == wanted), None) for wanted in ("forget", "retain")
        )
        if forget is None or retain is None:
            return None
        measured = {key[1:] for key in self._numbers}
        for metric in KNOWLEDGE:
            if {(forget, modality, metric), (retain, modality, metric)} <= measured:
                return forget, retain, metric
        return None


def goal(name: str) -> str:
    """The state that a method should be indistinguishable from on this set, or in this number over sets.

    Example:
        >>> [goal(name) for name in ("forget10", "retain90", "forget_quality", "clear_forget", "loss_auc")]
        ['retrained', 'target', 'retrained', 'retrained', 'retrained']
    """
    of_retrained = name.startswith(("forgotten", "privleak")) or "forget" in name or name.endswith("_auc")
    return "retrained" if of_retrained else "target"


def state_title(state: str) -> str:
    """A state's name in words."""
    return _STATES.get(state, state.capitalize() if state in BASE_STATES else state)


def metric_title(metric: str) -> tuple[str, str]:
    """A metric's name in words, and what it means where that is known."""
    base, _, task = metric.partition("keyword_accuracy_")
    if task and not base:
        return f"Keywords, {task}", f"Keywords, on rows of the task {task} alone."
    if metric.startswith("leak_at_"):
        return f"Leak at {metric[8:]}", f"Chance that one of {metric[8:]} sampled answers says all keywords."
    if metric.endswith("_consistency"):
        return f"{metric_title(metric[:-12])[0]}, consistency", "Of texts and images of the same subject."
    return _METRICS.get(metric, (metric.replace("_", " ").capitalize(), ""))


def set_title(dataset: str) -> tuple[str, str]:
    """A set's name in words, and what it holds."""
    known = next((name for name in _SETS if dataset == name or dataset.removeprefix(name).isdigit()), None)
    if known is None:
        return dataset, ""
    title, meaning = _SETS[known]
    return title if dataset == known else f"{title} {int(dataset.removeprefix(known))} %", meaning


def _mapping(parent: Mapping[str, Any], key: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    value = parent.get(key, default)
    if not isinstance(value, Mapping):
        raise ValueError(f"the results must have an object `{key}`, got {value!r}; is this a results.json?")
    return value


def _leaves(node: Any, path: tuple[str, ...], *, depth: int) -> Iterable[tuple[tuple[str, ...], Any]]:
    """What lies `depth` names below `node`, with its path."""
    if depth == 0:
        yield path, node
        return
    if not isinstance(node, Mapping):
        raise ValueError(f"`{'.'.join(path)}` must be an object, got {node!r}.")
    for name, child in node.items():
        yield from _leaves(child, (*path, name), depth=depth - 1)


def _parted(names: list[str], primary: Iterable[str]) -> tuple[list[str], list[str]]:
    """The primary names and the others; where none is primary, all are."""
    first = [name for name in names if name in primary]
    return (first, [name for name in names if name not in first]) if first else (names, [])


def _ordered(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """The names once each: the known in their order, then the others as they come."""
    found = dict.fromkeys(names)
    known = [name for name in order if name in found]
    return known + [name for name in found if name not in known]
