"""`unlearn requests`: serve deletion requests one after another, with a record of each."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train.commands._shared import listing

if TYPE_CHECKING:
    from unlearn_train.requests import Requests


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command and its parts."""
    parser = subparsers.add_parser("requests", help="serve deletion requests one after another, with a record of each")
    parts = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def part(name: str, text: str, run: Callable[[argparse.Namespace], int], **more: Any) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = parts.add_parser(name, help=text, description=text, parents=[shared], **more)
        one.set_defaults(run=run)
        one.add_argument("folder", type=Path, metavar="FOLDER", help="of the ledger")
        return one

    _add_init(part)
    _add_add(part)
    one = part("run", "run the next request, or go on with the one that was cut off", run_requests)
    one.add_argument("request", nargs="?", type=int, metavar="ID", help="this one, such as one that was rolled back")
    one.add_argument("--all", action="store_true", help="run all that are queued, until one has to wait")
    one.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of this run alone, such as train.learning_rate=1e-5; of one request, by ID; repeatable",
    )
    _add_wait(one)
    part("status", "show all requests and the current model", show_status)
    one = part("show", "show a request, its gates and its numbers", show_request)
    one.add_argument("request", type=int, metavar="ID")
    one = part("approve", "promote a model that waits, whatever its gates say", approve)
    one.add_argument("request", type=int, metavar="ID")
    one.add_argument("--by", required=True, metavar="NAME", help="who answers for it")
    _add_note(one)
    one = part("rollback", "undo a request, or go back to an earlier state and queue again what came after", roll_back)
    one.add_argument("target", metavar="ID|STATE", help="a request, such as 4, or a state, such as s3")
    one.add_argument("--by", required=True, metavar="NAME", help="who answers for it")
    _add_note(one)
    one = part("export", "write the audit: what was asked, done and measured, with hashes", export)
    one.add_argument("--out", type=Path, default=Path("audit"), metavar="FOLDER", help="default: %(default)s")


def open_ledger(args: argparse.Namespace) -> int:
    """Open a ledger."""
    from unlearn_train.options import build, merge, nest, plain, read_yaml
    from unlearn_train.requests import RequestOptions, Requests

    given = read_yaml(args.config) if args.config else {}
    named: list[dict[str, Any]] = [{"options": nest(text)} for text in args.option]
    named += [{"method": args.method}] if args.method else []
    named += [{"gates": args.gate}] if args.gate else []
    chosen = merge(plain(RequestOptions()), given, *named, *(nest(text) for text in args.set))
    requests = Requests.open(args.folder, args.model, args.data, build(RequestOptions, chosen), quiet=args.quiet)
    print(f"{args.folder} is ready. A model is promoted where all of these hold:")
    print("\n".join(f"  {gate}" for gate in requests.ledger.settings["options"]["gates"]))
    return 0


def add_request(args: argparse.Namespace) -> int:
    """Add a request."""
    subjects = [name.strip() for text in args.subjects for name in text.split(",") if name.strip()]
    number = _requests(args).add(subjects, args.reason, date=args.date, gates=args.gate)
    print(f"request {number} is queued; `unlearn requests run {args.folder}` runs it.")
    return 0


def run_requests(args: argparse.Namespace) -> int:
    """Run one request or all; 1 where one waits for a decision."""
    from unlearn_train.options import merge, nest
    from unlearn_train.requests import Status

    requests, done, overrides = _requests(args), 0, merge(*map(nest, args.set))
    while (request := requests.run(args.request, overrides=overrides, wait=args.wait)) is not None:
        print("\n" * bool(done) + _page(requests, request.number), flush=True)
        done += 1
        if request.status is Status.WAITING:
            print(f"unlearn: request {request.number} waits for a decision.", file=sys.stderr)
            return 1
        if not args.all or args.request is not None:
            return 0
    if not done:
        print("there is nothing to run.")
    return 0


def show_status(args: argparse.Namespace) -> int:
    """Show all requests."""
    _print_status(_requests(args))
    return 0


