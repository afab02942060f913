"""A class whose weights in the last layer stand apart; and how far that is among few classes."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import Perceptron, make_context

from auditor import anomaly_index
from auditor.detectors.head import OF_FEW, Head
from auditor.measuring import measure
from auditor.outliers import prominence


def rare(classes: int, draws: int = 4000) -> float:
    """What one in a hundred sets of normal numbers exceeds in prominence."""
    rows = np.random.default_rng(classes).standard_normal((draws, classes))
    return float(np.quantile([prominence(np.clip(anomaly_index(row), 0, None))[0] for row in rows], 0.99))


def test_among_few_classes_an_index_counts_for_less() -> None:
    network = Perceptron()
    (head,) = network.parameters()
    index = anomaly_index(head.detach().mean(1).numpy())
    outcome, _ = measure("head", Head(), make_context(network))
    expected = np.clip(OF_FEW[len(index)] * index, 0, None)
    assert max(expected) > 0.1
    assert [m.value for m in outcome.measurements] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("classes", OF_FEW)
def test_few_classes_are_as_seldom_prominent_as_ten(classes: int) -> None:
    assert OF_FEW[classes] * rare(classes) == pytest.approx(rare(10), rel=0.25)
