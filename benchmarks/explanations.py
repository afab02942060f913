"""Where explanations point on models whose trigger is known, and what they cost.

    python -m benchmarks.explanations --zoo zoo --out explained --only gtsrb_resnet20_white gtsrb_resnet20_clean1

Scans each model with its reference and real images and writes ``OUT/NAME.html`` and ``.json``; then estimates salient
patterns of the target class and of other classes, and measures how much of their energy lies where the *true* trigger
is. A clean model is asked about the class and place of the backdoored one before it. The table goes to ``--table``.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from auditor import registry
from auditor.archive import save_text, to_text
from auditor.classifier import Classifier
from auditor.context import SearchImages
from auditor.explain.essence import FEWEST_IMAGES, victims
from auditor.explain.salient_pattern import SalientPattern, energy_inside, salient_pattern
from auditor.explanations import Panel
from auditor.findings import Audit
from auditor.models import open_models
from auditor.scan import run
from auditor.search_images import gather
from benchmarks.catalogue import ENTRIES
from benchmarks.evaluate import request_of
from benchmarks.judged import cards
from benchmarks.tables import table

PLAN = SalientPattern(steps=60, samples=48, batch=16, refine_every=10)
"""about what the standard detail affords: 5,000 passes a pattern"""

OTHERS = 3
"""classes beside the target, evenly spread"""

SEEDS = 2

WHOLE = 0.5
"""share of the image from which a trigger's place is the tenth of the pixels that it changes most"""


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    attack: str
    audit: Audit
    target: int
    place: float
    """share of the image"""
    of_target: float
    """share of the salient patterns' energy at the true trigger's place"""
    of_others: tuple[float, ...]
    of_reference: float


def true_place(name: str, images: Tensor) -> Tensor:
    """(H, W) of True where the trigger of a catalogue entry changes images."""
    backdoor = next(e for e in ENTRIES if e.name == name).backdoors[0]
    rng = torch.Generator().manual_seed(0)
    changed = (backdoor.trigger.apply(images, rng) - images).abs().mean((0, 1))
    touched = changed > 1e-3
    return touched if float(touched.float().mean()) < WHOLE else changed >= changed.flatten().quantile(0.9)


def energy(model: Classifier, images: SearchImages, target: int, place: Tensor, sources: Sequence[int]) -> float:
    """Mean share of the energy at a place, over seeds; patterns that move images of the ``sources``, if there are any.

    Images of all classes but the target where the sources have too few.
    """
    others = images.held_out[victims(images.held_out_classes, target, sources, FEWEST_IMAGES + SEEDS)]
    found = []
    for seed in range(SEEDS):
        rng = torch.Generator().manual_seed(100 * target + seed)
        pattern = salient_pattern(model, others[seed], others[SEEDS:], target, PLAN.at(model.input_shape), rng)
        found.append(energy_inside(pattern.perturbation, place))
    return mean(found)


