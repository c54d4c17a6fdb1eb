#define _GNU_SOURCE
#include "COneDNN.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_version.h>

// Makes oneDNN use one thread in calls from this thread, whichever thread calls.
static void use_one_thread(void) {
  static _Thread_local int done;
  if (done) return;
  // The OpenMP runtime that oneDNN was linked with; its thread count is a setting of each thread.
  void (*set_threads)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "omp_set_num_threads");
  if (set_threads) set_threads(1);
  done = 1;
}

int onednn_has_one_thread(void) {
  use_one_thread();
  int (*threads)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_max_threads");
  switch (dnnl_version()->cpu_runtime) {
    case DNNL_RUNTIME_SEQ: return 1;
    case DNNL_RUNTIME_OMP: return threads && threads() == 1;
    default: return 0;
  }
}

int onednn_version(void) {
  const dnnl_version_t *version = dnnl_version();
  return version->major * 10000 + version->minor * 100 + version->patch;
}

const char *onednn_isa_name(void) {
  // Values of dnnl_cpu_isa_t; each level includes the bits of the ones below it.
  switch ((int)dnnl_get_effective_cpu_isa()) {
    case 0x1: return "sse41";
    case 0x3: return "avx";
    case 0x7: return "avx2";
    case 0xf: return "avx2_vnni";
    case 0x1f: return "avx2_vnni_2";
    case 0x27: return "avx512_core";
    case 0x67: return "avx512_core_vnni";
    case 0xe7: return "avx512_core_bf16";
    case 0x1ef: return "avx512_core_fp16";
    case 0xfef: return "avx512_core_amx";
    // oneDNN 2.
    case 0x3e7: return "avx512_core_amx";
    case 0x407: return "avx2_vnni";
    case 0x1fef: return "avx512_core_amx_fp16";
    default: return "other";
  }
}

int onednn_has_bf16(void) { return ((int)dnnl_get_effective_cpu_isa() & 0xe7) == 0xe7; }

int onednn_sgemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                 const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                 int64_t ldc) {
  use_one_thread();
  return (int)dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda,
                         b, ldb, beta, c, ldc);
}

// A compiled product of one shape. Each thread keeps its own, so that nothing is shared.
typedef struct {
  int64_t shape[7];
  int used;
  dnnl_primitive_t primitive;
  dnnl_memory_t a, b, c, scratch;
} product_t;

enum { CACHE_SIZE = 1024 };

typedef struct {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  product_t products[CACHE_SIZE];
  int count;
} context_t;

static _Thread_local context_t *thread_context;

static dnnl_status_t make_context(void) {
  if (thread_context) return dnnl_success;
  use_one_thread();
  context_t *context = calloc(1, sizeof *context);
  if (!context) return dnnl_out_of_memory;
  dnnl_status_t status = dnnl_engine_create(&context->engine, dnnl_cpu, 0);
  if (status == dnnl_success)
    status = dnnl_stream_create(&context->stream, context->engine, dnnl_stream_default_flags);
  if (status != dnnl_success) {
    free(context);
    return status;
  }
  thread_context = context;
  return dnnl_success;
}

static void destroy(product_t *product) {
  dnnl_primitive_destroy(product->primitive);
  dnnl_memory_destroy(product->a);
  dnnl_memory_destroy(product->b);
  dnnl_memory_destroy(product->c);
  if (product->scratch) dnnl_memory_destroy(product->scratch);
  memset(product, 0, sizeof *product);
}

#define CHECK(call)                              \
  do {                                           \
    dnnl_status_t check_status = (call);         \
    if (check_status != dnnl_success) return check_status; \
  } while (0)

