"""Does every classifier load, however it was saved?

    python -m benchmarks.loading --out loading [--table torchvision] [--only 'resnet*'] [--table-only] [--write]

For each architecture: random weights and batch-norm statistics, exported by both exporters, saved as a state dict and
as safetensors; every file loaded without being told what it holds, compared with torch at another batch size, scores
and input gradients. One architecture at a time, the small ones first, each in a process with limits on memory and time.

The run is resumable: ``--out`` (outside of the repository) collects one JSON line an architecture in ``TABLE.jsonl``;
those that are there already are left out. The tables of all that was measured are printed as markdown; failures stay in
them, with their reasons.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.loading_case import measure_confined, warm_up
from benchmarks.loading_networks import names, parameters
from benchmarks.loading_tables import header, markdown

RESULTS = Path(__file__).parent / "results" / "loading.md"
FIVE = ("resnet18", "mobilenet_v3_small", "vit_b_16", "swin_t", "efficientnet_b0")
_SAVED = ("dynamo", "legacy-17", "pt", "safetensors")
_OPSETS = (
    *(f"legacy-{opset}" for opset in (9, 11, 13, 15, 17, 18)),
    *(f"dynamo-{opset}" for opset in (18, 20, 21, 22, 23, 25)),
)
_FORMS = tuple(
    f"{exporter}-{form}" for form in ("fixed", "float16", "bfloat16") for exporter in ("dynamo", "legacy-17")
)

TABLES: dict[str, tuple[str, ...]] = {"torchvision": _SAVED, "timm": _SAVED, "opsets": _OPSETS, "forms": _FORMS}
"""Cases of each table, as `benchmarks.loading_case.Case` reads them."""


def architectures(table: str) -> list[str]:
    """Names of a table's architectures, small networks first."""
    if table in ("opsets", "forms"):
        return [f"torchvision:{name}" for name in FIVE]
    return sorted(names(table), key=parameters)


def measured(file: Path) -> dict[str, dict[str, Any]]:
    """Results by architecture; the last line of each counts."""
    if not file.exists():
        return {}
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return {line["name"]: line for line in lines}


def run(architecture: str, cases: tuple[str, ...], args: argparse.Namespace) -> dict[str, Any]:
    """Measure one architecture in a process of its own; a process that fails is a result too."""
    fork = multiprocessing.get_context("fork")  # imports and the exporter's tables are there already
    with tempfile.TemporaryDirectory(dir=args.out) as work:
        answer, told = fork.Pipe(duplex=False)
        options = (architecture, list(cases), Path(work), args.keep, args.memory_gib, told)
        process = fork.Process(target=measure_confined, args=options)
        process.start()
        told.close()
        try:
            if not answer.poll(args.seconds):
                return {"name": architecture, "error": f"took more than {args.seconds:g} s"}
            result: dict[str, Any] = json.loads(answer.recv_bytes())
            return result
        except EOFError:
            process.join()
            return {"name": architecture, "error": f"ended with exit status {process.exitcode}"}
        finally:
            process.kill()
            process.join()


def measure(table: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure what is missing from a table, adding each result to its file."""
    file = args.out / f"{table}.jsonl"
    for architecture in architectures(table):
        if not fnmatch.fnmatchcase(architecture.partition(":")[2], args.only):
            continue
        if not args.again and architecture in measured(file):
            continue
        began = time.perf_counter()
        result = {**run(architecture, TABLES[table], args), "seconds": time.perf_counter() - began}
        with file.open("a") as stream:
            stream.write(json.dumps(result) + "\n")
        yield result


def main() -> None:
    """Measure, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results, kept for resuming")
    parser.add_argument("--table", action="append", choices=tuple(TABLES), help="repeatable; default: all")
    parser.add_argument("--only", default="*", metavar="GLOB", help="architectures whose name matches")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, print the tables")
    parser.add_argument("--keep", type=Path, help="folder for copies of the exports (large ones without weights)")
    parser.add_argument("--seconds", type=float, default=1800.0, help="limit for one architecture")
    parser.add_argument("--memory-gib", type=float, default=16.0, help="limit for one architecture")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} beside the other results")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table_only:
        warm_up()
    for table in args.table or TABLES:
        if not args.table_only:
            for result in measure(table, args):
                print(f"{result['name']}: {result['seconds']:.0f} s", file=sys.stderr, flush=True)
    page = [header(version("torch").partition("+")[0])]
    for table in args.table or TABLES:
        page.append(markdown(table, TABLES[table], measured(args.out / f"{table}.jsonl"), architectures(table)))
    print("\n".join(page))
    if args.write:
        RESULTS.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
