"""Files that are damaged, of another kind, or made to do harm: one sentence, nothing executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from auditor.errors import ArchitectureError, ModelFileError, UnsafeFileError, UnsupportedOperatorsError
from auditor.loading import load_network

from .conftest import Export, images, small_cnn


class RunsCommand:
    """Unpickling it would create the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.marker}",)


class OwnNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)


def _refused(path: Path, kind: type[ModelFileError], *parts: str) -> str:
    with pytest.raises(kind) as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert " got " in message
    for part in parts:
        assert part in message
    return message


@pytest.mark.parametrize("form", ["torch", "torch legacy", "pickle"])
def test_hostile_pickle_is_not_executed(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    payload = {"state_dict": {"weight": RunsCommand(marker)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=form == "torch")
    _refused(path, UnsafeFileError, "system", "safetensors")
    assert not marker.exists()


def test_pickled_network_of_an_unknown_class_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(OwnNetwork(), path)
    _refused(path, ArchitectureError, "OwnNetwork", "without its code", "--arch")


def test_pickled_network_of_the_legacy_format_is_refused_with_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(OwnNetwork(), path, _use_new_zipfile_serialization=False)
    _refused(path, UnsafeFileError, "OwnNetwork", "torch.nn.modules.linear.Linear", "state_dict()")


def test_torchscript_is_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    torch.jit.save(torch.jit.trace(small_cnn(), images(1, 1, 12, 12)), path)
    _refused(path, UnsafeFileError, "TorchScript", "program")


def test_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
        archive.writestr("model/data/0", bytes(50_000_000))
    _refused(path, ModelFileError, "unpack")


OTHER_KINDS = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "tf2onnx"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(600), "tf2onnx"),
    "text": (b"this is not a model\n" * 10, "does not parse"),
    "empty": (b"", "empty"),
    "tar": (b"weights\0".ljust(257, b"\0") + b"ustar\0" + bytes(600), "expected"),
    "zip": (None, "zip archive"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_get_a_sentence(tmp_path: Path, kind: str) -> None:
    content, part = OTHER_KINDS[kind]
    path = tmp_path / "model.onnx"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "nothing")
    else:
        path.write_bytes(content)
    _refused(path, ModelFileError, part)


def test_missing_file(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.onnx", ModelFileError, "no file 'absent.onnx'")


def test_truncated_onnx(export: Export, tmp_path: Path) -> None:
    whole = export(small_cnn(), images(1, 1, 12, 12), dynamo=False).read_bytes()
    path = tmp_path / "model.onnx"
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        _refused(path, ModelFileError, "export")


def test_truncated_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(small_cnn().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    _refused(path, ModelFileError, "again")


def _linear_model(**node_options: Any) -> onnx.ModelProto:
    """1×2×2 images to two scores, by one flattening and one matrix product."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], **node_options),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
    ]
    weight = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "weight")
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _saved(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_the_hand_written_model_loads(tmp_path: Path) -> None:
    loaded = load_network(_saved(_linear_model(), tmp_path))
    scores = loaded.module(torch.ones(1, 1, 2, 2))
    assert scores.tolist() == [[12.0, 16.0]]


def _with_external_weight(location: str, tmp_path: Path, **entries: str) -> Path:
    model = _linear_model()
    weight = model.graph.initializer[0]
    raw = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)
    (tmp_path / "weights.bin").write_bytes(raw)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "inside.bin").write_bytes(raw)
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "linked").symlink_to(tmp_path)
    return _saved(model, folder)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "..\\weights.bin", "C:\\w"]
)
def test_external_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    _refused(_with_external_weight(location, tmp_path), UnsafeFileError, "own folder")


@pytest.mark.parametrize("location", ["link.bin", "linked/weights.bin"])
def test_external_weights_behind_a_link_are_refused(tmp_path: Path, location: str) -> None:
    _refused(_with_external_weight(location, tmp_path), UnsafeFileError, "symbolic link")


def test_external_weights_inside_the_folder_load(tmp_path: Path) -> None:
    loaded = load_network(_with_external_weight("inside.bin", tmp_path))
    assert loaded.module(torch.ones(1, 1, 2, 2)).tolist() == [[12.0, 16.0]]


def test_external_weights_must_lie_within_their_file(tmp_path: Path) -> None:
    path = _with_external_weight("inside.bin", tmp_path, offset="16", length="1000000000")
    _refused(path, ModelFileError, "1,000,000,000")


def test_external_weights_must_exist(tmp_path: Path) -> None:
    _refused(_with_external_weight("absent.bin", tmp_path), ModelFileError, "'absent.bin'")


def test_node_names_are_not_code(tmp_path: Path) -> None:
    """torch.fx writes module names into source text; a crafted name must not get there."""
    marker = tmp_path / "marker"
    model = _linear_model()
    code = f'__import__("pathlib").Path("{marker}").touch()'
    for index, name in enumerate((f'"); {code}; ("', f"x'); {code} #", f"a\n    {code}\n", "training", "forward")):
        model.graph.node[index % 2].name = name
        load_network(_saved(model, tmp_path))
    assert not marker.exists()


def test_value_names_are_not_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    model = _linear_model()
    name = f'x = __import__("pathlib").Path("{marker}").touch()'
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    model.graph.initializer[0].name = model.graph.node[1].input[1] = name + "#"
    load_network(_saved(model, tmp_path))
    assert not marker.exists()


def test_every_unknown_operation_is_named_at_once(tmp_path: Path) -> None:
    model = _linear_model()
    for index in range(2):
        model.graph.node.append(helper.make_node("Unique", ["flat"], [f"unique{index}"]))
    model.graph.node.append(helper.make_node("Strange\x1b[31m", ["flat"], ["strange"], domain="com.example"))
    model.opset_import.add(domain="com.example", version=3)
    message = _refused(_saved(model, tmp_path), UnsupportedOperatorsError, "Unique-11 (2×)", "com.example::Strange")
    assert "\x1b" not in message


def test_several_outputs_without_scores_are_refused(tmp_path: Path) -> None:
    model = _linear_model()
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 4, 5]))
    model.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 2, 2]))
    _refused(_saved(model, tmp_path), ModelFileError, "one output of shape (N, classes)", "2 outputs")


def test_output_of_boxes_is_refused(tmp_path: Path) -> None:
    model = _linear_model()
    model.graph.node[1].op_type = "Identity"
    del model.graph.node[1].input[1:]
    model.graph.node[1].input[0] = "image"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for size in (1, 1, 2, 2):
        model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=size)
    _refused(_saved(model, tmp_path), ModelFileError, "one output of shape (N, classes)", "(1, 1, 2, 2)")


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    model = _linear_model()
    model.graph.input.append(helper.make_tensor_value_info("other\n", TensorProto.FLOAT, [1]))
    message = _refused(_saved(model, tmp_path), ModelFileError, "one input", "2 inputs")
    assert "\n" not in message


def test_a_converted_network_that_differs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor.loading.onnx_graph import verify as onnx_verify

    path = _saved(_linear_model(), tmp_path)
    honest = onnx_verify.runtime_scores
    monkeypatch.setattr(onnx_verify, "runtime_scores", lambda model, x: honest(model, x) * 1.01)
    _refused(path, ModelFileError, "agree with the ONNX runtime")


def test_labels_in_the_metadata_are_data(tmp_path: Path) -> None:
    model = _linear_model()
    model.metadata_props.add(key="names", value="{0: 'cat', 1: '<b>dog</b>'}")
    assert load_network(_saved(model, tmp_path)).labels == ("cat", "<b>dog</b>")
    model.metadata_props[0].value = "__import__('os').system('false')"
    assert load_network(_saved(model, tmp_path)).labels is None
