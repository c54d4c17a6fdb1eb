// What the kernels use of the hardware: all inline PTX lies here, and no CUDA header is included.
// Tests compile the same kernels for the CPU with a second version of this file,
// Tests/CUDAEmulation/emulated/prims.cuh; both have the same names.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/// A kernel and the threads of its blocks; whoever launches it reads them from here.
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1)
#define DEVICE static __device__ __forceinline__
#define CONSTANT static __constant__
/// Shared memory of a block: a fixed array, or what the launch gives.
#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) u8 name[]

DEVICE float shuffle(float x, int lane) { return __shfl_sync(~0u, x, lane); }
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE double shuffle_xor(double x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE int shuffle_xor(int x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE void sync_block() { __syncthreads(); }

/// Sixteen bytes at once; the address is a multiple of 16.
DEVICE float4 load4(const float *x) { return *(const float4 *)x; }
DEVICE void store4(float *x, float a, float b, float c, float d) {
  *(float4 *)x = make_float4(a, b, c, d);
}
DEVICE uint4 load_words4(const void *x) { return *(const uint4 *)x; }
DEVICE void store_words4(void *x, u32 a, u32 b, u32 c, u32 d) {
  *(uint4 *)x = make_uint4(a, b, c, d);
}

DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 float_to_bits(float x) { return __float_as_uint(x); }
DEVICE float minus_infinity() { return __uint_as_float(0xFF800000u); }
DEVICE float bf16_to_float(u16 x) { return __uint_as_float((u32)x << 16); }
DEVICE float half_to_float(u16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}
/// Rounds two numbers to bf16, ties to even; the first in the low half.
DEVICE u32 pack_bf16(float low, float high) {
  u32 packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
DEVICE u16 float_to_bf16(float x) { return (u16)(pack_bf16(x, 0.0f) & 0xFFFF); }

/// Products and sums that are never fused, where bits must be those of the CPU.
DEVICE float multiply_exactly(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_exactly(float a, float b) { return __fadd_rn(a, b); }
DEVICE u32 multiply_high(u32 a, u32 b) { return __umulhi(a, b); }

/// An address in shared memory.
typedef u32 shared_address;
DEVICE shared_address shared(const void *x) { return (u32)__cvta_generic_to_shared(x); }

/// Copies 16 bytes from global to shared memory on the side, or zeros where `is_valid` is false;
/// there is nothing to read before `wait_copies`, and for other threads before a barrier after it.
DEVICE void copy_async(shared_address to, const void *from, bool is_valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(is_valid ? 16 : 0));
}
/// Ends a group of copies.
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;"); }
/// Waits until at most `pending` groups of this thread are on their way.
template <int pending>
DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// Four 8x8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8.
DEVICE void load_matrices(u32 (&to)[4], shared_address row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
/// The same, each matrix transposed.
DEVICE void load_matrices_transposed(u32 (&to)[4], shared_address row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
/// `c += a b` of a warp: a 16x16, b 16x8 in bf16, c 16x8 in float32.
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
