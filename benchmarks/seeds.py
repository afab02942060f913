"""Does another seed give another verdict?

    python -m benchmarks.seeds --zoo zoo --split heldout --most 12 --seeds 10 --out results/seeds

Scans models with several seeds, the first seed twice: same seed, same verdict and score to the last digit. What is kept
in ``OUT/NAME.json`` is not scanned again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

from auditor.archive import save_text
from auditor.exit_codes import exit_code
from auditor.findings import Verdict
from benchmarks.catalogue import SPLITS
from benchmarks.evaluate import request_of
from benchmarks.judged import cards
from benchmarks.tables import table

Task = tuple[Path, dict[str, Any], str, int, Path]


def scan_all(task: Task) -> str:
    """All seeds of one model; its line."""
    folder, card, mode, seeds, path = task
    import torch

    from auditor.scan import run

    torch.set_num_threads(1)
    found = []
    for seed in (0, *range(seeds)):  # the first one twice
        audit = run(request_of(folder, card, mode, seed=seed, early_stop=True))
        found.append({"seed": seed, "verdict": audit.verdict.value, "score": audit.score})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_text(path, json.dumps(found) + "\n")
    return f"{card['name']:32} {dict(Counter(f['verdict'] for f in found[1:]))}"


def main() -> None:
    """Scan what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--split", choices=SPLITS, default="heldout")
    parser.add_argument("--mode", default="images")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most", type=int, help="only the first so many models, in the catalogue's order")
    parser.add_argument("--only", nargs="+", help="names of models, instead of the first in the catalogue's order")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", type=Path, default=Path("benchmarks/results/seeds.md"))
    options = parser.parse_args()
    from benchmarks.catalogue import ENTRIES

    places = {entry.name: number for number, entry in enumerate(ENTRIES)}
    found_cards = [c for c in cards(options.zoo, options.split) if not options.only or c[1]["name"] in options.only]
    models = sorted(found_cards, key=lambda pair: places[pair[1]["name"]])[: options.most]
    tasks = [
        (folder, card, options.mode, options.seeds, options.out / f"{card['name']}.json")
        for folder, card in models
        if not (options.out / f"{card['name']}.json").exists()
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for line in pool.imap_unordered(scan_all, tasks):
            print(line, flush=True)
    rows: list[tuple[object, ...]] = []
    changed = at_gate = same = 0
    for _, card in models:
        twice, *found = json.loads((options.out / f"{card['name']}.json").read_text(encoding="utf-8"))
        counts = Counter(f["verdict"] for f in found)
        scores = sorted(f["score"] for f in found)
        changed += len(found) - counts.most_common(1)[0][1]
        codes = Counter(exit_code(Verdict(f["verdict"]), "suspicious") for f in found)
        at_gate += len(found) - codes.most_common(1)[0][1]
        same += twice == found[0]
        told = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
        rows.append((card["name"], told, f"{scores[0]:.3f} to {scores[-1]:.3f}"))
    text = (
        f"Made by `python -m benchmarks.seeds --split {options.split}`, mode {options.mode}. {options.seeds} seeds on "
        f"{len(models)} models: {changed} of {options.seeds * len(models)} verdicts differ from the usual one, "
        f"{at_gate} exit codes (a gate at `suspicious`). "
        f"The same seed again gave the same verdict and score on {same} of {len(models)} models.\n\n"
    )
    options.table.write_text(text + table(("model", "verdicts", "scores"), rows) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
