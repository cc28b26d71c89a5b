"""The command `unlearn-metrics score`: a model and a dataset folder in, an evidence folder out."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add = parser.add_argument
    add("--model", required=True, metavar="FOLDER", help="model folder, or a name on the Hugging Face hub")
    add("--data", required=True, type=Path, metavar="FOLDER", help="dataset: rows.parquet and sets.json")
    add("--sets", required=True, metavar="NAME,NAME", help="sets of the dataset, such as forget10,retain90")
    add("--as", dest="names", default="", metavar="SET=NAME,…", help="what to call sets in the evidence")
    add("--out", required=True, type=Path, metavar="FOLDER", help="where the evidence goes")
    add("--max-new-tokens", type=int, default=48, metavar="N", help="longest generated answer (default: %(default)s)")
    add("--samples", type=int, metavar="N", help="answers drawn for each question (default: the likeliest one)")
    add("--temperature", type=float, default=1.0, metavar="T", help="of drawn answers (default: %(default)s)")
    add("--top-p", type=float, default=1.0, metavar="P", help="of drawn answers (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of drawn answers (default: %(default)s)")
    add("--reference", metavar="FOLDER", help="model whose log-probabilities are added: column ref_logp")
    add("--gradients", action="store_true", help="add the gradient norms of right answers: column grad_norm")
    add("--cut", action="store_true", help="cut answers that leave the model's context instead of refusing them")
    add("--token-budget", type=int, metavar="N", help="tokens in a batch (default: found; halved where memory ends)")
    add("--vllm", action="store_true", help="generate with vLLM; scores come from transformers all the same")
    add("--template", metavar="TEXT", help='for models without a chat template: "Q: {question}\\nA: {answer}"')
    add("--dtype", default="float32", metavar="NAME", help="float32, bfloat16 or float16 (default: %(default)s)")
    add("--device", metavar="NAME", help="such as cuda:1 (default: the first GPU, or else the CPU)")
    add("--trust-remote-code", action="store_true", help="run code that comes with the model")


def run(args: argparse.Namespace) -> int:
    """Score a model on sets of a dataset folder and write the evidence.

    Args:
        args: What the arguments of `add_arguments` parse to, and `quiet`.

    Returns:
        0.

    Raises:
        ValueError: If model, dataset, sets or options are not what they should be.
    """
    names = _renamed(args.sets, args.names)
    _silence(args.quiet)
    from unlearn_metrics.scoring import VLLM, Sampling, collect_evidence, load_model, load_sets
    from unlearn_metrics.scoring._processes import launched

    sampling = {"temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}
    sets = load_sets(args.data, names)
    how = {"dtype": args.dtype, "device": args.device, "trust_remote_code": args.trust_remote_code}
    model, processor = load_model(args.model, **how)
    evidence = collect_evidence(
        model,
        processor,
        {names[name]: rows for name, rows in sets.items()},
        max_new_tokens=args.max_new_tokens,
        sampling=Sampling(samples=args.samples, **sampling) if args.samples is not None else None,
        reference=load_model(args.reference, **how)[0] if args.reference else None,
        with_gradients=args.gradients,
        cut=args.cut,
        token_budget=args.token_budget,
        # A shell hands over backslash and n where a line break is meant.
        template=args.template and args.template.replace("\\n", "\n"),
        generator=VLLM(args.model, dtype=args.dtype) if args.vllm else None,
        folder=args.out,
        distributed=True,
        progress=not args.quiet,
        info={"source": {"model": str(args.model), "data": str(args.data), "sets": names}},
    )
    scored, generated = evidence.scores.num_rows, evidence.generations.num_rows
    if launched().rank == 0:
        print(f"{args.out}: {scored:,} scored and {generated:,} generated answers of {', '.join(names.values())}")
    return 0


def _renamed(sets: str, renamings: str) -> dict[str, str]:
    """What each set is called in the evidence."""
    names = {name: name for name in _split(sets)}
    if not names:
        raise ValueError("`--sets` names no set. Give at least one, such as forget10.")
    for renaming in _split(renamings):
        name, equals, new = renaming.partition("=")
        if name not in names or not equals or not new:
            raise ValueError(f"`--as` must be SET=NAME with a set of `--sets` ({', '.join(names)}), got {renaming!r}.")
        names[name] = new
    if len(set(names.values())) < len(names):
        raise ValueError(f"two sets would have one name in the evidence, got {', '.join(names.values())}.")
    return names


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _silence(quiet: bool) -> None:
    """Let the libraries below speak of errors alone, and show progress to a terminal alone."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if quiet or not sys.stderr.isatty():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
