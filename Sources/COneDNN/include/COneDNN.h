#ifndef CONEDNN_H
#define CONEDNN_H
// Single-threaded matrix products by oneDNN, for versions 2.x and 3.x of its C API.
//
// Every call computes one tile on the calling thread. Left to its own threads the library splits
// sums in ways that depend on their number; tiles of a fixed grid do not.
#include <stdint.h>

// Whether calls from this thread use one thread. A library that was built on neither OpenMP nor
// sequential code (but on TBB, say) cannot be told to.
int onednn_has_one_thread(void);

// Version of the library that is loaded, major * 10000 + minor * 100 + patch.
int onednn_version(void);

// Name of the instruction set the library uses, such as "avx512_core_bf16".
const char *onednn_isa_name(void);

// Whether products of bf16 operands with float32 sums are computed natively.
int onednn_has_bf16(void);

// c = alpha * op(a) op(b) + beta * c; row-major, op(a) is [m, k], op(b) is [k, n].
// Returns 0, or the library's status.
int onednn_sgemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                 const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                 int64_t ldc);

// c = a op(b), or c += a op(b) when accumulate is set; a [m, k] bf16, op(b) [k, n] bf16,
// c [m, n] float32.
// Returns 0, or the library's status.
int onednn_bf16_gemm(int transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a,
                     int64_t lda, const uint16_t *b, int64_t ldb, int accumulate, float *c,
                     int64_t ldc);
#endif
