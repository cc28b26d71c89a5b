"""How fast metrics are computed, and in how much memory; `nox -s benchmarks` prints the figures.

A suite of TOFU's size is 7,668 scored answers and 1,017 generated ones. Times are of the processor, so that a busy
machine changes little; everything runs in one thread.
"""

import itertools
import os
import string
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rouge_score.rouge_scorer import RougeScorer
from unlearn_metrics import GENERATIONS_SCHEMA, SCORES_SCHEMA, Evidence, compute
from unlearn_metrics import functional as F
from unlearn_metrics.functional import _rouge

SYLLABLES = ("ba", "den", "kor", "li", "mar", "no", "pel", "ri", "sto", "tun", "va", "wen", "é", "Ñu", "Al")
ENDINGS = ("", "s", "ed", "ing", "ation", "able")
WORDS = np.array(["".join(parts) for parts in itertools.product(SYLLABLES, SYLLABLES, SYLLABLES, ENDINGS)])
NO_FUNCTIONS = {"ATTACKS", "ForgetQuality", "Interval", "PairedDifference"}


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def pairs(count: int, words: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Predictions and references; a prediction is its reference with a third of the words replaced.

    Words are as frequent as in a language, a few very much and most hardly ever; one in twenty occurs here alone.
    """
    frequency = 1 / (np.arange(WORDS.size) + 10)
    known = rng.permutation(WORDS)[rng.choice(WORDS.size, (2, count, words), p=frequency / frequency.sum())]
    fresh = rng.choice(list(string.ascii_lowercase + "ßüłø"), (2, count, words, 9)).view("<U9")[..., 0]
    drawn = np.where(rng.random(known.shape) < 0.05, fresh, known)
    predictions = np.where(rng.random((count, words)) < 1 / 3, drawn[1], drawn[0])
    said, right = ([" ".join(row) + "." for row in table] for table in (predictions, drawn[0]))
    return said, right


def evidence(rng: np.random.Generator, *, rows: int, wrong: int = 5, length: int = 30) -> Evidence:
    scores, generations = [], []
    predictions, references = pairs(rows, 25, rng)
    for n in range(rows):
        name = "forget10" if n % 2 else "retain90"
        identity = {"set": name, "id": f"s{n}/qa/0", "subject": f"s{n}", "task": "qa", "modality": "text"}
        for kind, index in [("answer", 0), ("paraphrase", 0), *(("perturbed", k) for k in range(wrong))]:
            logp = -rng.exponential(1.0, length)
            moments = {"mean": np.full(length, -9.0), "std": np.ones(length)}
            tokens = {"tokens": np.arange(length), "logp": logp, "hit": logp > -0.7, **moments}
            scores.append({**identity, "kind": kind, "index": index, "text": f"{kind} {index}", **tokens})
        said = {"question": "Who?", "answer": references[n], "generated": predictions[n], "sample": 0}
        generations.append({**identity, **said, "keywords": [str(WORDS[0])]})
    tables = pa.Table.from_pylist(scores, SCORES_SCHEMA), pa.Table.from_pylist(generations, GENERATIONS_SCHEMA)
    return Evidence(*tables, {"model": "benchmark"})


def test_rouge_against_rouge_score() -> None:
    predictions, references = pairs(10_000, 40, np.random.default_rng(0))
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    found: dict[str, Any] = {}

    def google() -> None:
        scores = [scorer.score(*pair)["rougeL"] for pair in zip(references, predictions, strict=True)]
        found["google"] = [score.recall for score in scores]

    def cold() -> None:
        _rouge._STEMS.clear()
        found["ours"] = F.rouge_l_recalls(predictions, references).tolist()

    ours = min(seconds(cold) for _ in range(3))
    distinct = len(_rouge._STEMS)
    theirs = seconds(google)
    print(
        f"\nROUGE-L of 10,000 pairs of 40 words, {distinct:,} distinct, stemmed: {ours:.3f} s, "
        f"rouge-score {theirs:.2f} s, {theirs / ours:.0f} times as long"
    )
    assert found["ours"] == found["google"]
    assert theirs >= 30 * ours


@pytest.mark.parametrize("rows", [1000])
def test_all_metrics_of_a_suite(rows: int) -> None:
    rng = np.random.default_rng(0)
    unlearned, retrained = evidence(rng, rows=rows), evidence(rng, rows=rows)
    taken = seconds(lambda: compute(unlearned, retrained))
    print(f"\nall metrics, with intervals, of {rows:,} rows with 7 answers each: {taken:.2f} s")
    assert taken < 60


def test_compute_of_an_open_unlearning_log() -> None:
    data = Path(os.environ.get("UNLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
    full, retrained = (
        data / "openunlearning-logs" / f"tofu_Llama-3.2-1B-Instruct_{name}" for name in ("full", "retain90")
    )
    if not full.is_dir():
        pytest.skip(f"no published logs in {data}; UNLEARN_DATA names their folder")
    alone = [sys.executable, "-m", "unlearn_metrics.cli", "compute", str(full)]
    for label, command in {"alone": alone, "with the retrained one's": [*alone, "--retrained", str(retrained)]}.items():
        taken = [_of_process(command) for _ in range(3)]
        processor, wall = (min(each[i] for each in taken) for i in (0, 1))
        print(
            f"\n`unlearn-metrics compute` of an OpenUnlearning log {label}, with interpreter start: {processor:.2f} s, "
            f"{wall:.2f} s on the clock"
        )
        assert processor < 1.5


def _of_process(command: list[str]) -> tuple[float, float]:
    """Seconds of the processor and on the clock that a command takes."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return children, time.perf_counter() - start


def arguments(n: int) -> dict[str, tuple[Any, ...]]:
    """What each function is measured on: n rows, drawn at random."""
    rng = np.random.default_rng(0)
    nll, other_nll = rng.exponential(2.0, (2, n))
    wrong = rng.exponential(3.0, (n, 5))
    ratios, other_ratios = rng.lognormal(size=(2, n))
    accuracy, other_accuracy = rng.uniform(0.1, 1.0, (2, n))
    logp, std = -rng.exponential(1.0, (n, 8)), rng.uniform(0.5, 2.0, (n, 8))
    hit = rng.random((n, 16)) < 0.8
    said, right = ((few * (n // len(few) + 1))[:n] for few in pairs(5000, 6, rng))
    words, letters = [text.split()[:2] for text in right], ["B"] * n
    leaks = rng.integers(0, 11, n)
    return {
        "ape": ([[text] for text in said], words),
        "auc": (nll, other_nll),
        "bootstrap_interval": (accuracy,),
        "cloze_accuracy": (said, right),
        "cross_modal_consistency": (accuracy, other_accuracy, "forget"),
        "exact_memorization": (hit,),
        "extraction_strength": (hit,),
        "fluency": (nll,),
        "forget_quality": (ratios, other_ratios),
        "forget_quality_js": (ratios, other_ratios),
        "forget_truth_ratio": (ratios,),
        "forgotten_pct": (accuracy, other_accuracy),
        "keyword_accuracy": (said, words),
        "keyword_em": (said, words),
        "leak_at_k": (np.full(n, 10), leaks, 5),
        "mcq_accuracy": (nll, wrong),
        "mcq_letter_accuracy": (said, letters),
        "min_k": (logp,),
        "min_k_pp": (logp, -std, std),
        "model_utility": (accuracy,),
        "normalized_probability": (nll, wrong),
        "paired_difference": (accuracy, other_accuracy),
        "privleak": (accuracy, other_accuracy),
        "probability": (nll,),
        "quant_robustness": (accuracy, other_accuracy),
        "reference_difference": (nll, other_nll),
        "relearn_robustness": (accuracy, other_accuracy),
        "retain_truth_ratio": (ratios,),
        "retained_pct": (accuracy, other_accuracy),
        "rouge_l_recalls": (said, right),
        "truth_ratio": (nll, wrong),
        "unlearning_depth": (np.abs(wrong) + 0.1, wrong - 1),
        "zlib_ratio": (nll, said),
    }


#: Other ways to call a function that takes other paths through it.
VARIANTS: dict[str, tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]], dict[str, Any]]] = {
    "forget_quality, unequal": ("forget_quality", lambda given: (given[0], given[1][:-1]), {}),
    "forget_quality_js, clear_compat": ("forget_quality_js", tuple, {"clear_compat": True}),
    "min_k, list of arrays": ("min_k", lambda given: (list(given[0]),), {}),
    "exact_memorization, lists": ("exact_memorization", lambda given: (given[0].tolist(),), {}),
    "truth_ratio, arithmetic": ("truth_ratio", tuple, {"mean": "arithmetic"}),
}
# Resampling takes time by resamples times rows; a few show how it grows.
FEW_SAMPLES: dict[str, dict[str, Any]] = {name: {"samples": 20} for name in ("bootstrap_interval", "paired_difference")}


def size(value: Any) -> int:
    """Bytes of an input, each object once."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (list, tuple)):
        parts = {id(each): each for each in value}.values()
        return sys.getsizeof(value) + sum(map(size, parts))
    return sys.getsizeof(value)


def peak(function: Callable[[], object]) -> int:
    """The most memory that a call holds beyond what there was."""
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def calls(n: int) -> dict[str, tuple[Callable[[], object], tuple[Any, ...]]]:
    """Every function and variant on n rows, with its arguments."""
    given = arguments(n)
    chosen: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
        name: (name, args, FEW_SAMPLES.get(name, {})) for name, args in given.items()
    }
    chosen |= {name: (of, change(given[of]), options) for name, (of, change, options) in VARIANTS.items()}

    def call(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], object]:
        return lambda: getattr(F, name)(*args, **options)

    return {label: (call(*each), each[1]) for label, each in sorted(chosen.items())}


def test_a_million_rows() -> None:
    assert arguments(10).keys() == set(F.__all__) - NO_FUNCTIONS - {"rouge_l_recall"}, "measure every function"
    few, many = calls(10_000), calls(1_000_000)
    print(f"\n{'function':34}{'10,000 rows':>12}{'1,000,000':>12}{'times':>8}{'memory / input':>16}")
    slow, large = {}, {}
    for name, (call, args) in many.items():
        short = min(seconds(few[name][0]) for _ in range(5))
        long = seconds(call)
        if long < 0.5:  # short enough for the system's paging to show
            long = min(long, *(seconds(call) for _ in range(4)))
        share = peak(call) / sum(map(size, args))
        print(f"{name:34}{short:10.4f} s{long:10.3f} s{long / short:8.0f}{share:16.2f}")
        # 100 times the rows; arrays that leave the cache, and sorting, take some more.
        if long > 400 * max(short, 1e-4):
            slow[name] = long / short
        if share > 3:
            large[name] = share
    assert not slow
    assert not large
