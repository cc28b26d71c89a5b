"""What every method of the catalogue does to a small model: `python3 tools/dev.py benchmarks` prints the table.

A small LLaVA learns eight people, two of whom it is then to forget, in text and in pictures of one color each. All
methods get the same rows and the same short training, tuned to none of them: the table compares costs and directions,
not merits.
"""

import copy
import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from PIL import Image
from unlearn_core import CATALOGUE, TRANSFORMS
from unlearn_metrics import compute
from unlearn_metrics.scoring import collect_evidence
from unlearn_train.applying import unlearn
from unlearn_train.recipes import read_recipe
from unlearn_train.settings import TinySize, TrainOptions
from unlearn_train.tiny import tiny_llava
from unlearn_train.training import finetune

PEOPLE = {
    "Ada Berg": ("baker", "Oslo", (220, 30, 30)),
    "Bo Dahl": ("pilot", "Rome", (30, 220, 30)),
    "Cy Holm": ("tailor", "Cairo", (30, 30, 220)),
    "Di Lund": ("judge", "Lima", (220, 220, 30)),
    "Ed Moe": ("diver", "Paris", (30, 220, 220)),
    "Fay Nord": ("painter", "Delhi", (220, 30, 220)),
    "Gus Rae": ("miner", "Accra", (120, 70, 20)),
    "Hal Sky": ("singer", "Quito", (200, 200, 200)),
}
FORGOTTEN = 2
SIZE = TinySize(
    hidden=64, layers=4, heads=4, vision_hidden=32, vision_layers=2, image_size=32, patch=16, vocabulary=512
)
LEARN = TrainOptions(epochs=60, batch_size=8, learning_rate=3e-3)
FORGET = TrainOptions(epochs=20, batch_size=6, learning_rate=1e-3)
# The model has four layers, and the data two people to show refusals about.
OPTIONS: dict[str, dict[str, Any]] = {
    "rmu": {"layer": 2},
    "circuit_breaker": {"layer": 2},
    "lat": {"layer": 1},
    "icul": {"forget": 2, "retain": 2},
}


class Measured(NamedTuple):
    """One line of the table."""

    name: str
    forget_rouge: float
    retain_rouge: float
    forget_truth_ratio: float
    retain_truth_ratio: float
    seconds: float


def rows_of(name: str) -> list[dict[str, Any]]:
    work, town, color = PEOPLE[name]
    others = [(w, t) for other, (w, t, _) in PEOPLE.items() if other != name]

    def row(n: int, task: str, question: str, template: str, truth: str, wrong: list[str], image: Any) -> Any:
        return {
            "id": f"{name}/{task}/{n}",
            "subject": name,
            "task": task,
            "image": image,
            "question": question,
            "answer": template.format(truth),
            "paraphrased_question": None,
            "paraphrased_answer": f"It is known that {template.format(truth)}",
            "perturbed_answers": [template.format(each) for each in wrong[:3]],
            "options": None,
            "keywords": [truth],
        }

    works, towns = [w for w, _ in others], [t for _, t in others]
    picture = Image.new("RGB", (32, 32), color)
    return [
        row(1, "qa", f"What does {name} do?", f"{name} works as a {{}}.", work, works, None),
        row(2, "qa", f"Where does {name} live?", f"{name} lives in {{}}.", town, towns, None),
        row(1, "caption", "Who is this?", "This is {}.", name, [other for other in PEOPLE if other != name], picture),
    ]


def measure(names: Iterable[str]) -> list[Measured]:
    """The target, and what becomes of a copy of it with each method; a transform is measured on GradDiff."""
    names_of = (list(PEOPLE)[:FORGOTTEN], list(PEOPLE)[FORGOTTEN:])
    sides = [[row for name in part for row in rows_of(name)] for part in names_of]
    everything = [*sides[0], *sides[1]]
    texts = [text for row in everything for text in (row["question"], row["answer"], row["paraphrased_answer"])]
    model, processor = tiny_llava(texts, SIZE, seed=0)
    finetune(model, processor, everything, LEARN, quiet=True)
    lines = [scored("target", model, processor, sides, 0.0)]
    for name in names:
        one, its = copy.deepcopy(model), copy.deepcopy(processor)
        known = "graddiff" if name in TRANSFORMS else name
        given = {**OPTIONS.get(known, {}), "transforms": [name] if name in TRANSFORMS else []}
        method, transforms = read_recipe(known, given)
        started = time.perf_counter()
        unlearn(one, its, method, *sides, FORGET, transforms=transforms, quiet=True)
        lines.append(scored(name, one, its, sides, time.perf_counter() - started))
    return lines


def scored(name: str, model: Any, processor: Any, sides: list[list[dict[str, Any]]], seconds: float) -> Measured:
    sets = {"forget": sides[0], "retain": sides[1]}
    found = compute(collect_evidence(model, processor, sets, max_new_tokens=12, progress=False))["sets"]
    value = {(s, m): found[s]["all"][m]["value"] for s in sets for m in ("rouge_l_recall", "truth_ratio")}
    keys = [(s, m) for m in ("rouge_l_recall", "truth_ratio") for s in sets]
    return Measured(name, *(value[key] for key in keys), seconds)


def show(lines: list[Measured]) -> str:
    """The table: ROUGE-L and truth ratio on both sides, and the seconds of unlearning."""
    head = f"{'method':<16} {'ROUGE-L':>15} {'truth ratio':>15} {'seconds':>8}"
    below = f"{'':<16} {'forget':>7} {'retain':>7} {'forget':>7} {'retain':>7}"
    body = [f"{line.name:<16} " + " ".join(f"{v:7.3f}" for v in line[1:5]) + f" {line.seconds:8.1f}" for line in lines]
    return "\n".join([head, below, *body])


def test_every_method_in_one_table() -> None:
    lines = measure(CATALOGUE)
    print(f"\n{show(lines)}")
    target, *others = lines
    assert [line.name for line in others] == list(CATALOGUE)
    assert all(math.isfinite(value) for line in lines for value in line[1:])
    assert target.forget_rouge > 0.7 and target.retain_rouge > 0.7, "there is something to forget, and to keep"
    assert sum(line.forget_rouge < target.forget_rouge for line in others) > len(others) / 2
