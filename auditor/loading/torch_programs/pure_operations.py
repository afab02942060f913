"""The operations that a program in a model file may use: each computes a tensor, a number or a list from its inputs.

One list for TorchScript and for exported programs. It names what image classifiers need, not everything that is
harmless. What is left out on purpose: everything that reads or writes files (``save``, ``from_file``), prints, or
seeds random numbers (what dropout draws stays), sets storages or strides (``set_``, ``as_strided``, ``resize_``),
skips the check of indices (``_unsafe_index``), converts to sparse, nested or device-specific layouts, and every
custom library.
"""

from __future__ import annotations

_ELEMENTWISE = """
abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max
clamp_min clip copysign cos cosh div divide elu eq erf exp exp2 expm1 fill floor floor_divide fmod frac ge gelu glu
greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan le leaky_relu lerp less
less_equal log log10 log1p log2 log_sigmoid logical_and logical_not logical_or logical_xor logit lt masked_fill
maximum minimum mish mul multiply nan_to_num ne neg negative not_equal pow prelu reciprocal relu relu6 remainder round
rsqrt rsub selu sigmoid sign silu sin sinh softplus softshrink softsign sqrt square sub subtract tan tanh tanhshrink
threshold true_divide trunc where zero
"""

_LAYERS = """
_adaptive_avg_pool2d _batch_norm_impl_index _convolution _log_softmax _native_batch_norm_legit
_native_batch_norm_legit_no_training _native_multi_head_attention _scaled_dot_product_attention_math
_scaled_dot_product_flash_attention_for_cpu _softmax _transformer_encoder_layer_fwd adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d addbmm addmm addmv affine_grid_generator alpha_dropout
avg_pool1d avg_pool2d baddbmm batch_norm bernoulli bilinear bmm channel_shuffle col2im constant_pad_nd conv1d conv2d
conv_transpose1d conv_transpose2d convolution dropout dropout1d dropout2d einsum embedding feature_dropout grid_sampler
grid_sampler_2d group_norm gru im2col instance_norm layer_norm linear log_softmax lstm matmul max_pool1d max_pool2d
max_pool2d_with_indices mm mv native_batch_norm native_channel_shuffle native_dropout native_group_norm
native_layer_norm pad pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d replication_pad1d
replication_pad2d rms_norm rnn_relu rnn_tanh scaled_dot_product_attention softmax unfold upsample_bicubic2d
upsample_bilinear2d upsample_nearest1d upsample_nearest2d
"""

_REDUCTIONS = """
all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum dist dot frobenius_norm
kthvalue linalg_matrix_norm linalg_norm linalg_vector_norm logsumexp max mean median min mode nansum norm prod sort
std std_mean sum topk var var_mean
"""

_SHAPES = """
_reshape_alias _unsafe_view alias alias_copy broadcast_tensors broadcast_to cat chunk clone concat concatenate
contiguous copy detach diag diagonal dsplit expand expand_as fill_diagonal flatten flip gather hsplit hstack index
index_fill index_put index_select lift lift_fresh lift_fresh_copy masked_select meshgrid moveaxis movedim narrow
numpy_T one_hot permute ravel repeat repeat_interleave reshape reshape_as roll rot90 scatter scatter_add select
select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t take_along_dim
tensor_split tile transpose tril triu type_as unbind unflatten unsafe_chunk unsafe_split unsafe_split_with_sizes
unsqueeze view view_as view_copy vsplit vstack
"""

_MAKERS = """
arange empty empty_like eye full full_like linspace new_empty new_full new_ones new_zeros ones ones_like scalar_tensor
tensor zeros zeros_like
"""

_CASTS = """
_to_copy bool cpu dequantize double fake_quantize_per_channel_affine fake_quantize_per_tensor_affine float half int
long quantize_per_channel quantize_per_tensor to
"""

_NUMBERS = """
Bool BoolImplicit Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ __derive_index __getitem__
__is__ __isnot__ __not__ __or__ __range_length __xor__ _get_tracing_state _local_scalar_dense _set_item append clear
copy_ data device dict dim extend fabs floordiv format gcd get get_device has_torch_function insert
is_autocast_enabled is_complex is_contiguous is_cuda is_floating_point is_grad_enabled is_scripting item items join
keys len list list_with_default mathremainder neg numel ord percentFormat pop promote_types requires_grad_ result_type
reverse size storage_offset str stride sym_numel sym_size sym_stride values
"""

PURE = frozenset(
    name
    for group in (_ELEMENTWISE, _LAYERS, _REDUCTIONS, _SHAPES, _MAKERS, _CASTS, _NUMBERS)
    for name in group.split()
)
"""Names of ``aten`` operations without overload; `is_pure` also takes their in-place forms."""

_PRIM = """
CallFunction CallMethod Constant ConstantChunk DictConstruct GetAttr If IfThenElse ListConstruct ListUnpack Loop
NumToTensor Param RaiseException Return TupleConstruct TupleIndex TupleSlice TupleUnpack Uninitialized abs data device
dtype is_cuda is_mkldnn is_nested is_quantized is_sparse isinstance itemsize layout max min rangelist requires_grad
shape tolist type unchecked_cast unchecked_unwrap_optional
"""

PRIM = frozenset(_PRIM.split())
"""``prim`` nodes: control flow, containers, properties of a tensor."""


def is_pure(name: str) -> bool:
    """Whether an ``aten`` operation, named without its overload, is on the list; ``add_`` is when ``add`` is."""
    return name in PURE or (name.endswith("_") and not name.endswith("__") and name[:-1] in PURE)
