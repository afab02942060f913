"""An ONNX graph that nothing converts, asked through onnxruntime: answers without gradients."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from auditor.errors import ConfigError, ModelFileError, UnsupportedOperatorsError
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.convert import interface
from auditor.loading.onnx_graph.network import OnnxNetwork
from auditor.loading.quoting import listed, quoted

BUILT_IN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""operators that onnxruntime brings along; for others it would need a library of somebody's, which is never loaded"""


class Queries(nn.Module):
    """Images in, scores out, as onnxruntime computes them; no gradients."""

    def __init__(self, session: Any, name: str) -> None:
        super().__init__()
        self.session, self.name = session, name

    def __deepcopy__(self, memo: dict[int, Any]) -> Queries:
        return self  # a session holds no state between runs

    def forward(self, images: Tensor) -> Tensor:
        try:
            (scores, *_) = self.session.run(None, {self.name: images.detach().contiguous().cpu().numpy()})
        except Exception as error:  # onnxruntime has its own exception types
            raise ModelFileError(
                f"expected a graph that onnxruntime can run, got {quoted(f'{type(error).__name__}: {error}', 200)}; "
                "export the model again"
            ) from error
        return torch.from_numpy(np.asarray(scores, dtype=np.float32)).to(images.device)


def black_box(model: onnx.ModelProto, limits: Limits) -> OnnxNetwork:
    """The parsed model behind onnxruntime.

    Raises ConfigError without onnxruntime, UnsupportedOperatorsError for operators of a foreign domain, and
    ModelFileError for a graph that it cannot run or that is no classifier.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "expected onnxruntime for --black-box, got none; install it with "
            "pip install 'backdoor-auditor[onnxruntime]'"
        ) from None
    foreign = Counter(node.domain for node in model.graph.node if node.domain not in BUILT_IN_DOMAINS)
    if foreign:
        names = listed([f"{quoted(domain)} ({count}×)" for domain, count in sorted(foreign.items())])
        raise UnsupportedOperatorsError(
            f"expected operators that onnxruntime brings along, got those of the domains {names}, which need a "
            "library of somebody's, and none is ever loaded; export the model from plain layers"
        )
    sizes = interface(model, limits)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFileError(
            f"expected a graph that onnxruntime can run, got {quoted(f'{type(error).__name__}: {error}', 200)}; "
            "export the model again"
        ) from error
    queries = Queries(session, model.graph.input[0].name)
    _, *shape = sizes.shape
    if any(size is None for size in shape):
        raise ModelFileError(
            "expected an ONNX graph that says its image size, to be asked as a black box, got one that leaves it open; "
            "export it for a fixed image size"
        )
    scores = queries(torch.rand(sizes.batch or 2, *[int(size or 1) for size in shape]))
    if scores.dim() != 2 or not 1 <= scores.shape[1] <= limits.classes:
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {tuple(scores.shape)}; export the class scores alone"
        )
    return OnnxNetwork(
        module=queries,
        input_shape=sizes.chw,
        layout=sizes.layout,
        num_classes=int(scores.shape[1]),
        fixed_batch=sizes.batch,
        notes=("the graph is asked as a black box through onnxruntime: what needs gradients is not measured",),
    )
