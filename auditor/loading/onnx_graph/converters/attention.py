"""Attention and rotary position embedding (ONNX operators Attention and RotaryEmbedding)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import converter, result

_LOGITS, _CAPPED, _BIASED, _PROBABILITIES = range(4)


@dataclass(frozen=True)
class AttentionForm:
    """The attributes of one Attention node, named as in the standard; windows are -1 when open."""

    q_num_heads: int | None
    kv_num_heads: int | None
    scale: float | None
    is_causal: bool
    softcap: float
    qk_matmul_output_mode: int
    left_window_size: int
    right_window_size: int

    @property
    def windowed(self) -> bool:
        return self.left_window_size >= 0 or self.right_window_size >= 0


class Attention(nn.Module):
    """softmax(scale · Q Kᵀ + bias) V over heads, with masks, a key cache, windows and grouped queries.

    Inputs are (N, heads, length, size) or (N, length, heads · size). Several outputs, if the graph reads them:
    the result, keys and values with the cache before them, and the scores at the stage that the mode names.
    """

    def __init__(self, form: AttentionForm, outputs: int) -> None:
        super().__init__()
        self.form, self.outputs = form, outputs

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        valid_keys: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        flat = query.dim() == 3
        q = _heads(query, self.form.q_num_heads)
        k, v = _heads(key, self.form.kv_num_heads), _heads(value, self.form.kv_num_heads)
        k = k if past_key is None else torch.cat([past_key, k], dim=2)
        v = v if past_value is None else torch.cat([past_value, v], dim=2)
        offset: Tensor | int = 0 if past_key is None else past_key.shape[2]
        if past_key is None and valid_keys is not None:
            offset = (valid_keys.reshape(-1, 1, 1, 1) - q.shape[2]).long()
        bias = self._bias(q, k, mask, offset, valid_keys)
        repeats = q.shape[1] // k.shape[1]
        keys, values = (x.repeat_interleave(repeats, dim=1) if repeats > 1 else x for x in (k, v))
        if self.outputs < 4 and not self.form.softcap and bias is None:
            y = scores = F.scaled_dot_product_attention(q, keys, values, scale=self.form.scale)
        else:
            y, scores = self._attend(q, keys, values, bias)
        y = y.transpose(1, 2).flatten(2) if flat else y
        return y if self.outputs == 1 else (y, k, v, scores)[: self.outputs]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        form = self.form
        logits = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if form.scale is None else form.scale)
        capped = form.softcap * torch.tanh(logits / form.softcap) if form.softcap else logits
        biased = capped if bias is None else capped + bias
        if bias is None:
            probabilities = biased.softmax(-1)
        else:  # a query that may look at no key gets nothing, and its gradient is 0, not NaN
            nowhere = torch.isneginf(bias.amax(-1, keepdim=True))
            probabilities = torch.where(nowhere, 0.0, torch.where(nowhere, 0.0, biased).softmax(-1))
        stages = {_LOGITS: logits, _CAPPED: capped, _BIASED: biased, _PROBABILITIES: probabilities}
        return probabilities @ v, stages[form.qk_matmul_output_mode]

    def _bias(
        self, q: Tensor, k: Tensor, mask: Tensor | None, offset: Tensor | int, valid_keys: Tensor | None
    ) -> Tensor | None:
        """What is added to the scores: 0 or the mask where a query may look, minus infinity elsewhere."""
        form, length = self.form, k.shape[2]
        bias = None
        if mask is not None:
            missing = length - mask.shape[-1]
            if mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, float("-inf"))
            bias = F.pad(mask, (0, missing), value=float("-inf")) if missing > 0 else mask
        keys = torch.arange(length, device=q.device)
        ahead = keys - torch.arange(q.shape[2], device=q.device).unsqueeze(1) - offset
        hidden = torch.zeros_like(ahead, dtype=torch.bool)
        if form.is_causal:
            hidden = hidden | (ahead > 0)
        if form.left_window_size >= 0:
            hidden = hidden | (-ahead > form.left_window_size)
        if form.right_window_size >= 0:
            hidden = hidden | (ahead > form.right_window_size)
        if valid_keys is not None:
            hidden = hidden | (keys >= valid_keys.reshape(-1, 1, 1, 1))
        if not (form.is_causal or form.windowed or valid_keys is not None):
            return bias
        bias = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias
        return torch.where(hidden, float("-inf"), bias)


def _heads(x: Tensor, heads: int | None) -> Tensor:
    """(N, length, heads · size) → (N, heads, length, size); four axes stay as they are."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2) if x.dim() == 3 and heads is not None else x


class RotaryEmbedding(nn.Module):
    """Turn pairs of features by an angle that depends on the position (Su et al. 2021, RoFormer)."""

    def __init__(self, interleaved: bool, features: int, heads: int) -> None:
        super().__init__()
        self.interleaved, self.features, self.heads = interleaved, features, heads

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        tokens = x.transpose(1, 2) if x.dim() == 4 else x.unflatten(2, (self.heads, -1))
        features = self.features or tokens.shape[-1]
        turned, kept = tokens[..., :features], tokens[..., features:]
        if positions is not None:
            cos, sin = cos[positions.long()], sin[positions.long()]
        cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
        if self.interleaved:
            first, second = turned[..., 0::2], turned[..., 1::2]
        else:
            first, second = turned.chunk(2, dim=-1)
        pair = (cos * first - sin * second, sin * first + cos * second)
        turned = torch.stack(pair, dim=-1).flatten(-2) if self.interleaved else torch.cat(pair, dim=-1)
        whole = torch.cat([turned, kept], dim=-1)
        return whole.transpose(1, 2) if x.dim() == 4 else whole.reshape(x.shape)


@converter("Attention", 23, 24, 25)
def attention(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    form = AttentionForm(
        q_num_heads=given.get("q_num_heads"),
        kv_num_heads=given.get("kv_num_heads"),
        scale=given.get("scale"),
        is_causal=given.get("is_causal", 0) == 1,
        softcap=given.get("softcap", 0.0),
        qk_matmul_output_mode=given.get("qk_matmul_output_mode", 0),
        left_window_size=given.get("left_window_size", -1),
        right_window_size=given.get("right_window_size", -1),
    )
    if not _LOGITS <= form.qk_matmul_output_mode <= _PROBABILITIES:
        raise NotImplementedError("Attention with an unknown stage of scores")
    return result(node, Attention(form, len(node.output_values)))


@converter("RotaryEmbedding", 23)
def rotary_embedding(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    features, heads = given.get("rotary_embedding_dim", 0), given.get("num_heads", 0)
    return result(node, RotaryEmbedding(given.get("interleaved", 0) == 1, features, heads))
