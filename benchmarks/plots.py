"""The figures of ``benchmarks/results``: ROC curves, detections by attack, reliability. SVG, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.judged import Judged
from benchmarks.rates import by, reliability

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "auditor", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot  # noqa: E402

Rows = Mapping[str, Sequence[Judged]]
MARKS = ("o", "s", "^", "D")
"""told apart without colour"""


def draw(split: str, rows: Rows, out: Path) -> None:
    """Write ``SPLIT_roc.svg``, ``SPLIT_attacks.svg`` and ``SPLIT_reliability.svg``."""
    for name, make in (("roc", _roc), ("attacks", _attacks), ("reliability", _reliability)):
        figure = make(rows)
        figure.tight_layout()
        figure.savefig(out / f"{split}_{name}.svg", metadata={"Date": None})
        pyplot.close(figure)


def _roc(rows: Rows) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(4.5, 4))
    for (mode, judged), mark in zip(rows.items(), MARKS, strict=False):
        bad = np.array([r.score for r in judged if r.backdoored])
        good = np.array([r.score for r in judged if not r.backdoored])
        if not len(bad) or not len(good):
            continue
        limits = np.concatenate([[np.inf], np.unique([*bad, *good])[::-1]])
        x, y = [(good >= t).mean() for t in limits], [(bad >= t).mean() for t in limits]
        axes.plot(x, y, marker=mark, markevery=12, drawstyle="steps-post", label=mode)
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set_xlabel("false alarms, share of clean models")
    axes.set_ylabel("detected, share of backdoored models")
    axes.legend()
    return figure


def _attacks(rows: Rows) -> pyplot.Figure:
    mode = next(iter(rows))
    groups = by([r for r in rows[mode] if r.backdoored], lambda r: r.card["attack"])
    shares = {name: (sum(r.flagged for r in group), len(group)) for name, group in groups.items()}
    names = sorted(shares, key=lambda n: shares[n][0] / shares[n][1])
    figure, axes = pyplot.subplots(figsize=(6, 0.26 * len(names) + 1))
    axes.barh(names, [shares[n][0] / shares[n][1] for n in names], color="#56789a")
    for place, name in enumerate(names):
        axes.text(0.01, place, f"{shares[name][0]} of {shares[name][1]}", va="center", fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"detected, {mode}")
    return figure


def _reliability(rows: Rows) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(4.5, 4))
    for (mode, judged), mark in zip(rows.items(), MARKS, strict=False):
        points = reliability(judged)
        axes.plot([p[0] for p in points], [p[1] for p in points], marker=mark, label=mode)
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set_xlabel("score")
    axes.set_ylabel("share backdoored, at even prior odds")
    axes.legend()
    return figure
