"""Write auditor/calibration.json from audits of clean develop models.

    python -m benchmarks.evaluate --zoo zoo --split develop --out results --jobs 2
    python -m benchmarks.calibrate --zoo zoo --results results

For each judged statistic, and for each of the modes (with images or class impressions, with a reference or without),
an exponential null: its mean over clean models and how many models there were. A mean below ``FLOOR`` is raised
to it: a statistic that never moved on a handful of clean models is not thereby known to a hundredth.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from auditor.archive import from_dict
from auditor.calibration import Given
from auditor.weighing import kind_of, weigh
from benchmarks.evaluate import MODES, load

FLOOR = 0.02


def calibrate(zoo: Path, results: Path) -> dict[str, object]:
    """The content of calibration.json."""
    seen: dict[str, list[float]] = defaultdict(list)
    for mode in MODES:
        for row in load(zoo, results, "develop", mode):
            if row.backdoored:
                continue
            audit = from_dict(row.audit)
            k = audit.model.num_classes or len(audit.evidence[0].scores)
            given = Given(reference=audit.reference is not None, images=mode.endswith("images"))
            for item in (e for outcome in audit.outcomes for e in weigh(outcome, k, given)):
                seen[given.keys(item.detector, kind_of(item))[0]].append(item.value)
    statistics = {
        key: {"mean": round(max(FLOOR, sum(v) / len(v)), 4), "count": len(v), "largest": round(max(v), 4)}
        for key, v in sorted(seen.items())
    }
    return {"made_by": "python -m benchmarks.calibrate, clean models of the develop split", "statistics": statistics}


def main() -> None:
    """Read audits, write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("auditor/calibration.json"))
    options = parser.parse_args()
    found = calibrate(options.zoo, options.results)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