def explain(
    folder: Path, card: dict[str, Any], target: int, sources: Sequence[int], place: Tensor | None, out: Path
) -> tuple[Row, Tensor]:
    """Audit one model, keep its reports, and ask for its salient patterns."""
    request = request_of(folder, card, "reference+images", early_stop=True)
    request = replace(request, settings=replace(request.settings, explain="standard"))
    audit = run(request)
    out.mkdir(parents=True, exist_ok=True)
    save_text(out / f"{card['name']}.json", to_text(audit))
    save_text(out / f"{card['name']}.html", registry.load(registry.REPORTS, "html")(audit))
    models = open_models(request)
    images, _ = gather(request, models.suspect, models.reference)
    if place is None:
        place = true_place(card["name"], images.held_out[:64])
    k = models.suspect.num_classes
    others = sorted({(target + 1 + i * (k - 1) // OTHERS) % k for i in range(OTHERS)} - {target})
    assert models.reference is not None
    row = Row(
        card["name"],
        card["attack"] or "clean",
        audit,
        target,
        float(place.float().mean()),
        energy(models.suspect, images, target, place, sources),
        tuple(energy(models.suspect, images, other, place, sources) for other in others),
        energy(models.reference, images, target, place, sources),
    )
    return row, place


def explain_twins(models: Sequence[tuple[Path, dict[str, Any]]], out: Path) -> list[Row]:
    """A backdoored model, and then clean ones that are asked about its target and its trigger's place."""
    torch.set_num_threads(1)
    first = models[0][1]
    rows, place, target, sources = [], None, first["target_classes"][0], first["source_classes"]
    for folder, card in models:
        row, place = explain(folder, card, target, sources, place, out)
        rows.append(row)
        print(f"{row.name}: target {row.of_target:.3f}, others {mean(row.of_others):.3f}", flush=True)
    return rows


def attention_of(audit: Audit) -> str:
    """Share of the attention at the recovered trigger's place: suspect without, with; reference with."""
    panels: list[Panel] = [p for e in audit.explanations for p in e.panels if p.kind == "attention" and p.numbers]
    if not panels:
        return "–"
    n = panels[0].numbers
    shown = [n.get("suspect, without"), n.get("suspect, with"), n.get("reference, with")]
    return " → ".join(f"{v:.0%}" for v in shown[:2] if v is not None) + (
        f" ({shown[2]:.0%})" if shown[2] is not None else ""
    )


def written(rows: Sequence[Row], out: Path, command: str) -> str:
    """The page."""
    points = table(
        ("model", "attack", "verdict", "named", "place", "energy: target", "others", "reference", "attention"),
        [
            (
                r.name, r.attack, r.audit.verdict.value, ", ".join(map(str, r.audit.target_classes)) or "–",
                f"{r.place:.1%}", f"{r.of_target:.1%}", f"{mean(r.of_others):.1%} (at most {max(r.of_others):.1%})",
                f"{r.of_reference:.1%}", attention_of(r.audit),
            )
            for r in rows
        ],
    )  # fmt: skip
    costs = table(
        ("model", "scan, passes", "explanations, passes", "share", "scan, s", "explanations, s", "HTML, MB"),
        [
            (
                r.name, f"{r.audit.image_passes:,}", f"{_passes(r.audit):,}",
                f"{_passes(r.audit) / r.audit.image_passes:.0%}",
                f"{r.audit.seconds:.0f}", f"{sum(e.seconds for e in r.audit.explanations):.0f}",
                f"{(out / f'{r.name}.html').stat().st_size / 1e6:.2f}",
            )
            for r in rows
        ],
    )  # fmt: skip
    return (
        f"Made by `{command}`.\n\n## Where salient patterns and attention point\n\n"
        "Place: the share of the image where the true trigger is (for one over the whole image the tenth that it "
        "changes most). Energy: the share of the salient patterns' energy there, mean of "
        f"{SEEDS} seeds, for the target class, for {OTHERS} other classes, and for the target class on the reference. "
        "A clean model is asked about the class and place of the backdoored model above it. Attention: Grad-CAM's "
        "share at the recovered trigger's place without → with the trigger (reference).\n\n"
        f"{points}\n\n## Cost at the standard detail\n\n{costs}\n"
    )


def _passes(audit: Audit) -> int:
    return sum(e.passes for e in audit.explanations)


def main() -> None:
    """Explain the models that are named, in that order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where reports are kept")
    parser.add_argument("--only", nargs="+", required=True, help="models; a clean one follows its backdoored twin")
    parser.add_argument("--jobs", type=int, default=1, help="backdoored models at a time, one thread each")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/results/explanations.md"))
    options = parser.parse_args()
    known = {card["name"]: (folder, card) for folder, card in cards(options.zoo, "all")}
    missing = [name for name in options.only if name not in known]
    if missing:
        parser.error(f"no planted model is called {', '.join(missing)}; train it with python -m benchmarks.zoo")
    twins: list[list[tuple[Path, dict[str, Any]]]] = []
    for name in options.only:
        if known[name][1]["backdoored"] or not twins:
            twins.append([])
        twins[-1].append(known[name])
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        rows = [row for found in pool.starmap(explain_twins, [(t, options.out) for t in twins], 1) for row in found]
    command = f"python -m benchmarks.explanations --zoo ZOO --out OUT --only {' '.join(options.only)}"
    save_text(options.table, written(rows, options.out, command))


if __name__ == "__main__":
    main()
