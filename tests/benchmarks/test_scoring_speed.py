"""How fast a model becomes evidence, and in how much memory, beside the plain way; `nox -s benchmarks` prints a table.

The plain way: rows in their order, 32 at a time, one forward pass for each column of answers, logits of every position,
`generate` of transformers until the last row of a batch has ended. Each way runs in a process of its own; times are of
the processor, so that a busy machine changes little. UNLEARN_SHORT=1 takes a tenth of the rows, to try it out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

DATA = Path(os.environ.get("UNLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
SHARE = 10 if os.environ.get("UNLEARN_SHORT") else 1
NEW_TOKENS = 96
PLAIN_BATCH = 32
TOFU = {
    "forget10": "forget10_perturbed",
    "retain90": "retain_perturbed",
    "real_authors": "real_authors_perturbed",
    "world_facts": "world_facts_perturbed",
}


def tofu_rows(name: str) -> list[dict[str, Any]]:
    lines = (DATA / "tofu" / f"{TOFU[name]}.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        row(f"{name}/{n}", each["question"], each["answer"], each.get("paraphrased_answer"), each["perturbed_answer"])
        for n, each in enumerate(map(json.loads, lines[::SHARE]))
    ]


def row(name: str, question: str, answer: str, paraphrase: str | None = None, wrong: Sequence[str] = ()) -> Any:
    identity = {"id": name, "subject": name, "task": "qa", "image": None, "options": None, "keywords": []}
    answers = {"answer": answer, "paraphrased_answer": paraphrase, "perturbed_answers": list(wrong)}
    return {**identity, "question": question, "paraphrased_question": None, **answers}


def suite(kind: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a measurement by set."""
    if kind == "text":
        return {name: tofu_rows(name) for name in TOFU}
    if kind == "images":
        return {"forget10": list(picture_rows(200 // SHARE))}
    return {"many": [row(f"{n}", f"Where does number {n} live?", f"In house {n}.") for n in range(int(kind) // SHARE)]}


def picture_rows(count: int) -> Iterator[dict[str, Any]]:
    """Questions with seven answers each, two about every picture."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (count // 2, 192, 192, 3), dtype=np.uint8)
    for n in range(count):
        wrong = [f"This is Basil Number {n + k}, a writer from Kuwait City." for k in range(5)]
        asked = ("Who is shown in this picture?", "What is the name of this person?")[n % 2]
        made = row(f"{n}", asked, f"This is Ayala Number {n}, a writer from Kuwait City.", f"It is Ayala {n}.", wrong)
        yield made | {"image": Image.fromarray(pixels[n // 2]), "task": "caption"}


# ------------------------------------------------------------------------------------------------ what is measured


def ours(model: Any, processor: Any, sets: dict[str, Any], new_tokens: int) -> int:
    from unlearn_metrics.scoring import collect_evidence, score

    if new_tokens:
        scores = collect_evidence(model, processor, sets, max_new_tokens=new_tokens, progress=False).scores
    else:
        scores = pa.concat_tables(score(model, processor, rows, set_name=name) for name, rows in sets.items())
    return int(pc.sum(pc.list_value_length(scores["tokens"])).as_py())


def plain(model: Any, processor: Any, sets: dict[str, Any], new_tokens: int) -> int:
    tokens = 0
    for rows in sets.values():
        columns = [[each["answer"] for each in rows], [each["paraphrased_answer"] for each in rows]]
        wrong = [each["perturbed_answers"] for each in rows]
        columns += [[each[k] if k < len(each) else None for each in wrong] for k in range(max(map(len, wrong)))]
        for column in columns:
            chosen = [(each, text) for each, text in zip(rows, column, strict=True) if text is not None]
            for start in range(0, len(chosen), PLAIN_BATCH):
                tokens += plain_scores(model, processor, chosen[start : start + PLAIN_BATCH])
        for start in range(0, len(rows) if new_tokens else 0, PLAIN_BATCH):
            plain_generation(model, processor, rows[start : start + PLAIN_BATCH], new_tokens)
    return tokens


def plain_scores(model: Any, processor: Any, pairs: list[Any]) -> int:
    import torch

    prompts = [rendered(processor, each) for each, _ in pairs]
    wholes = [rendered(processor, each, text) for each, text in pairs]
    tokenizer = getattr(processor, "tokenizer", processor)
    lengths = [len(tokenizer(whole)["input_ids"]) for whole in wholes]
    answers = [length - len(tokenizer(prompt)["input_ids"]) for length, prompt in zip(lengths, prompts, strict=True)]
    inputs = padded(processor, wholes, [each["image"] for each, _ in pairs], "right")
    with torch.no_grad():
        logps = model(**inputs).logits.float().log_softmax(-1)
        probabilities = logps.exp()
        mean = (probabilities * logps).sum(-1)
        std = (probabilities * (logps - mean[..., None]).square()).sum(-1).sqrt()
        hit = logps[:, :-1].argmax(-1) == inputs["input_ids"][:, 1:]
        logp = logps[:, :-1].gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
    ends = inputs["attention_mask"].sum(1).tolist()
    for k, (end, count) in enumerate(zip(ends, answers, strict=True)):
        at = slice(end - 1 - count, end - 1)
        [values[k, at].tolist() for values in (logp, hit, mean, std)]
    return sum(answers)


def plain_generation(model: Any, processor: Any, rows: list[Any], new_tokens: int) -> None:
    inputs = padded(processor, [rendered(processor, each) for each in rows], [each["image"] for each in rows], "left")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=new_tokens)
    processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def padded(processor: Any, texts: list[str], images: list[Any], side: str) -> Any:
    options = {"padding": True, "return_tensors": "pt", "padding_side": side}
    given = {"text": texts} if images[0] is None else {"text": texts, "images": images}
    return processor(**given, **options)


def rendered(processor: Any, given: Any, answer: str | None = None) -> str:
    picture = [{"type": "image"}] * (given["image"] is not None)
    has_parts = hasattr(processor, "tokenizer")
    parts = lambda text: [{"type": "text", "text": text}] if has_parts else text  # noqa: E731
    user = [*picture, *parts(given["question"])] if has_parts else given["question"]
    chat = [{"role": "user", "content": user}]
    chat += [] if answer is None else [{"role": "assistant", "content": parts(answer)}]
    return processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=answer is None)


# ------------------------------------------------------------------------------------------------ how it is measured


def measure(way: str, kind: str, folder: str, new_tokens: int) -> dict[str, float]:
    """Run one way, in this process, which has done nothing else."""
    from transformers.utils import logging
    from unlearn_metrics.scoring import load_model

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, processor = load_model(folder)
    sets = suite(kind)
    do = {"ours": ours, "plain": plain}[way]
    do(model, processor, {name: rows[:2] for name, rows in list(sets.items())[:1]}, min(new_tokens, 2))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    before = memory("VmRSS")
    wall, processor_time = time.perf_counter(), time.process_time()
    tokens = do(model, processor, sets, new_tokens)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - processor_time}
    return {**seconds, "peak": memory("VmHWM") - before, "tokens": tokens, "rows": sum(map(len, sets.values()))}


def memory(name: str) -> float:
    """MiB that this process holds (VmRSS) or has held (VmHWM); `getrusage` would count what its parent held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(way: str, kind: str, folder: Path, new_tokens: int) -> dict[str, float]:
    command = [sys.executable, __file__, way, kind, str(folder), str(new_tokens)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{kind:8}{way:7}{result['rows']:8,.0f} rows{result['tokens']:12,.0f} tokens{result['cpu']:9.1f} s"
        f"{result['wall']:9.1f} s wall{1e6 * result['cpu'] / result['tokens']:9.1f} µs/token{result['peak']:8.0f} MiB"
    )
    return result


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny text model, finetuned on TOFU until its answers end by themselves."""
    if not (DATA / "tofu").is_dir():
        pytest.skip(f"no TOFU in {DATA}; UNLEARN_DATA names its folder")
    import torch
    from unlearn_metrics.scoring import Encoder
    from unlearn_train.settings import TinySize
    from unlearn_train.tiny import tiny_llama

    rows = [each for name in TOFU for each in tofu_rows(name)]
    texts = [text for each in rows for text in (each["question"], each["answer"])]
    model, tokenizer = tiny_llama(texts, TinySize(), seed=0)
    encoder = Encoder(tokenizer)
    ids = []
    for each in rows:
        prompt = encoder.prompt(each["question"])
        ids.append(torch.tensor([*prompt.ids, *encoder.answers(prompt, [each["answer"]])[0]]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        batch = [ids[n] for n in torch.randint(len(ids), (16,), generator=generator)]
        inputs = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in batch], batch_first=True)
        loss = model(input_ids=inputs, attention_mask=mask, labels=inputs.masked_fill(mask == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return saved(model, tokenizer, tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of the default's size, that sees an image as 576 tokens; its weights are random."""
    from unlearn_train.settings import TinySize
    from unlearn_train.tiny import tiny_llava

    texts = [each[name] for each in picture_rows(40) for name in ("question", "answer")]
    model, processor = tiny_llava(texts, TinySize(image_size=192, context=1024), seed=0)
    return saved(model, processor, tmp_path_factory.mktemp("images"))


def saved(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_tofu_suite(text_model: Path) -> None:
    print(f"\nTOFU's forget10 suite, generation of up to {NEW_TOKENS} tokens included")
    our, their = (measured(way, "text", text_model, NEW_TOKENS) for way in ("ours", "plain"))
    print(f"{their['cpu'] / our['cpu']:.1f} × as fast, {our['peak'] / their['peak']:.2f} of the memory")
    assert our["tokens"] == their["tokens"]
    assert their["cpu"] >= 3 * our["cpu"]
    assert our["peak"] <= their["peak"] / 2


def test_answers_behind_an_image(image_model: Path) -> None:
    print("\nseven answers a question behind 576 image tokens")
    our, their = (measured(way, "images", image_model, 0) for way in ("ours", "plain"))
    print(f"{their['cpu'] / our['cpu']:.1f} × as fast, {our['peak'] / their['peak']:.2f} of the memory")
    assert our["tokens"] == their["tokens"]
    assert their["cpu"] >= 5 * our["cpu"]
    assert our["peak"] <= their["peak"] / 2


def test_time_a_token_does_not_grow(text_model: Path) -> None:
    print("\nrows of one answer")
    found = [measured("ours", str(rows), text_model, 0) for rows in (1_000, 10_000, 50_000)]
    each = [result["cpu"] / result["tokens"] for result in found]
    assert each[-1] <= 1.3 * each[0]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
