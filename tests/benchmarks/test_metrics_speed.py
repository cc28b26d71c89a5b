"""How fast metrics are computed; `python3 tools/dev.py benchmarks` prints the figures.

A suite of TOFU's size is 7,668 scored answers and 1,017 generated ones. The bounds are loose, for slow machines: they
fail when something became slower by an order of magnitude.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from rouge_score.rouge_scorer import RougeScorer
from unlearn_metrics import GENERATIONS_SCHEMA, SCORES_SCHEMA, Evidence, compute
from unlearn_metrics.functional import rouge_l_recalls

SYLLABLES = ("ba", "den", "kor", "li", "mar", "no", "pel", "ri", "sto", "tun", "va", "wen")
ENDINGS = ("", "s", "ed", "ing", "ation", "able")
WORDS = ["".join(parts) for parts in itertools.product(SYLLABLES, SYLLABLES, SYLLABLES, ENDINGS)]


def texts(count: int, rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.choice(WORDS, 25)) for _ in range(count)]


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def evidence(rng: np.random.Generator, *, rows: int, wrong: int = 5, length: int = 30) -> Evidence:
    scores, generations = [], []
    for n in range(rows):
        name = "forget10" if n % 2 else "retain90"
        identity = {"set": name, "id": f"s{n}/qa/0", "subject": f"s{n}", "task": "qa", "modality": "text"}
        for kind, index in [("answer", 0), ("paraphrase", 0), *(("perturbed", k) for k in range(wrong))]:
            logp = -rng.exponential(1.0, length)
            moments = {"mean": np.full(length, -9.0), "std": np.ones(length)}
            tokens = {"tokens": np.arange(length), "logp": logp, "hit": logp > -0.7, **moments}
            scores.append({**identity, "kind": kind, "index": index, "text": f"{kind} {index}", **tokens})
        question, answer, generated = texts(3, rng)
        said = {"question": question, "answer": answer, "keywords": [WORDS[0]], "generated": generated, "sample": 0}
        generations.append({**identity, **said})
    tables = pa.Table.from_pylist(scores, SCORES_SCHEMA), pa.Table.from_pylist(generations, GENERATIONS_SCHEMA)
    return Evidence(*tables, {"model": "benchmark"})


def test_rouge_against_rouge_score() -> None:
    rng = np.random.default_rng(0)
    predictions, references = texts(1000, rng), texts(1000, rng)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    ours = seconds(lambda: rouge_l_recalls(predictions, references))
    theirs = seconds(lambda: [scorer.score(*pair) for pair in zip(references, predictions, strict=True)])
    print(f"\nROUGE-L of 1,000 answers: {ours:.3f} s, rouge-score {theirs:.3f} s, {theirs / ours:.0f} times as long")
    assert ours < theirs


@pytest.mark.parametrize("rows", [1000])
def test_all_metrics_of_a_suite(rows: int) -> None:
    rng = np.random.default_rng(0)
    unlearned, retrained = evidence(rng, rows=rows), evidence(rng, rows=rows)
    taken = seconds(lambda: compute(unlearned, retrained))
    print(f"\nall metrics, with intervals, of {rows:,} rows with 7 answers each: {taken:.2f} s")
    assert taken < 60
