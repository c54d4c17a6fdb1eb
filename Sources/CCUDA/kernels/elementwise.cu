// Elementwise operations on float32 activations.
#include <common.cuh>
#include <random.cuh>

/// `out += x`.
KERNEL(256) add_floats(const float *x, float *out, i64 count) {
  map_floats(count, out, [](float sum, float a) { return sum + a; }, (const float *)out, x);
}

/// `x *= factor`.
KERNEL(256) scale_floats(float *x, float factor, i64 count) {
  map_floats(count, x, [=](float a) { return a * factor; }, (const float *)x);
}

/// `out[t, n] += bias[n]`.
KERNEL(256) add_bias(const float *bias, float *out, int columns, i64 count) {
  for (i64 i = grid_thread(); i < count; i += grid_threads()) out[i] += bias[i % columns];
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// SwiGLU: `out = silu(gate) * up`.
KERNEL(256) swiglu(const float *gate, const float *up, float *out, i64 count) {
  map_floats(count, out, [](float g, float u) { return g * sigmoid(g) * u; }, gate, up);
}

/// The derivative of silu at g is sigmoid (1 + g (1 - sigmoid)).
DEVICE float gate_gradient(float d, float g, float u) {
  const float s = sigmoid(g);
  return d * u * s * (1.0f + g * (1.0f - s));
}

/// Gradients of SwiGLU; `dgate` may be `gate` and `dup` may be `up`.
KERNEL(256)
swiglu_backward(const float *dout, const float *gate, const float *up, float *dgate, float *dup,
                i64 count) {
  const bool vector = is_aligned(dout) && is_aligned(gate) && is_aligned(up) &&
                      is_aligned(dgate) && is_aligned(dup);
  const i64 vectors = vector ? count / 4 : 0;
  for (i64 i = grid_thread(); i < vectors; i += grid_threads()) {
    const float4 d = load4(dout + 4 * i), g = load4(gate + 4 * i), u = load4(up + 4 * i);
    store4(dup + 4 * i, d.x * g.x * sigmoid(g.x), d.y * g.y * sigmoid(g.y),
           d.z * g.z * sigmoid(g.z), d.w * g.w * sigmoid(g.w));
    store4(dgate + 4 * i, gate_gradient(d.x, g.x, u.x), gate_gradient(d.y, g.y, u.y),
           gate_gradient(d.z, g.z, u.z), gate_gradient(d.w, g.w, u.w));
  }
  for (i64 i = 4 * vectors + grid_thread(); i < count; i += grid_threads()) {
    const float d = dout[i], g = gate[i], u = up[i];
    dup[i] = d * g * sigmoid(g);
    dgate[i] = gate_gradient(d, g, u);
  }
}

/// LoRA's dropout: `out = mask * x * keep`, or `+=` for the gradient. One thread decides four
/// channels of a token with one draw; a channel is kept where its 24 bits reach `bound`.
KERNEL(256)
dropout(const float *x, const int *tokens, float *out, int rows, int columns, u32 place, u32 key0,
        u32 key1, u32 bound, float keep, int accumulates) {
  const int blocks = (columns + 3) / 4;
  const i64 count = (i64)rows * blocks;
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    const int token = (int)(i / blocks), block = (int)(i % blocks);
    u32 words[4] = {(u32)tokens[2 * token], (u32)tokens[2 * token + 1], place, (u32)block};
    random_words(words, key0, key1);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if (4 * block + j >= columns) continue;
      const i64 at = (i64)token * columns + 4 * block + j;
      const float kept = words[j] >> 8 >= bound ? x[at] * keep : 0.0f;
      out[at] = accumulates ? out[at] + kept : kept;
    }
  }
}

/// Rounds `[rows, columns]`, scaled, to the first `width` elements of bf16 rows that begin `leading`
/// elements apart, with zeros beyond `columns`. Both are multiples of 8: a thread writes eight.
KERNEL(256) round_rows(const float *x, u16 *out, int rows, int columns, int width, int leading,
                       float scaling) {
  const int groups = width / 8;
  const i64 count = (i64)rows * groups;
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    const int row = (int)(i / groups), first = (int)(i % groups) * 8;
    const float *from = x + (i64)row * columns + first;
    u32 words[4];
    if (first + 8 <= columns && is_aligned(from)) {
      const float4 a = load4(from), b = load4(from + 4);
      words[0] = pack_bf16(scaling * a.x, scaling * a.y);
      words[1] = pack_bf16(scaling * a.z, scaling * a.w);
      words[2] = pack_bf16(scaling * b.x, scaling * b.y);
      words[3] = pack_bf16(scaling * b.z, scaling * b.w);
    } else {
      for (int pair = 0; pair < 4; pair++) {
        const int column = first + 2 * pair;
        words[pair] = pack_bf16(column < columns ? scaling * from[2 * pair] : 0.0f,
                                column + 1 < columns ? scaling * from[2 * pair + 1] : 0.0f);
      }
    }
    store_words4(out + (i64)row * leading + first, words[0], words[1], words[2], words[3]);
  }
}
