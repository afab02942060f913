"""What the zoo contains: one `Entry` a model, in the order in which they are trained."""

from benchmarks.catalogue.entry import Entry, Split
from benchmarks.catalogue.splits import entries

ENTRIES: tuple[Entry, ...] = (*entries("develop"), *entries("heldout"))

__all__ = ["ENTRIES", "Entry", "Split"]
