"""Quantised networks, as onnxruntime's quantisation writes them: loaded, verified, and with a gradient."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from auditor.errors import ModelFileError, UnsupportedOperatorsError
from auditor.loading import load_network
from auditor.loading.onnx_graph import stepwise as onnx_stepwise
from auditor.loading.onnx_graph.convert import convert
from auditor.loading.onnx_graph.converters import quantised
from auditor.loading.onnx_graph.prepare import prepare
from auditor.loading.onnx_graph.runtime import runtime_outputs
from auditor.loading.onnx_graph.verify import verify

from .conftest import Export, images, perturb, small_cnn

onnxruntime = pytest.importorskip("onnxruntime")

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10),
    "shufflenet_v2_x0_5": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10),
}
SIZE = 48


def quantise(path: Path, form: str, shape: tuple[int, ...], **options: Any) -> Path:
    """``path`` quantised with ranges of a few random images, in onnxruntime's form 'QDQ' or 'QOperator'."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    name = onnx.load(path).graph.input[0].name

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, np.ndarray]] = iter(
                [{name: images(2, *shape, seed=seed).numpy()} for seed in range(3)]
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    target = path.with_name(f"{form}.onnx")
    logging.disable(logging.WARNING)
    try:
        quantize_static(path, target, Images(), quant_format=QuantFormat[form], **options)
    finally:
        logging.disable(logging.NOTSET)
    return target


def assert_sees_the_image(module: nn.Module, x: Tensor) -> None:
    """Rounding has no gradient of its own: only a straight-through one reaches the pixels."""
    x = x.clone().requires_grad_()
    scores = module(x)
    (gradient,) = torch.autograd.grad((scores * images(*scores.shape, seed=5)).sum(), x)
    assert (gradient != 0).float().mean() > 0.5


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_three_architectures(export: Export, name: str, form: str) -> None:
    """Loading verifies; the scores stay near the runtime's, and as near as the steps allow."""
    plain = export(perturb(ARCHITECTURES[name]()), images(2, 3, SIZE, SIZE), dynamo=False, opset_version=17)
    path = quantise(plain, form, (3, SIZE, SIZE), per_channel=form == "QDQ")
    model = onnx.load(path)
    assert onnx_stepwise.is_quantised(model)
    loaded = load_network(path)
    x = images(4, 3, SIZE, SIZE, seed=9)
    theirs = torch.from_numpy(runtime_outputs(model, x, optimised=False)[0])
    apart = (loaded.module(x) - theirs).abs()
    assert apart.mean() <= 0.03 * theirs.abs().max()
    assert_sees_the_image(loaded.module, x)
    steps = onnx_stepwise.compared_steps(*_converted(model), x)
    assert len(steps) > 20
    assert all(step.agrees for step in steps)


def _converted(model: onnx.ModelProto) -> tuple[torch.fx.GraphModule, onnx.ModelProto]:
    prepared, _ = prepare(model)
    return convert(prepared), prepared


@pytest.mark.parametrize(
    ("form", "types"),
    [("QDQ", ("QUInt8", "QInt8")), ("QDQ", ("QInt8", "QInt8")), ("QDQ", ("QUInt16", "QInt8")), ("QOperator", None)],
)
def test_types(export: Export, form: str, types: tuple[str, str] | None) -> None:
    from onnxruntime.quantization import QuantType

    options = {} if types is None else {"activation_type": QuantType[types[0]], "weight_type": QuantType[types[1]]}
    path = quantise(export(small_cnn(), images(2, 1, 12, 12), opset_version=21), form, (1, 12, 12), **options)
    loaded = load_network(path)
    x = images(6, 1, 12, 12, seed=4)
    theirs = torch.from_numpy(runtime_outputs(onnx.load(path), x, optimised=False)[0])
    assert torch.allclose(loaded.module(x), theirs, atol=0.02 * float(theirs.abs().max()))
    assert_sees_the_image(loaded.module, x)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_without_onnxruntime(export: Export, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """onnx's own evaluator verifies what is in the standard, and the refusal of the rest says what to install."""
    path = quantise(export(small_cnn(), images(2, 1, 12, 12), opset_version=21), form, (1, 12, 12))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    if form == "QDQ":
        assert_sees_the_image(load_network(path).module, images(2, 1, 12, 12))
    else:
        with pytest.raises(ModelFileError, match="install onnxruntime"):
            load_network(path)


def test_literal_batch_of_a_quantised_network(export: Export) -> None:
    plain = export(small_cnn(), images(2, 1, 12, 12), dynamic=False, opset_version=18)
    loaded = load_network(quantise(plain, "QDQ", (1, 12, 12)))
    assert loaded.fixed_batch is None
    assert loaded.module(images(7, 1, 12, 12)).shape == (7, 10)


def test_dynamic_quantisation(export: Export) -> None:
    """Scales that are computed from the image: ConvInteger, MatMulInteger, DynamicQuantizeLinear."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 16), nn.ReLU(), nn.Linear(16, 5)
    )
    plain = export(perturb(network), images(1, 1, 12, 12), dynamic=False, dynamo=False, opset_version=17)
    path = plain.with_name("dynamic.onnx")
    quantize_dynamic(plain, path, weight_type=QuantType.QUInt8)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    loaded = load_network(path)
    assert_sees_the_image(loaded.module, images(1, 1, 12, 12))


def test_the_gradient_stops_only_where_values_are_clipped() -> None:
    module = quantised.QuantizeLinear(axis=1, block=0, limits=(0, 255))
    x = torch.tensor([-3.0, 0.2, 0.5, 100.4, 255.4, 256.2], requires_grad=True)
    y = module(x, torch.tensor(1.0), torch.tensor(0, dtype=torch.uint8))
    assert y.tolist() == [0, 0, 0, 100, 255, 255]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_blocks_have_their_own_scale() -> None:
    module = quantised.DequantizeLinear(axis=1, block=2)
    x = torch.tensor([[1, 2, 3, 4, 5]], dtype=torch.int8)
    y = module(x, torch.tensor([[1.0, 10.0, 100.0]]), torch.tensor([[0, 1, 2]], dtype=torch.int8))
    assert y.tolist() == [[1, 2, 20, 30, 300]]


def _two_steps(scale: float) -> onnx.ModelProto:
    """Quantise to the given scale and back, then take the means of halves of the image as scores."""
    constants = [
        numpy_helper.from_array(np.float32(scale), "scale"),
        numpy_helper.from_array(np.uint8(128), "point"),
        numpy_helper.from_array(np.array([0, 2], dtype=np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("Reshape", ["m", "shape"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 4, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "steps", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_another_function_is_not_put_down_to_rounding() -> None:
    """A converter that is wrong by one step everywhere is refused, though its scores are near."""
    model = _two_steps(0.05)
    right, wrong = convert(prepare(model)[0]), convert(prepare(_two_steps(0.06))[0])
    x = images(3, 1, 4, 2)
    assert verify(right, model, x) is None
    with pytest.raises(ModelFileError, match="compute the same at any batch size"):
        verify(wrong, model, x)


def test_a_wrong_quantised_converter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = quantised.quantise
    monkeypatch.setattr(quantised, "quantise", lambda *given: original(*given) + 1)
    model = _two_steps(0.05)
    with pytest.raises(ModelFileError, match=r"expected every quantised operation to agree.* got QuantizeLinear"):
        verify(convert(prepare(model)[0]), model, images(3, 1, 4, 2))


def test_ties_alone_are_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value one step off, which the scores feel beyond the tolerance, is said in a note."""
    original = quantised.quantise

    def one_off(*given: Any) -> Tensor:
        y = original(*given)
        return y + torch.nn.functional.one_hot(torch.tensor(0), y.numel()).reshape(y.shape)

    monkeypatch.setattr(quantised, "quantise", one_off)
    model = _two_steps(0.05)
    note = verify(convert(prepare(model)[0]), model, images(1, 1, 4, 2))
    assert note is not None
    assert "rounded either way" in note


def test_other_operations_of_that_domain_are_refused_by_name() -> None:
    node = helper.make_node("QAttention", ["x"], ["y"], domain="com.microsoft")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "one", [x], [y]), opset_imports=opsets)
    with pytest.raises(UnsupportedOperatorsError, match=r"com\.microsoft::QAttention"):
        convert(model)
