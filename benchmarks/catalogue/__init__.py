"""What the zoo contains: one `Entry` a model, in the order in which they are trained."""

from benchmarks.catalogue.entry import GENERATIONS, SPLITS, Entry, Split
from benchmarks.catalogue.splits import entries

ENTRIES: tuple[Entry, ...] = tuple(entry for split in SPLITS for entry in entries(split))

__all__ = ["ENTRIES", "GENERATIONS", "SPLITS", "Entry", "Split"]
