"""What goes to the runtime beside the graph is no part of the serialised model, and changes no score."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import nn

from auditor.loading.onnx_graph.beside import large_constants, without
from auditor.loading.onnx_graph.runtime import runtime_outputs

from .conftest import Export, images, perturb


def test_large_constants_lie_beside_the_graph(export: Export) -> None:
    network = perturb(nn.Sequential(nn.Flatten(), nn.Linear(144, 300), nn.ReLU(), nn.Linear(300, 3)))
    model = onnx.load(export(network, images(2, 1, 12, 12), dynamo=False))
    constants = large_constants(model)
    assert sum(array.size for array in constants.values()) == 144 * 300
    rest = without(model, set(constants))
    assert len(rest.SerializeToString()) < len(model.SerializeToString()) - 3.9 * 144 * 300
    assert [tensor.name for tensor in rest.graph.initializer] == [tensor.name for tensor in model.graph.initializer]
    assert rest.opset_import == model.opset_import
    assert list(rest.graph.node) == list(model.graph.node)
    x = images(2, 1, 12, 12)
    (scores,) = runtime_outputs(model, x)
    with torch.no_grad():
        assert np.allclose(scores, network(x).numpy(), atol=1e-5)
