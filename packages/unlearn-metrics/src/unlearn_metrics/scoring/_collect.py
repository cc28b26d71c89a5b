"""Evidence on a model: scores and generations of every set, and a note of how they were made."""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from unlearn_metrics.evidence import INFO_FILE, Evidence
from unlearn_metrics.scoring._decoding import Decoder, Sampling
from unlearn_metrics.scoring._encoding import Encoder, Processor
from unlearn_metrics.scoring._features import ImageFeatures
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._generate import ANSWERED_SCHEMA, answer_questions, answers_of_vllm, check_length
from unlearn_metrics.scoring._journal import Journal, read_inputs
from unlearn_metrics.scoring._loading import context_of
from unlearn_metrics.scoring._memory import START_GENERATING, TokenBudget, peak_memory, reset_peak_memory
from unlearn_metrics.scoring._note import describe, inputs_of, model_hash
from unlearn_metrics.scoring._processes import Processes, launched
from unlearn_metrics.scoring._requests import Answer, Question, Requests, Row, requests
from unlearn_metrics.scoring._score import MEASURED_SCHEMA, NORMS_SCHEMA, Report, gradient_norms, score_answers
from unlearn_metrics.scoring._vllm import VLLM


def collect_evidence(
    model: PreTrainedModel,
    processor: Processor,
    sets: Mapping[str, Iterable[Row]],
    *,
    max_new_tokens: int = 48,
    sampling: Sampling | None = None,
    reference: PreTrainedModel | None = None,
    with_gradients: bool = False,
    cut: bool = False,
    template: str | None = None,
    token_budget: int | None = None,
    share_prompts: bool | None = None,
    generator: VLLM | None = None,
    folder: str | Path | None = None,
    distributed: bool = False,
    progress: bool = True,
    info: Mapping[str, Any] | None = None,
) -> Evidence:
    """Score and question a model on sets of rows.

    Args:
        model: Vision-language or language model; it is put in evaluation mode.
        processor: Its processor or tokenizer.
        sets: Rows with the columns of the rows' contract by name of the set; `image` is a PIL image or None.
        max_new_tokens: Where a generated answer is cut that does not end by itself.
        sampling: How answers are drawn, and how many to a question; one, greedily, where None.
        reference: A model with the same tokenizer, whose log-probabilities become the column `ref_logp`.
        with_gradients: Whether the column `grad_norm` is made; it takes a backward pass for each right answer.
        cut: Whether an answer that leaves the model's context is cut there, instead of being refused.
        template: Plain text of an exchange, for models without a chat template, see `Encoder`.
        token_budget: Tokens in a batch, padding included; None finds it, and it is halved where memory runs out.
        share_prompts: Whether a prompt is read once for all its answers, see `Forward`.
        generator: Generates in place of `model`; of the same weights.
        folder: Where the evidence is written, in shards while it is made: a run that was cut off goes on where it
            stopped, one with other inputs starts afresh, and says so. Nothing is written where None.
        distributed: Whether the processes that `accelerate launch` or `torchrun` started share the work; each returns
            all of the evidence. They need a `folder` that all of them see.
        progress: Whether to show progress on stderr; never where stderr is no terminal.
        info: Further entries for `evidence.json`, such as the model's name.

    Returns:
        The evidence. Its `info` holds the hashes of model and tokenizer, template, decoding, options, versions, seconds
        and peak memory.

    Raises:
        ValueError: If there is no set, a set is empty, or a row cannot be encoded; the message names set and row.
        torch.OutOfMemoryError: If memory does not suffice for one row; the message names it.
    """
    check_length(max_new_tokens)
    processes = launched() if distributed else Processes()
    if processes.count > 1 and folder is None:
        raise ValueError("several processes need a `folder` that all of them see, to share their work. Give one.")
    started = time.monotonic()
    reset_peak_memory()
    encoder, context = Encoder(processor, template=template), context_of(model)
    listed = {name: list(rows) for name, rows in sets.items()}
    asked = requests(listed, encoder, context=context, cut=cut, samples=sampling.samples if sampling else 1)
    decoding = _decoding(max_new_tokens, sampling, generator)
    scoring: dict[str, Any] = {"token_budget": token_budget, "share_prompts": share_prompts, "cut": cut}
    scoring |= {"gradients": with_gradients, "reference": None if reference is None else model_hash(reference)}
    note = describe(model, encoder)
    inputs = inputs_of(note, asked, {"decoding": decoding, **scoring})
    if folder is not None and read_inputs(Path(folder) / INFO_FILE) == inputs:
        return Evidence.read(folder)
    features = ImageFeatures(model, encoder)
    forward = Forward(model, encoder, share_prompts=share_prompts, features=features)
    second = None if reference is None else Forward(reference, encoder, share_prompts=share_prompts)
    decoder = Decoder(model, features, max_new_tokens=max_new_tokens, context=context, sampling=sampling)
    with _folder(folder) as path:
        run = _Run(Journal(path, inputs, processes), processes, progress)
        for job in [
            *_scoring_jobs(asked, forward, second, token_budget, with_gradients),
            _generating_job(asked, decoder, encoder, generator, token_budget),
        ]:
            run.do(job)
        note |= {
            "sets": {name: len(rows) for name, rows in listed.items()},
            "decoding": decoding,
            "scoring": scoring,
            "distinct": {"answers": len(asked.answers), "questions": len(asked.questions)},
            "cut": _cut(asked, decoder),
            "inputs": inputs,
            "processes": processes.count,
            **run.costs(started),
            **(info or {}),
        }
        evidence = Evidence(asked.scores(run.measured()), asked.generations(run.results["generating"]), note)
        run.finish(evidence, None if folder is None else path)
    return evidence


