import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings
from unlearn_metrics import GENERATIONS_SCHEMA, SCORES_SCHEMA, Evidence

# No deadline: a busy machine is no fault of the code.
settings.register_profile("metrics", max_examples=40, deadline=None)
settings.load_profile("metrics")


class EvidenceBuilder:
    """Evidence from as little as a test has to say; one call of `row` per row."""

    def __init__(self):
        self.scores, self.generations = [], []

    def row(self, name, answer, paraphrase=None, perturbed=(), *, of="forget10", task="qa", modality="text", hit=None):
        """Token log-probabilities of the answer, of its paraphrase and of the wrong answers."""
        identity = {"set": of, "id": name, "subject": name.split("/")[0], "task": task, "modality": modality}
        scored = [("answer", 0, answer)] + [("paraphrase", 0, paraphrase)] * (paraphrase is not None)
        for kind, index, logp in scored + [("perturbed", k, each) for k, each in enumerate(perturbed)]:
            n = len(logp)
            hits = hit if hit is not None and kind == "answer" else [True] * n
            lists = {"tokens": list(range(n)), "logp": logp, "hit": hits, "mean": [-2.0] * n, "std": [0.5] * n}
            self.scores.append(identity | {"kind": kind, "index": index, "text": f"{kind} {index}"} | lists)
        return self

    def says(self, name, generated, answer, keywords=(), *, sample=0, of="forget10", task="qa", modality="text"):
        identity = {"set": of, "id": name, "subject": name.split("/")[0], "task": task, "modality": modality}
        texts = {"question": "Who?", "answer": answer, "keywords": list(keywords), "generated": generated}
        self.generations.append(identity | texts | {"sample": sample})
        return self

    def tables(self):
        scores = pa.Table.from_pylist(self.scores, schema=SCORES_SCHEMA)
        return scores, pa.Table.from_pylist(self.generations, schema=GENERATIONS_SCHEMA)

    def build(self):
        return Evidence(*self.tables(), {"model": "test"})


@pytest.fixture
def builder():
    return EvidenceBuilder


@pytest.fixture
def published_logs():
    """The folder of published evaluation logs."""
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("UNLEARN_DATA", default))
    if not (folder / "openunlearning-logs").is_dir():
        pytest.skip(f"no published logs in {folder}; UNLEARN_DATA names their folder")
    return folder
