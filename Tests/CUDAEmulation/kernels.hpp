// Every source file of kernels in a namespace of its own, and the list of all kernels.
#pragma once

#include <prims.cuh>

#include <common.cuh>

#include <attention.cuh>

#include <random.cuh>

namespace {
#include "../../Sources/CCUDA/kernels/elementwise.cu"
#include "../../Sources/CCUDA/kernels/experts.cu"
#include "../../Sources/CCUDA/kernels/loss.cu"
#include "../../Sources/CCUDA/kernels/normalization.cu"
#include "../../Sources/CCUDA/kernels/optimizer.cu"
#include "../../Sources/CCUDA/kernels/products_bf16.cu"
#include "../../Sources/CCUDA/kernels/products_float.cu"
#include "../../Sources/CCUDA/kernels/quantization.cu"
#include "../../Sources/CCUDA/kernels/random_weights.cu"
#include "../../Sources/CCUDA/kernels/attention_bf16.cu"
#include "../../Sources/CCUDA/kernels/attention_float.cu"
}  // namespace

#define ATTENTION(apply, D) \
  apply(attention_forward_##D) apply(attention_backward_q_##D) apply(attention_backward_kv_##D)

#define KERNELS(apply)                                                                           \
  apply(add_floats) apply(scale_floats) apply(add_bias) apply(swiglu) apply(swiglu_backward)     \
  apply(dropout) apply(round_rows) apply(route_tokens) apply(count_rows) apply(start_rows)       \
  apply(sort_rows) apply(sum_probabilities) apply(route_backward) apply(sum_expert_rows)         \
  apply(combine_experts) apply(combine_experts_backward) apply(select_rows) apply(place_rows)    \
  apply(cross_entropy) apply(argmax_rows) apply(rms_norm) apply(rms_norm_backward) apply(rotary) \
  apply(sums_of_squares) apply(adamw) apply(rounded_product_nt) apply(rounded_product_nn)        \
  apply(product_nt) apply(product_nn) apply(product_tn) apply(add_chunks) apply(decode_floats)   \
  apply(decode_bf16) apply(embedding) apply(quantize_nf4) apply(quantize_scales)                 \
  apply(find_not_finite) apply(random_weights)                                                   \
  apply(attention_forward) apply(attention_backward_q) apply(attention_backward_kv)              \
  apply(attention_deltas) ATTENTION(apply, 32) ATTENTION(apply, 64) ATTENTION(apply, 96)         \
  ATTENTION(apply, 128)
