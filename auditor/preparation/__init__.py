"""How networks want their images, of the usual ways, where that can be told without asking anybody.

Wrong preprocessing is the commonest cause of a wrong verdict: of clean models that were asked in a wrong way, more than
half looked suspicious (benchmarks/decisions.md). So nobody has to state what labelled images tell (`by_labels`), or,
without labels, batch norm (`by_batch_norm`), another model of the task, or answers that are the same to everything
(`by_answers`). What is stated is never changed.
"""

from auditor.preparation.by_labels import in_another_order
from auditor.preparation.preparing import prepare
from auditor.preparation.ways import Told

__all__ = ["Told", "in_another_order", "prepare"]
