"""Run an ONNX model in a runtime, to learn what the file means."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from auditor.errors import ModelFileError
from auditor.loading.onnx_graph.beside import large_constants, without
from auditor.loading.quoting import quoted


def runtime_outputs(model: onnx.ModelProto, images: Tensor, *, optimised: bool = True) -> list[np.ndarray]:
    """All outputs for a batch of images, from onnxruntime when it is installed, else onnx's reference evaluator.

    Without ``optimised`` onnxruntime computes the operations as the file lists them, each by itself. Raises
    ModelFileError when the runtime cannot run the model.
    """
    feed = {model.graph.input[0].name: images.numpy()}
    remedy = "export the model again"
    try:
        try:
            import onnxruntime
        except ImportError:
            from onnx.reference import ReferenceEvaluator

            remedy = "install onnxruntime, which runs more than onnx's own evaluator does, or export the model again"
            outputs: Any = ReferenceEvaluator(model).run(None, feed)
        else:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.intra_op_num_threads = torch.get_num_threads()
            if not optimised:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            constants = large_constants(model)
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in constants.values()]
            options.add_external_initializers(list(constants), values)
            graph = without(model, set(constants)).SerializeToString()
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            outputs = session.run(None, feed)
    except Exception as error:  # each runtime has its own exception types
        raise ModelFileError(
            "expected a model that an ONNX runtime can run, got "
            f"{quoted(f'{type(error).__name__}: {error}', 200)}; {remedy}"
        ) from error
    return [np.asarray(value) for value in outputs]
