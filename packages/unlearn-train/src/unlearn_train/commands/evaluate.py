"""`unlearn evaluate`: ask a model the rows of some sets, and keep what it says as evidence."""

import argparse
from pathlib import Path
from typing import Any

from unlearn_train.commands._shared import add_model
from unlearn_train.extras import need


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "evaluate", help="ask a model the rows of some sets, and keep the evidence", parents=[shared]
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument(
        "--sets", required=True, metavar="A,B", help="sets to ask; forget10=forget asks forget10 and calls it forget"
    )
    parser.add_argument(
        "--retrained", type=Path, metavar="EVIDENCE", help="evidence of the retrained model, for forget quality"
    )
    parser.add_argument("--max-new-tokens", type=int, default=48, help="of a generated answer (default: %(default)s)")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the evidence is written")


def run(args: argparse.Namespace) -> int:
    """Score, write the evidence, and show the numbers."""
    need("unlearn_metrics.scoring")
    from unlearn_metrics import Evidence, compute, render_table
    from unlearn_metrics.scoring import collect_evidence

    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model

    if args.out.exists():
        raise ValueError(f"{args.out} is there already; choose another folder, or remove it.")
    data = RowSets.read(args.data)
    names = [text.partition("=") for text in args.sets.split(",")]
    rows = {shown or name: data.select(name) for name, _, shown in names}
    retrained = Evidence.read(args.retrained) if args.retrained else None
    model, processor = load_model(args.model, dtype=args.dtype, chat_template=args.chat_template)
    evidence = collect_evidence(model, processor, rows, max_new_tokens=args.max_new_tokens, progress=not args.quiet)
    evidence.write(args.out)
    numbers = compute(evidence, retrained=retrained)
    print(render_table({"states": {args.out.name: numbers["sets"]}, "summary": {args.out.name: numbers["summary"]}}))
    return 0