// Compiles the product of a shape {m, n, k, strides of a, b, c, flags}; flags: 1 transpose b,
// 2 accumulate.
static dnnl_status_t compile(product_t *product, const int64_t *shape) {
  dnnl_engine_t engine = thread_context->engine;
  const int64_t m = shape[0], n = shape[1], k = shape[2];
  const int64_t lda = shape[3], ldb = shape[4], ldc = shape[5];
  const int transpose_b = shape[6] & 1, accumulate = (shape[6] & 2) != 0;
  dnnl_dims_t a_dims = {m, k}, b_dims = {k, n}, c_dims = {m, n};
  dnnl_dims_t a_strides = {lda, 1}, c_strides = {ldc, 1};
  dnnl_dims_t b_strides = {transpose_b ? 1 : ldb, transpose_b ? ldb : 1};

  dnnl_primitive_attr_t attributes;
  CHECK(dnnl_primitive_attr_create(&attributes));
  CHECK(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
  if (accumulate) {
    dnnl_post_ops_t sum;
    CHECK(dnnl_post_ops_create(&sum));
#if DNNL_VERSION_MAJOR >= 3
    CHECK(dnnl_post_ops_append_sum(sum, 1.0f, 0, dnnl_data_type_undef));
#else
    CHECK(dnnl_post_ops_append_sum(sum, 1.0f));
#endif
    CHECK(dnnl_primitive_attr_set_post_ops(attributes, sum));
    CHECK(dnnl_post_ops_destroy(sum));
  }

  dnnl_primitive_desc_t description;
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t a, b, c;
  CHECK(dnnl_memory_desc_create_with_strides(&a, 2, a_dims, dnnl_bf16, a_strides));
  CHECK(dnnl_memory_desc_create_with_strides(&b, 2, b_dims, dnnl_bf16, b_strides));
  CHECK(dnnl_memory_desc_create_with_strides(&c, 2, c_dims, dnnl_f32, c_strides));
  CHECK(dnnl_matmul_primitive_desc_create(&description, engine, a, b, NULL, c, attributes));
  const_dnnl_memory_desc_t a_desc = a, b_desc = b, c_desc = c;
#else
  dnnl_memory_desc_t a, b, c;
  CHECK(dnnl_memory_desc_init_by_strides(&a, 2, a_dims, dnnl_bf16, a_strides));
  CHECK(dnnl_memory_desc_init_by_strides(&b, 2, b_dims, dnnl_bf16, b_strides));
  CHECK(dnnl_memory_desc_init_by_strides(&c, 2, c_dims, dnnl_f32, c_strides));
  dnnl_matmul_desc_t matmul;
  CHECK(dnnl_matmul_desc_init(&matmul, &a, &b, NULL, &c));
  CHECK(dnnl_primitive_desc_create(&description, &matmul, attributes, engine, NULL));
  const dnnl_memory_desc_t *a_desc = &a, *b_desc = &b, *c_desc = &c;
#endif
  CHECK(dnnl_primitive_create(&product->primitive, description));
  CHECK(dnnl_memory_create(&product->a, a_desc, engine, DNNL_MEMORY_NONE));
  CHECK(dnnl_memory_create(&product->b, b_desc, engine, DNNL_MEMORY_NONE));
  CHECK(dnnl_memory_create(&product->c, c_desc, engine, DNNL_MEMORY_NONE));
#if DNNL_VERSION_MAJOR >= 3
  const_dnnl_memory_desc_t scratch;
#else
  const dnnl_memory_desc_t *scratch;
#endif
  scratch = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
  if (scratch && dnnl_memory_desc_get_size(scratch) > 0)
    CHECK(dnnl_memory_create(&product->scratch, scratch, engine, DNNL_MEMORY_ALLOCATE));
  CHECK(dnnl_primitive_desc_destroy(description));
  CHECK(dnnl_primitive_attr_destroy(attributes));
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_destroy(a);
  dnnl_memory_desc_destroy(b);
  dnnl_memory_desc_destroy(c);
#endif
  memcpy(product->shape, shape, sizeof product->shape);
  product->used = 1;
  return dnnl_success;
}

static dnnl_status_t find(const int64_t *shape, product_t **found) {
  context_t *context = thread_context;
  uint64_t hash = 1469598103934665603u;
  for (int i = 0; i < 7; i++) hash = (hash ^ (uint64_t)shape[i]) * 1099511628211u;
  size_t slot = (size_t)((hash ^ hash >> 32) % CACHE_SIZE);
  while (context->products[slot].used) {
    if (!memcmp(context->products[slot].shape, shape, 7 * sizeof *shape)) {
      *found = &context->products[slot];
      return dnnl_success;
    }
    slot = (slot + 1) % CACHE_SIZE;
  }
  if (context->count >= CACHE_SIZE / 2) {
    for (int i = 0; i < CACHE_SIZE; i++)
      if (context->products[i].used) destroy(&context->products[i]);
    context->count = 0;
    slot = (size_t)((hash ^ hash >> 32) % CACHE_SIZE);
  }
  CHECK(compile(&context->products[slot], shape));
  context->count++;
  *found = &context->products[slot];
  return dnnl_success;
}

int onednn_bf16_gemm(int transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a,
                     int64_t lda, const uint16_t *b, int64_t ldb, int accumulate, float *c,
                     int64_t ldc) {
  CHECK(make_context());
  int64_t shape[7] = {m, n, k, lda, ldb, ldc, (transpose_b ? 1 : 0) | (accumulate ? 2 : 0)};
  product_t *product;
  CHECK(find(shape, &product));
  CHECK(dnnl_memory_set_data_handle(product->a, (void *)a));
  CHECK(dnnl_memory_set_data_handle(product->b, (void *)b));
  CHECK(dnnl_memory_set_data_handle(product->c, c));
  dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, product->a},
                                  {DNNL_ARG_WEIGHTS, product->b},
                                  {DNNL_ARG_DST, product->c},
                                  {DNNL_ARG_SCRATCHPAD, product->scratch}};
  CHECK(dnnl_primitive_execute(product->primitive, thread_context->stream,
                               product->scratch ? 4 : 3, arguments));
  return dnnl_stream_wait(thread_context->stream);
}
