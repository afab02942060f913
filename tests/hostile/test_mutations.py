"""A seeded part of the mutated files that ``python -m benchmarks.mutations`` opens."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.confined import MEMORY_GIB
from benchmarks.mutations import SHARES, Mutated, counts, run

from .trick import check_sentence

COUNT = 200


@pytest.fixture(scope="module")
def mutated() -> list[Mutated]:
    return run(COUNT, seed=1)


def test_every_mutation_is_loaded_or_refused_in_a_sentence(mutated: list[Mutated]) -> None:
    assert [one for one in mutated if not one.outcome.sound] == []
    for one in mutated:
        if one.outcome.refused:
            check_sentence(one.outcome.message)
        assert one.outcome.peak_mib < 1024 * MEMORY_GIB


def test_the_mutations_are_neither_all_harmless_nor_all_fatal(mutated: list[Mutated]) -> None:
    ended = Counter(one.outcome.ending == "loaded" for one in mutated)
    assert ended[True] > 0.02 * COUNT
    assert ended[False] > 0.5 * COUNT
    assert Counter(one.format for one in mutated) == Counter(counts(COUNT))
    assert sum(SHARES.values()) == 100
