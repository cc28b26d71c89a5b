"""Memory and speed of unlearning beside two models and beside a plain way; `nox -s benchmarks` prints a table.

A random Llama of 100 M parameters or more unlearns TOFU's rows, or made-up ones of such lengths. The second model of
`reference="model"` runs at every step. The plain way, as a public toolkit has it: a second model, rows in random order,
one pass over the rows to forget and one over those to keep, each padded to its longest, logits of every position. All
ways meet the same rows. Each runs in a process of its own; times are of the processor, so that a busy machine changes
little. What is computed once before the first step is not in them, and printed beside. UNLEARN_SHORT=1 takes a small
model and two steps, to try it out.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("UNLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
SHORT = bool(os.environ.get("UNLEARN_SHORT"))
STEPS = 2 if SHORT else 4
BATCH = 16
WIDTH, LAYERS, INNER, VOCABULARY = (64, 2, 128, 1024) if SHORT else (768, 9, 2048, 32000)
LORA = {"lora": {"rank": 16}}
TWO_MODELS = {"reference": "model"}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "GradDiff": ("graddiff", {}),
    "NPO": ("npo", {}),
    "NPO, two models": ("npo", TWO_MODELS),
    "KL": ("kl", {}),
    "KL, two models": ("kl", TWO_MODELS),
    "LoRA GradDiff": ("graddiff", LORA),
    "LoRA NPO": ("npo", LORA),
    "plain NPO": ("plain", {}),
}


def tofu_rows(name: str, count: int) -> list[dict[str, Any]]:
    path = DATA / "tofu" / f"{name}.jsonl"
    draw = random.Random(name)
    if path.is_file():
        lines = draw.sample(path.read_text(encoding="utf-8").splitlines(), count)
        pairs = [(each["question"], each["answer"]) for each in map(json.loads, lines)]
    else:  # as many words as there, and spread as far
        pairs = [(words(draw, 2.7, 0.35), words(draw, 3.5, 0.5)) for _ in range(count)]
    return [
        {"id": f"{name}/qa/{n}", "question": question, "answer": answer, "image": None}
        for n, (question, answer) in enumerate(pairs)
    ]


def words(draw: random.Random, mean: float, spread: float) -> str:
    letters = "etaoinshrdlu"
    count = max(2, round(draw.lognormvariate(mean, spread)))
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(count))


def make_model(rows: list[dict[str, Any]]) -> tuple[Any, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from unlearn_train.tiny import train_tokenizer

    texts = [text for row in [*rows, *tofu_rows("retain90", 1000)] for text in (row["question"], row["answer"])]
    tokenizer = train_tokenizer(texts, vocabulary=min(VOCABULARY, 8192))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        num_key_value_heads=WIDTH // 64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config), tokenizer


# ------------------------------------------------------------------------------------------------ what is measured


def ours(model: Any, tokenizer: Any, sides: Any, method: str, options: dict[str, Any], watch: Any) -> None:
    from unlearn_core import build_method
    from unlearn_train.options import build
    from unlearn_train.settings import TrainOptions
    from unlearn_train.trainers import UnlearnTrainer
    from unlearn_train.unlearning import forget

    train = UnlearnTrainer.train
    UnlearnTrainer.train = lambda self, **how: watch(lambda: train(self, **how))  # type: ignore[method-assign]
    settings = build(TrainOptions, {"batch_size": BATCH, "learning_rate": 1e-5, "save_every": 0, **options})
    with tempfile.TemporaryDirectory() as cache:
        forget(model, tokenizer, build_method(method), *sides, settings, cache=Path(cache), quiet=True)


def plain(model: Any, tokenizer: Any, sides: Any, method: str, options: dict[str, Any], watch: Any) -> None:
    import copy

    import torch
    import torch.nn.functional as F
    from unlearn_train.encoding import encode

    reference = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    draw = random.Random(0)
    forgotten, retained = (
        draw.sample(encoded, len(encoded))
        for encoded in ([encode(tokenizer, row["question"], row["answer"]) for row in side] for side in sides)
    )

    def padded(rows: Any) -> tuple[dict[str, Any], Any]:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([row.input_ids for row in rows], batch_first=True, padding_value=tokenizer.pad_token_id)
        mask = pad([torch.ones_like(row.input_ids) for row in rows], batch_first=True)
        return {"input_ids": ids, "attention_mask": mask}, pad(
            [row.labels for row in rows], batch_first=True, padding_value=-100
        )

    def nll(run: Any, inputs: dict[str, Any], labels: Any) -> Any:
        logits = run(**inputs).logits.float()
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
        return losses.sum(1)

    def train() -> None:
        model.train()
        for start in range(0, len(forgotten), BATCH):
            end = start + BATCH
            (inputs, labels), (kept, kept_labels) = padded(forgotten[start:end]), padded(retained[start:end])
            ours = nll(model, inputs, labels)
            with torch.no_grad():
                theirs = nll(reference, inputs, labels)
            forget_loss = -2 / 0.1 * F.logsigmoid(0.1 * (ours - theirs)).mean()
            retain_loss = nll(model, kept, kept_labels).sum() / (kept_labels[:, 1:] != -100).sum()
            (forget_loss + retain_loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    watch(train)


# ------------------------------------------------------------------------------------------------ how it is measured


def measure(way: str) -> dict[str, float]:
    """Run one way, in this process, which has done nothing else."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    # imported now, so that it does not count as the model's memory
    import unlearn_train.unlearning  # noqa: F401

    sides = [tofu_rows(name, STEPS * BATCH) for name in ("forget10", "retain90")]
    model, tokenizer = make_model([*sides[0], *sides[1]])
    weights = sum(parameter.numel() for parameter in model.parameters())
    counts, found = {"tokens": 0, "padded": 0}, {}

    def count(module: Any, args: Any, inputs: Any) -> None:
        if torch.is_grad_enabled():
            counts["tokens"] += int(inputs["attention_mask"].sum())
            counts["padded"] += inputs["attention_mask"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    model(**tokenizer(["Who?"], return_tensors="pt", return_token_type_ids=False)).logits.sum().backward()
    model.zero_grad()
    counts.update(tokens=0, padded=0)
    before = status("VmRSS") - weights * 4 / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    begun = time.process_time()

    def watch(train: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = train()
        found.update(wall=time.perf_counter() - wall, cpu=time.process_time() - processor, first=processor - begun)
        return result

    method, options = WAYS[way]
    (plain if method == "plain" else ours)(model, tokenizer, sides, method, options, watch)
    return {**found, **counts, "peak": status("VmHWM") - before, "weights": weights}


def status(name: str) -> float:
    """MiB that this process holds (VmRSS) or has held (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(way: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, way], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    speed, padding = (STEPS / result[clock] for clock in ("wall", "cpu")), result["padded"] / result["tokens"]
    print(
        f"{way:18}{result['peak']:7,.0f} MiB{next(speed):8.3f} steps/s{next(speed):8.3f} a second of one core"
        f"{padding:6.2f} tokens for each real one{result['first']:6.1f} s before"
    )
    return result


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
def test_a_reference_costs_neither_memory_nor_time() -> None:
    print()
    found = {way: measured(way) for way in WAYS}
    npo = found["NPO"]
    print(f"{npo['weights']:,.0f} parameters, {npo['tokens']:,.0f} tokens in {STEPS} steps of {BATCH} + {BATCH} rows")
    memory = {name: found[f"{name}NPO"]["peak"] / found[f"{name}GradDiff"]["peak"] for name in ("", "LoRA ")}
    speed = {way: found[way]["cpu"] / npo["cpu"] for way in ("NPO, two models", "plain NPO")}
    print(f"NPO takes {memory['']:.3f} × the memory of GradDiff, with LoRA {memory['LoRA ']:.3f} ×")
    faster = f"{speed['NPO, two models']:.2f} × as fast as with two models, {speed['plain NPO']:.2f} × as the plain way"
    print(f"and is {faster}")
    assert npo["tokens"] == found["plain NPO"]["tokens"], "all ways meet the same rows"
    if SHORT:
        return
    assert npo["weights"] >= 100e6
    assert memory[""] <= 1.1
    assert memory["LoRA "] <= 1.05
    assert speed["NPO, two models"] >= 1.1
    assert speed["plain NPO"] >= 1.4


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
