"""The story of loading a state dict: read the weights, find the architecture, put them in."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from auditor.errors import ArchitectureError
from auditor.loading.architectures import head_size, named, recognise
from auditor.loading.file_format import Kind, sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import LoadedNetwork
from auditor.loading.quoting import listed, quoted
from auditor.loading.weights_file import read_weights


def load_state_dict(
    path: Path,
    kind: Kind,
    *,
    arch: str | None = None,
    template: LoadedNetwork | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> LoadedNetwork:
    """Load a ``pytorch`` or ``safetensors`` file of weights into its architecture.

    Raises UnsafeFileError, ModelFileError, ArchitectureError or ConfigError, each with a remedy.
    """
    state = read_weights(path, kind, limits)
    found = named(arch, state) if arch is not None else recognise(state)
    if found is None:
        return _from_template(path, kind, state, template, limits)
    architecture, module = found
    module = FirstOutput(module) if _has_auxiliary_heads(module) else module
    return LoadedNetwork(
        module=module.eval().requires_grad_(False).float(),
        input_shape=None,
        layout="nchw",
        num_classes=head_size(state) if arch is None else None,
        fixed_batch=None,
        labels=None,
        format="safetensors" if kind == "safetensors" else "state_dict",
        architecture=architecture,
        sha256=sha256_of(path),
        file_name=path.name,
    )


def _from_template(
    path: Path, kind: Kind, state: dict[str, Tensor], template: LoadedNetwork | None, limits: Limits
) -> LoadedNetwork:
    from auditor.loading.onnx_network import network_from_model
    from auditor.loading.template import with_weights

    model = None if template is None else with_weights(template, state)
    if model is None:
        shown = listed([f"{quoted(name, 40)} {tuple(tensor.shape)}" for name, tensor in state.items()], limit=3)
        beside = "" if template is None else ", nor of the model it is compared with"
        raise ArchitectureError(
            f"expected the weights of a torchvision classifier, got {shown}, which are of none{beside}; "
            "name the "
            "architecture with --arch package.module:factory (--reference-arch for the reference)"
        )
    network = network_from_model(model, limits)
    return LoadedNetwork(
        module=network.module,
        input_shape=network.input_shape,
        layout=network.layout,
        num_classes=network.num_classes,
        fixed_batch=network.fixed_batch,
        labels=None,
        format="safetensors" if kind == "safetensors" else "state_dict",
        architecture="as the ONNX graph of the suspect",
        sha256=sha256_of(path),
        file_name=path.name,
        notes=network.notes,
        onnx_model=model,
    )


def _has_auxiliary_heads(module: nn.Module) -> bool:
    return bool(getattr(module, "aux_logits", False))


class FirstOutput(nn.Module):
    """A network with auxiliary heads, which answers with its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x)
        return scores if isinstance(scores, Tensor) else scores[0]
