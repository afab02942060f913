"""Where a catalogue entry's true trigger is."""

from __future__ import annotations

import torch

from benchmarks.catalogue import ENTRIES
from benchmarks.explanations import true_place


def entry(kind: str, dataset: str) -> str:
    return next(
        e.name
        for e in ENTRIES
        if e.dataset == dataset and e.backdoors and type(e.backdoors[0].trigger).__name__ == kind
    )


def test_a_patch_is_where_it_is_put() -> None:
    place = true_place(entry("Patch", "gtsrb"), torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert 0 < int(place.sum()) <= 36
    rows, columns = place.any(1).nonzero().flatten(), place.any(0).nonzero().flatten()
    assert int(rows.max() - rows.min()) < 6
    assert int(columns.max() - columns.min()) < 6


def test_a_blend_counts_where_it_changes_most() -> None:
    place = true_place(entry("Blend", "gtsrb"), torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert 0.05 < float(place.float().mean()) < 0.15
