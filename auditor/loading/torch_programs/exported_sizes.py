"""How large the tensors of an exported program become, found without making them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted


class BoundedSizes(TorchDispatchMode):
    """Inside it, an operation whose result has more than ``elements`` elements raises ModelFileError."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements = elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it gave."""
        given = func(*args, **(kwargs or {}))
        for tensor in given if isinstance(given, (tuple, list)) else (given,):
            if isinstance(tensor, Tensor) and tensor.numel() > self.elements:
                raise ModelFileError(
                    f"expected tensors of at most {self.elements:,} elements, got {tensor.numel():,} from "
                    f"{quoted(str(func))}; audit a smaller export, or raise limits.tensor_elements"
                )
        return given


def check_sizes(module: fx.GraphModule, shape: tuple[int, ...], limits: Limits) -> None:
    """Run a program on shapes alone. Raises ModelFileError when a tensor exceeds the limit for one image.

    Sizes that depend on values cannot be found so; the caller runs the program inside `BoundedSizes` all the same.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    shapes = fx.GraphModule({name: tensor.to("meta") for name, tensor in module.named_buffers()}, graph)
    try:
        with torch.no_grad(), BoundedSizes(shape[0] * limits.tensor_elements):
            shapes(torch.empty(shape, device="meta"))
    except ModelFileError:
        raise
    except Exception:  # sizes that depend on values, or a graph that is inconsistent: running it will tell
        return