def show_request(args: argparse.Namespace) -> int:
    """Show one request."""
    print(_page(_requests(args), args.request))
    return 0


def approve(args: argparse.Namespace) -> int:
    """Promote a model that waits."""
    from unlearn_train.requests.showing import outcome

    print(outcome(args.folder, _requests(args).approve(args.request, by=args.by, note=args.note, wait=args.wait)))
    return 0


def roll_back(args: argparse.Namespace) -> int:
    """Undo a request, or go back to a state."""
    from unlearn_train.requests.showing import changes

    requests = _requests(args)
    before = requests.ledger
    after = requests.roll_back(args.target, by=args.by, note=args.note, wait=args.wait)
    said = changes(before, after)
    print(*said, *[""] * bool(said), sep="\n", end="\n" * bool(said))
    _print_status(requests)
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the audit."""
    from unlearn_train.requests import export

    for path in export(_requests(args), args.out):
        print(path)
    return 0


def _requests(args: argparse.Namespace) -> "Requests":
    from unlearn_train.requests import Requests

    return Requests(args.folder, quiet=args.quiet)


def _print_status(requests: "Requests") -> None:
    from unlearn_train.requests.showing import status_table

    ledger = requests.ledger
    print(status_table(ledger) if ledger.requests else "there is no request yet.")
    print(f"\ncurrent model: {requests.model(ledger.current)}")


def _page(requests: "Requests", number: int) -> str:
    """A request with its gates and numbers, as far as it has come."""
    from unlearn_train.requests.showing import decided, membership_line, numbers_table, outcome, verdict_table

    ledger = requests.ledger
    request = ledger.request(number)
    lines = [f"request {number} of {request.date}: {', '.join(request.subjects)} ({request.reason})", ""]
    state = ledger.states.get(request.plan["state"]) if request.plan else None
    if state is not None and state.judged is not None:
        numbers = requests.numbers(state.name)
        verdicts = verdict_table(state.judged["verdicts"])
        about = [numbers_table(numbers), membership_line(numbers), verdicts, decided(state)]
        lines += [text for part in about if part for text in (part, "")]
    return "\n".join([*lines, outcome(requests.folder, request)])


def _add_init(part: Callable[..., argparse.ArgumentParser]) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    one = part("init", "open a ledger on a model and its data", open_ledger, formatter_class=raw, epilog=_defaults())
    one.add_argument("--model", required=True, help="folder or hub name; copied into the ledger as the state s0")
    one.add_argument(
        "--data", required=True, type=Path, metavar="FOLDER", help="dataset folder: rows.parquet and sets.json"
    )
    one.add_argument("--method", help="a loss or a weight edit, or icul (default: npo)")
    one.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method; repeatable"
    )
    one.add_argument("--config", type=Path, metavar="YAML", help="options from a file")
    one.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any option (see below); repeatable"
    )
    _add_gate(one, "that every model must pass, instead of those chosen for the data; repeatable")


def _add_add(part: Callable[..., argparse.ArgumentParser]) -> None:
    one = part("add", "add a request to the queue", add_request)
    one.add_argument("--subjects", required=True, action="append", metavar="A,B", help="whom to forget; repeatable")
    one.add_argument("--reason", required=True, help="why, for the record")
    one.add_argument("--date", metavar="YYYY-MM-DD", help="when it was asked (default: today)")
    _add_gate(one, "that this request's model must pass as well; repeatable")


def _add_gate(parser: argparse.ArgumentParser, text: str) -> None:
    example = "such as 'retain.all.probability>=0.9*start'"
    parser.add_argument("--gate", action="append", default=[], help=f"a comparison, {example}, {text}")


def _add_note(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--note", default="", help="why, for the record")
    _add_wait(parser)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="for another process that is at work, instead of refusing")


def _defaults() -> str:
    from unlearn_train.options import describe
    from unlearn_train.requests.settings import TRAIN, RequestOptions

    chosen = {f"train.{name}": value for name, value in vars(TRAIN).items()}
    return "all options, with their defaults:\n" + listing(describe(RequestOptions), chosen)
