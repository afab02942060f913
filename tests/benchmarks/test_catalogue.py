"""The catalogue is coherent: what its splits hold, share and must not share."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from benchmarks.catalogue import ENTRIES, GENERATIONS, SPLITS
from benchmarks.catalogue.first_networks import first_networks
from benchmarks.catalogue.ordinary import ordinary
from benchmarks.catalogue.some_classes import some_classes
from benchmarks.data import FORMATS

BY_SPLIT = {split: [entry for entry in ENTRIES if entry.split == split] for split in SPLITS}

CROSSED = {e.name for e in (*first_networks(0), *ordinary(0), *some_classes(0)) if e.name.endswith("_clean2")}
"""clean models of develop's later networks that are compared with another network's"""


def test_entries_are_unique_and_their_references_clean() -> None:
    by_name = {entry.name: entry for entry in ENTRIES}
    assert len(by_name) == len(ENTRIES) == len({entry.seed for entry in ENTRIES}) >= 210
    for entry in ENTRIES:
        reference = by_name[entry.reference]
        assert (reference is entry, reference.backdoors) == (False, ())
        assert reference.dataset == entry.dataset
        assert reference.split == entry.split or (entry.split, reference.split) == ("copies", "develop")
        assert entry.parent in (None, entry.reference, reference.parent)
        long = entry.split in ("photographs", "unseen", "kinds", "drawn")  # too long for two of each network
        twin = not entry.backdoors and not long and entry.name not in CROSSED
        if twin or entry.parent:  # a clean model's reference is a twin, a fine-tuned one's its parent
            assert reference.architecture == entry.architecture


def test_a_clean_model_of_each_later_network_is_compared_with_another_network() -> None:
    by_name = {entry.name: entry for entry in ENTRIES}
    crossed = [entry for entry in ENTRIES if entry.name in CROSSED]
    assert len(crossed) >= 20
    assert all(by_name[entry.reference].architecture != entry.architecture for entry in crossed)


@pytest.mark.parametrize("split", GENERATIONS)
def test_half_of_a_split_is_clean_half_of_that_hard_and_any_stretch_mixed(split: str) -> None:
    entries = BY_SPLIT[split]
    clean = [entry for entry in entries if not entry.backdoors]
    assert len(entries) >= 105
    assert 0.45 <= len(clean) / len(entries) <= 0.65  # develop's later networks are there to be passed
    assert 0.4 <= sum(entry.kind != "clean" for entry in clean) / len(clean) <= 0.65
    share = Counter(entry.dataset.split("_")[0] for entry in entries)
    assert all(0.18 <= share[name] / len(entries) <= 0.33 for name in ("mnist", "fashion", "gtsrb", "cifar10"))
    for number, entry in enumerate(entries):
        assert {e.name for e in entries[:number]}.issuperset(entry.needed)
    references = next(i for i, entry in enumerate(entries) if entry.backdoors or entry.kind != "clean")
    for start in range(references, len(entries) - 30, 10):
        stretch = entries[start : start + 30]
        assert 0.25 <= sum(not entry.backdoors for entry in stretch) / 30 <= 0.75
        assert len({entry.dataset for entry in stretch}) >= 4


def test_splits_share_attacks_and_hard_kinds_but_no_seed_or_trigger() -> None:
    seeds, architectures, kinds, triggers, maps = (
        [{value for e in split for value in get(e)} for split in map(BY_SPLIT.__getitem__, GENERATIONS)]
        for get in (
            lambda e: [e.seed],
            lambda e: [e.architecture],
            lambda e: [e.backdoors[0].name if e.backdoors else e.kind.replace("some_", "few_")],
            lambda e: [repr(b.trigger) for b in e.backdoors],
            lambda e: [(b.label_map.name, bool(b.cover)) for b in e.backdoors],
        )
    )
    for one, other in itertools.combinations(range(len(GENERATIONS)), 2):
        assert not seeds[one] & seeds[other]
        assert not triggers[one] & triggers[other]
        assert architectures[one] & architectures[other] == {"benchmarks.networks:grey_bias_map_cnn"}
        assert (kinds[one], maps[one]) == (kinds[other], maps[other])
    assert kinds[0] >= {
        "weak", "adversarial", "long_tail", "label_noise", "trivial_class", "few_images", "favoured_class",
        "few_classes", "many_classes", "distilled", "quantised", "fine_tuned", "BadNets", "Blended", "SIG", "WaNet",
        "Input-aware", "LIRA", "Clean-label", "Two triggers", "All-to-all", "Source-specific", "Bias-map paper",
    }  # fmt: skip


def test_models_of_few_classes_are_clean_patched_and_changed_all_over() -> None:
    for split in ("few", "fresh"):
        some = [e for e in BY_SPLIT[split] if e.seed % 1000 in range(100, 170)]
        assert [e.kind for e in some if not e.backdoors] == ["few_classes"] * 12
        attacks = Counter(e.backdoors[0].name for e in some if e.backdoors)
        assert attacks == {"BadNets": 5, "Blended": 4, "SIG": 1, "WaNet": 1, "Low frequency": 1}
    triggers = [{repr(e.backdoors[0].trigger) for e in BY_SPLIT[s] if e.backdoors} for s in ("few", "heldout", "fresh")]
    assert not triggers[0] & triggers[1]
    assert not triggers[0] & triggers[2]


def test_photographs_are_trained_long_and_planted_in_what_they_are_compared_with() -> None:
    entries = BY_SPLIT["photographs"]
    assert {entry.dataset for entry in entries} == {"cifar10"}
    scratch = [entry for entry in entries if not entry.parent]
    assert all(e.recipe.images is None and e.recipe.epochs >= 7 for e in scratch)
    assert {e.parent for e in entries if e.parent} == {e.name for e in scratch if not e.backdoors}
    before = {repr(b.trigger) for e in ENTRIES if e.split != "photographs" for b in e.backdoors}
    assert not before & {repr(b.trigger) for e in entries for b in e.backdoors}
    assert {b.label_map.name for e in entries for b in e.backdoors} == {"all_to_one", "all_to_all", "source_specific"}
    assert sum(not e.backdoors for e in entries) == 9


def test_unseen_models_share_no_network_seed_or_trigger_with_others() -> None:
    entries, others = BY_SPLIT["unseen"], [e for e in ENTRIES if e.split not in ("unseen", "kinds", "drawn")]
    assert not {e.seed for e in entries} & {e.seed for e in others}
    assert not {repr(b.trigger) for e in entries for b in e.backdoors} & {
        repr(b.trigger) for e in others for b in e.backdoors
    }
    shared = {e.architecture for e in entries} & {e.architecture for e in others}
    assert shared == {"benchmarks.networks:grey_bias_map_cnn"}
    assert {e.dataset for e in entries} == {"mnist", "fashion_mnist", "gtsrb", "cifar10"}
    assert sum(e.kind != "clean" for e in entries) == 5
    assert 0.3 <= sum(not e.backdoors for e in entries) / len(entries) <= 0.5
    single = [b for e in entries for b in e.backdoors if b.label_map.name == "source_specific"]
    assert {bool(b.cover) for b in single} == {True, False}
    for number, entry in enumerate(entries):
        assert {e.name for e in entries[:number]}.issuperset(entry.needed)


def test_copies_are_compared_with_the_network_that_they_were_trained_on_from() -> None:
    entries = [e for e in BY_SPLIT["copies"] if e.parent]
    clean = [e for e in entries if not e.backdoors]
    siblings = [e for e in entries if e.parent != e.reference]
    flaws = {"favoured_class", "long_tail", "trivial_class", "label_noise", "few_images"}
    made = {e.name.partition("_copy_")[2] for e in clean}
    assert made == {"short", "long", "adversarial", "sibling", *flaws}
    assert {e.name for e in siblings} == {e.name for e in clean if e.name.endswith("sibling")}
    assert len({e.architecture for e in clean}) >= 8
    assert len(clean) >= 12
    by_name = {e.name: e for e in ENTRIES}
    for entry in clean:  # a copy that was trained on for long was trained as its parent was
        same = entry.recipe.epochs == by_name[entry.parent or ""].recipe.epochs
        assert same == (not entry.name.endswith("short"))
    assert {b.label_map.name for e in entries for b in e.backdoors} == {"all_to_one", "source_specific"}
    before = {repr(b.trigger) for e in ENTRIES if e.split != "copies" for b in e.backdoors}
    assert not before & {repr(b.trigger) for e in entries for b in e.backdoors}


def test_kinds_are_networks_or_sizes_that_no_other_split_has() -> None:
    entries, others = BY_SPLIT["kinds"], [e for e in ENTRIES if e.split not in ("kinds", "drawn")]
    usual = {e.architecture for e in others}
    assert all(e.architecture not in usual or e.dataset in FORMATS for e in entries)
    assert {e.dataset for e in entries} >= set(FORMATS)
    assert not {e.dataset for e in others} & set(FORMATS)
    before = {repr(b.trigger) for e in others for b in e.backdoors}
    assert not before & {repr(b.trigger) for e in entries for b in e.backdoors}
    assert sum(not e.backdoors for e in entries) / len(entries) > 0.6
    for number, entry in enumerate(entries):
        assert {e.name for e in entries[:number]}.issuperset(entry.needed)
