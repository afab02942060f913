"""Audits of the zoo as small records, to judge and fit again without training and scanning again.

    python -m benchmarks.records --zoo zoo --results results            # writes benchmarks/results/audits
    python -m benchmarks.records --zoo cards --results kept --unpack    # and back, for calibrate and tables

A record is a model's card and its audit without what only a reader looks at: pictures, curves and the pixels of
triggers. Of a trigger its size and strength remain, which the verdict asks for. All models of one split and mode are
lines of JSON in one file, ``SPLIT_MODE.jsonl.xz``.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auditor.archive import from_dict, to_dict
from auditor.findings import Audit, Measurement, Trigger
from benchmarks.catalogue import SPLITS
from benchmarks.judged import MODES, read_kept, shortened

HOME = Path(__file__).parent / "results" / "audits"


def bare(audit: Audit) -> Audit:
    """The same audit without pictures; verdicts formed from it are the same."""
    outcomes = tuple(replace(o, measurements=tuple(map(_bare, o.measurements))) for o in audit.outcomes)
    images = replace(audit.images, samples=())
    return replace(audit, outcomes=outcomes, images=images, trigger=None, demonstrations=(), explanations=())


def _bare(measurement: Measurement) -> Measurement:
    trigger = measurement.trigger
    return replace(measurement, exhibits=(), trigger=None if trigger is None else even(trigger))


def even(trigger: Trigger) -> Trigger:
    """A trigger of the same size and strength whose pixels say nothing else: they compress to nothing."""
    mask = np.zeros(trigger.mask.shape, dtype=np.float32)
    touched = int((trigger.mask > 0).sum())
    if touched:
        mask.flat[:touched] = min(1.0, trigger.strength * mask.size / touched)
    return replace(trigger, mask=mask, pattern=np.ones((1, *mask.shape), dtype=np.float32))


def pack(zoo: Path, results: Path, out: Path, split: str, mode: str) -> int:
    """Write the records of one split and mode, where there are audits of it; returns how many."""
    kept = read_kept(zoo, results, split, mode)
    if kept:
        lines = [json.dumps({"card": k.card, "audit": shortened(to_dict(bare(k.audit)))}) + "\n" for k in kept]
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{split}_{mode}.jsonl.xz").write_bytes(lzma.compress("".join(lines).encode(), preset=9))
    return len(kept)


def records(folder: Path, split: str, mode: str) -> Iterator[tuple[dict[str, Any], Audit]]:
    """Card and audit of each record of one split and mode; none where there is no file of them."""
    path = folder / f"{split}_{mode}.jsonl.xz"
    if path.exists():
        for line in lzma.decompress(path.read_bytes()).decode().splitlines():
            record = json.loads(line)
            yield record["card"], from_dict(record["audit"])


def unpack(folder: Path, zoo: Path, results: Path, split: str, mode: str) -> int:
    """Write cards and audits where other benchmarks look for them; what is there already stays. Returns how many."""
    found = list(records(folder, split, mode))
    for card, audit in found:
        for path, data in (
            (zoo / card["name"] / "card.json", card),
            (results / mode / f"{card['name']}.json", to_dict(audit)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
    return len(found)


def main() -> None:
    """Pack or unpack what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder of model folders with cards")
    parser.add_argument("--results", type=Path, required=True, help="folder of audits by mode")
    parser.add_argument("--records", type=Path, default=HOME, help="folder of records")
    parser.add_argument(
        "--unpack", action="store_true", help="write cards and audits; use a --zoo of its own, for cards only"
    )
    options = parser.parse_args()
    for split in SPLITS:
        for mode in MODES:
            if options.unpack:
                count = unpack(options.records, options.zoo, options.results, split, mode)
            else:
                count = pack(options.zoo, options.results, options.records, split, mode)
            if count:
                print(f"{split}, {mode}: {count}")


if __name__ == "__main__":
    main()
