// The second version of Sources/CCUDA/kernels/prims.cuh: the same names as plain C++ on fibers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../fibers.hpp"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct float4 {
  float x, y, z, w;
};
struct uint4 {
  u32 x, y, z, w;
};
struct dim3 {
  u32 x, y, z;
};

#define KERNEL(threads) static void
#define DEVICE [[maybe_unused]] static inline
#define CONSTANT static const
#define SHARED_ARRAY(type, name, count) \
  static const char name##_place = 0;   \
  type *name = (type *)emulation::block.shared_array(&name##_place, sizeof(type) * (count))
#define DYNAMIC_SHARED(name) u8 *name = emulation::block.dynamic_memory

#define threadIdx (dim3{emulation::block.thread, 0, 0})
#define blockDim (dim3{emulation::block.thread_count, 1, 1})
#define blockIdx \
  (dim3{emulation::block.block_index[0], emulation::block.block_index[1], emulation::block.block_index[2]})
#define gridDim \
  (dim3{emulation::block.grid_size[0], emulation::block.grid_size[1], emulation::block.grid_size[2]})

using std::max;
using std::min;

DEVICE void require_aligned(const void *address, size_t bytes) {
  if ((uintptr_t)address % bytes != 0)
    emulation::block.fail("an address is no multiple of " + std::to_string(bytes));
}

template <class T>
struct Shuffle {
  T value, result;
  int source;

  static void run(void **lanes) {
    for (int lane = 0; lane < 32; lane++) {
      auto *mine = (Shuffle *)lanes[lane];
      mine->result = ((Shuffle *)lanes[mine->source & 31])->value;
    }
  }
};
template <class T>
static T shuffle_from(T x, int lane) {
  Shuffle<T> operands{x, x, lane};
  emulation::block.warp_operation(Shuffle<T>::run, &operands);
  return operands.result;
}
DEVICE float shuffle(float x, int lane) { return shuffle_from(x, lane); }
template <class T>
DEVICE T shuffle_xor(T x, int mask) {
  return shuffle_from(x, (int)(threadIdx.x % 32) ^ mask);
}
DEVICE void sync_warp() { emulation::block.warp_operation(nullptr, nullptr); }
DEVICE void sync_block() { emulation::block.sync_block(); }

DEVICE float4 load4(const float *x) {
  require_aligned(x, 16);
  return *(const float4 *)x;
}
DEVICE void store4(float *x, float a, float b, float c, float d) {
  require_aligned(x, 16);
  *(float4 *)x = {a, b, c, d};
}
DEVICE uint4 load_words4(const void *x) {
  require_aligned(x, 16);
  return *(const uint4 *)x;
}
DEVICE void store_words4(void *x, u32 a, u32 b, u32 c, u32 d) {
  require_aligned(x, 16);
  *(uint4 *)x = {a, b, c, d};
}

DEVICE float bits_to_float(u32 bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
DEVICE u32 float_to_bits(float x) {
  u32 bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
DEVICE float minus_infinity() { return -INFINITY; }
DEVICE float bf16_to_float(u16 x) { return bits_to_float((u32)x << 16); }
DEVICE float half_to_float(u16 x) {
  const float sign = x >> 15 ? -1.0f : 1.0f;
  const int exponent = x >> 10 & 31, fraction = x & 1023;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.0f + fraction, exponent - 25)
                          : std::ldexp((float)fraction, -24));
}
DEVICE u16 float_to_bf16(float x) {
  if (std::isnan(x)) return 0x7FFF;
  const u32 bits = float_to_bits(x);
  return (u16)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
DEVICE u32 pack_bf16(float low, float high) {
  return (u32)float_to_bf16(high) << 16 | float_to_bf16(low);
}

DEVICE float multiply_exactly(float a, float b) { return a * b; }
DEVICE float add_exactly(float a, float b) { return a + b; }
DEVICE u32 multiply_high(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }

typedef u8 *shared_address;
DEVICE shared_address shared(const void *x) {
  require_aligned(x, 16);
  if (!emulation::block.is_in_shared_memory(x)) emulation::block.fail("outside shared memory");
  return (u8 *)x;
}

// A copy may land at once or as late as its wait, whichever the seed draws: reading too early finds
// the poison, waiting for too few groups, too, and writing over what others still read shows.
DEVICE void land(const emulation::Copy &copy) {
  if (copy.from)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}
DEVICE void copy_async(shared_address to, const void *from, bool is_valid) {
  require_aligned(from, 16);
  const emulation::Copy copy{to, is_valid ? (const u8 *)from : nullptr};
  if (emulation::block.random() % 2)
    land(copy);
  else
    emulation::block.fiber().open_copies.push_back(copy);
}
DEVICE void commit_copies() {
  auto &fiber = emulation::block.fiber();
  fiber.groups.push_back(std::move(fiber.open_copies));
  fiber.open_copies.clear();
}
template <int pending>
DEVICE void wait_copies() {
  auto &groups = emulation::block.fiber().groups;
  while (groups.size() > emulation::block.pending_groups(pending)) {
    for (const auto &copy : groups.front()) land(copy);
    groups.erase(groups.begin());
  }
}

struct MatrixLoad {
  shared_address row;
  u32 *to;

  template <bool transposes>
  static void run(void **lanes) {
    for (int matrix = 0; matrix < 4; matrix++) {
      for (int lane = 0; lane < 32; lane++) {
        u16 pair[2];
        for (int i = 0; i < 2; i++) {
          const int row = transposes ? lane % 4 * 2 + i : lane / 4;
          const int column = transposes ? lane / 4 : lane % 4 * 2 + i;
          std::memcpy(&pair[i], ((MatrixLoad *)lanes[8 * matrix + row])->row + 2 * column, 2);
        }
        ((MatrixLoad *)lanes[lane])->to[matrix] = (u32)pair[1] << 16 | pair[0];
      }
    }
  }
};
DEVICE void load_matrices(u32 (&to)[4], shared_address row) {
  MatrixLoad operands{row, to};
  emulation::block.warp_operation(MatrixLoad::run<false>, &operands);
}
DEVICE void load_matrices_transposed(u32 (&to)[4], shared_address row) {
  MatrixLoad operands{row, to};
  emulation::block.warp_operation(MatrixLoad::run<true>, &operands);
}

struct Product {
  float *c;
  const u32 *a;
  u32 b[2];

  static float half(u32 pair, int index) {
    return bf16_to_float((u16)(index ? pair >> 16 : pair & 0xFFFF));
  }
  static void run(void **lanes) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
      const auto *mine = (const Product *)lanes[lane];
      for (int i = 0; i < 2; i++) {
        for (int part = 0; part < 4; part++)
          a[lane / 4 + part % 2 * 8][lane % 4 * 2 + part / 2 * 8 + i] = half(mine->a[part], i);
        for (int part = 0; part < 2; part++)
          b[lane % 4 * 2 + part * 8 + i][lane / 4] = half(mine->b[part], i);
      }
    }
    float c[16][8] = {};
    for (int m = 0; m < 16; m++)
      for (int k = 0; k < 16; k++)
        for (int n = 0; n < 8; n++) c[m][n] += a[m][k] * b[k][n];
    for (int lane = 0; lane < 32; lane++)
      for (int part = 0; part < 4; part++)
        ((const Product *)lanes[lane])->c[part] +=
            c[lane / 4 + part / 2 * 8][lane % 4 * 2 + part % 2];
  }
};
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  Product operands{c, a, {b0, b1}};
  emulation::block.warp_operation(Product::run, &operands);
}
