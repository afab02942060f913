"""Run the peers on a zoo, resumably.

    python -m benchmarks.peers --zoo zoo --split heldout --out results/peers --method neural_cleanse --jobs 2

Neural Cleanse gets the clean images that the auditor gets in mode ``images``; MM-BD gets nothing. One JSON file a
method and model, ``OUT/METHOD/NAME.json``; what is there is not run again.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from auditor.errors import AuditError
from benchmarks.catalogue import SPLITS
from benchmarks.peers.models import ZooModel, in_order, read_zoo
from benchmarks.peers.run import METHODS, run, tasks


def chosen(
    zoo: Path, split: str, only: str, most: int | None, *, drawn: bool = False, classes: int | None = None
) -> list[ZooModel]:
    """The models asked for: by name, of at most so many ``classes``, ``most`` of them, drawn at random or the first in
    the catalogue's order."""
    models = [m for m in read_zoo(zoo, split, only) if classes is None or m.num_classes <= classes]
    if most is None:
        return models
    if drawn:
        return random.Random(0).sample(models, min(most, len(models)))
    from benchmarks.catalogue import ENTRIES

    return in_order(models, [entry.name for entry in ENTRIES])[:most]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder written by benchmarks.zoo")
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="heldout")
    parser.add_argument("--method", choices=METHODS, action="append", help="repeatable; all when left out")
    parser.add_argument("--only", default="", help="part of the model's name")
    parser.add_argument("--most", type=int, help="only the first so many models, in the catalogue's order")
    parser.add_argument("--drawn", action="store_true", help="these drawn at random, the same ones each time")
    parser.add_argument("--classes", type=int, help="only models of at most so many: a peer's cost grows with them")
    parser.add_argument("--quarter", action="store_true", help="a quarter of the steps; kept in OUT/METHOD-quarter")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, one thread each")
    options = parser.parse_args()
    if options.jobs < 1 or (options.most is not None and options.most < 1):
        parser.error("expected --jobs and --most of at least 1; give a larger number")
    try:
        models = chosen(
            options.zoo, options.split, options.only, options.most, drawn=options.drawn, classes=options.classes
        )
    except AuditError as error:
        parser.error(str(error))
    if not models:
        parser.error(
            f"expected models of split '{options.split}' with '{options.only}' in their name, got none; "
            "try --split all, or another --only"
        )
    todo = tasks(models, options.method or METHODS, options.out, quarter=options.quarter)
    for line in run(todo, options.jobs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