class _Job(NamedTuple):
    name: str
    schema: pa.Schema
    work: Sequence[Answer] | Sequence[Question]
    start: Callable[..., Iterator[pa.Table]]
    """from some of the work and a `report` to tables of `schema`"""


def _scoring_jobs(
    asked: Requests, forward: Forward, reference: Forward | None, token_budget: int | None, with_gradients: bool
) -> Iterator[_Job]:
    def of(name: str, schema: pa.Schema, work: Sequence[Answer], start: Callable[..., Any], which: Forward) -> _Job:
        budget = TokenBudget(token_budget, which.model.device)
        return _Job(name, schema, work, partial(start, which, budget=budget))

    yield of("scoring", MEASURED_SCHEMA, asked.answers, score_answers, forward)
    if reference is not None:
        yield of("reference", MEASURED_SCHEMA, asked.answers, score_answers, reference)
    if with_gradients:
        right = [answer for answer in asked.answers if answer.number in asked.right]
        yield of("gradients", NORMS_SCHEMA, right, gradient_norms, forward)


def _generating_job(
    asked: Requests, decoder: Decoder, encoder: Encoder, generator: VLLM | None, token_budget: int | None
) -> _Job:
    if generator is not None:
        how: dict[str, Any] = {"max_new_tokens": decoder.max_new_tokens, "sampling": decoder.sampling}
        return _Job("generating", ANSWERED_SCHEMA, asked.questions, partial(answers_of_vllm, generator, encoder, **how))
    budget = TokenBudget(token_budget, decoder.model.device, START_GENERATING)
    start = partial(answer_questions, decoder, encoder, budget=budget)
    return _Job("generating", ANSWERED_SCHEMA, asked.questions, start)


class _Run:
    """Jobs that are shared among processes and recorded; their results."""

    def __init__(self, journal: Journal, processes: Processes, progress: bool) -> None:
        self.journal, self.processes = journal, processes
        self.results: dict[str, pa.Table] = {}
        self._progress = progress and processes.rank == 0

    def do(self, job: _Job) -> None:
        """Do what is left of a job, and wait for the others."""
        done = self.journal.done(job.name)
        left = [each for each in self._share(job.work) if each.number not in done]
        with _progress(job.name, len(left), self._progress) as report:
            self.journal.record(job.name, job.start(left, report=report))
        self.processes.wait()
        self.results[job.name] = self.journal.table(job.name, job.schema, [each.number for each in job.work])

    def measured(self) -> pa.Table:
        """Everything that was measured of the answers, a row for each."""
        table = self.results["scoring"]
        if reference := self.results.get("reference"):
            table = table.append_column("ref_logp", reference["logp"])
        if norms := self.results.get("gradients"):
            spread = pa.nulls(table.num_rows, pa.float32()).to_pylist()
            for number, norm in zip(norms["number"].to_pylist(), norms["grad_norm"].to_pylist(), strict=True):
                spread[number] = norm
            table = table.append_column("grad_norm", pa.array(spread, pa.float32()))
        return table.drop_columns("number")

    def costs(self, started: float) -> dict[str, Any]:
        """Seconds and peak memory, of the process that took most."""
        taken = self.processes.gather((time.monotonic() - started, peak_memory()))
        peaks = [peak for _, peak in taken]
        return {
            "seconds": round(max(seconds for seconds, _ in taken), 3),
            "peak_memory_bytes": {name: max(peak[name] for peak in peaks) for name in peaks[0]},
        }

    def finish(self, evidence: Evidence, folder: Path | None) -> None:
        """Write the evidence, once every process has read what the others did."""
        self.processes.wait()
        if self.processes.rank == 0:
            if folder is not None:
                evidence.write(folder)
            self.journal.remove()
        self.processes.wait()

    def _share(self, work: Sequence[Any]) -> list[Any]:
        """This process's part: answers to one prompt stay together, long prompts are dealt out like short ones."""
        prompts = dict.fromkeys(each.prompt for each in work)
        mine = set(self.processes.share(sorted(prompts, key=lambda prompt: len(prompt.ids))))
        return [each for each in work if each.prompt in mine]


@contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    """The folder, or one for the time being."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _decoding(max_new_tokens: int, sampling: Sampling | None, generator: VLLM | None) -> dict[str, Any]:
    how = {"method": "sampling", **dataclasses.asdict(sampling)} if sampling else {"method": "greedy"}
    return {**how, "max_new_tokens": max_new_tokens, **({"engine": "vllm"} if generator else {})}


def _cut(asked: Requests, decoder: Decoder) -> dict[str, Any]:
    """How much the model's context cut off: rows with a shorter answer, questions with less room for one."""
    tight = sum(decoder.room(question.prompt) < decoder.max_new_tokens for question in asked.questions)
    return {"rows": len(asked.cut), "first": asked.cut[:10], "questions_with_less_room": tight}


@contextmanager
def _progress(what: str, total: int, shown: bool) -> Iterator[Report]:
    """A line on the terminal: what is done, time left, tokens a second."""
    started, seen = time.monotonic(), 0
    shown = shown and sys.stderr.isatty()
    with tqdm(desc=what, total=total, unit=" rows", disable=not shown, leave=False, file=sys.stderr) as bar:

        def report(done: int, tokens: int) -> None:
            nonlocal seen
            seen += tokens
            bar.set_postfix_str(f"{seen / (time.monotonic() - started):,.0f} tokens/s", refresh=False)
            bar.update(done)

        yield report
