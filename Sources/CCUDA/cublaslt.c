#define _GNU_SOURCE  // dladdr

#include "CCUDA.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Functions and constants as in NVIDIA's cublasLt.h.
static struct {
  size_t (*version)(void);
  int (*create)(void **handle);
  int (*product_create)(void **product, int compute_type, int scale_type);
  int (*product_set)(void *product, int attribute, const void *value, size_t size);
  int (*product_destroy)(void *product);
  int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading);
  int (*layout_destroy)(void *layout);
  int (*preference_create)(void **preference);
  int (*preference_set)(void *preference, int attribute, const void *value, size_t size);
  int (*preference_destroy)(void *preference);
  int (*heuristic)(
      void *handle, void *product, void *a, void *b, void *c, void *d, void *preference, int count,
      void *results, int *found);
  int (*multiply)(
      void *handle, void *product, const void *alpha, const void *a, void *a_layout, const void *b,
      void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
      const void *algorithm, void *workspace, size_t workspace_bytes, void *stream);
} lt;

enum {
  compute_32f = 68,  // CUBLAS_COMPUTE_32F: no TF32
  type_float32 = 0,
  type_bf16 = 14,
  transpose_a = 3,
  workspace_limit = 1,
  reduction_schemes = 3,
  first_alignment = 5,  // Of a, b, c and d, one after the other.
};

/// cublasLtMatmulHeuristicResult_t: 64 bytes of algorithm, then its workspace, state and more.
typedef struct {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
} heuristic_result;

typedef struct {
  void *product, *a, *b, *c;
  uint64_t algorithm[8];
  float scaling, beta;
} plan;

bool ccuda_open_cublaslt(const char *library, char *message, size_t message_size) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (handle == NULL) {
    const char *text = dlerror();
    snprintf(message, message_size, "%s", text == NULL ? "dlopen failed" : text);
    return false;
  }
  const struct {
    const char *name;
    void *place;
  } functions[] = {
      {"cublasLtGetVersion", &lt.version},
      {"cublasLtCreate", &lt.create},
      {"cublasLtMatmulDescCreate", &lt.product_create},
      {"cublasLtMatmulDescSetAttribute", &lt.product_set},
      {"cublasLtMatmulDescDestroy", &lt.product_destroy},
      {"cublasLtMatrixLayoutCreate", &lt.layout_create},
      {"cublasLtMatrixLayoutDestroy", &lt.layout_destroy},
      {"cublasLtMatmulPreferenceCreate", &lt.preference_create},
      {"cublasLtMatmulPreferenceSetAttribute", &lt.preference_set},
      {"cublasLtMatmulPreferenceDestroy", &lt.preference_destroy},
      {"cublasLtMatmulAlgoGetHeuristic", &lt.heuristic},
      {"cublasLtMatmul", &lt.multiply},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    void *address = dlsym(handle, functions[i].name);
    if (address == NULL) {
      snprintf(message, message_size, "it has no function %s", functions[i].name);
      return false;
    }
    memcpy(functions[i].place, &address, sizeof address);
  }
  return true;
}

void ccuda_cublaslt_path(char *path, size_t path_size) {
  Dl_info info;
  path[0] = 0;
  if (lt.version != NULL && dladdr((void *)lt.version, &info) != 0)
    snprintf(path, path_size, "%s", info.dli_fname);
}

size_t ccuda_cublaslt_version(void) { return lt.version(); }
int ccuda_cublaslt_create(void **handle) { return lt.create(handle); }

// cuBLASLt's matrices are column-major: what is row-major [m, n] here is [n, m] there, and
// c = a op(b) is c^T = op(b)^T a^T. So b comes first, and it is transposed where it lies as [n, k].
void *ccuda_cublaslt_plan(
    void *handle, const ccuda_product *shape, size_t workspace_bytes, int *code) {
  const int type = shape->is_bf16 ? type_bf16 : type_float32;
  const int32_t transposes = shape->transposes_b ? 1 : 0;
  const uint64_t b_rows = shape->transposes_b ? shape->k : shape->n;
  const uint64_t b_columns = shape->transposes_b ? shape->n : shape->k;
  const uint32_t no_split = 0;  // CUBLASLT_REDUCTION_SCHEME_NONE
  void *preference = NULL;
  heuristic_result result;
  int found = 0;
  plan *made = calloc(1, sizeof *made);
  if (made == NULL) {
    *code = 3;  // CUBLAS_STATUS_ALLOC_FAILED
    return NULL;
  }
  made->scaling = shape->scaling;
  made->beta = shape->accumulates ? 1 : 0;
  *code = lt.product_create(&made->product, compute_32f, type_float32);
  if (*code == 0) *code = lt.product_set(made->product, transpose_a, &transposes, sizeof transposes);
  if (*code == 0) *code = lt.layout_create(&made->b, type, b_rows, b_columns, shape->ldb);
  if (*code == 0) *code = lt.layout_create(&made->a, type, shape->k, shape->m, shape->lda);
  if (*code == 0) *code = lt.layout_create(&made->c, type_float32, shape->n, shape->m, shape->ldc);
  if (*code == 0) *code = lt.preference_create(&preference);
  if (*code == 0)
    *code = lt.preference_set(preference, workspace_limit, &workspace_bytes, sizeof workspace_bytes);
  if (*code == 0)
    *code = lt.preference_set(preference, reduction_schemes, &no_split, sizeof no_split);
  for (int operand = 0; operand < 4 && *code == 0; operand++)
    *code = lt.preference_set(
        preference, first_alignment + operand, &shape->alignment, sizeof shape->alignment);
  if (*code == 0)
    *code = lt.heuristic(
        handle, made->product, made->b, made->a, made->c, made->c, preference, 1, &result, &found);
  if (*code == 0 && (found == 0 || result.state != 0)) *code = 15;  // CUBLAS_STATUS_NOT_SUPPORTED
  if (preference != NULL) lt.preference_destroy(preference);
  if (*code == 0) {
    memcpy(made->algorithm, result.algorithm, sizeof made->algorithm);
    return made;
  }
  if (made->product != NULL) lt.product_destroy(made->product);
  if (made->a != NULL) lt.layout_destroy(made->a);
  if (made->b != NULL) lt.layout_destroy(made->b);
  if (made->c != NULL) lt.layout_destroy(made->c);
  free(made);
  return NULL;
}

int ccuda_cublaslt_multiply(
    void *handle, const void *known, const void *a, const void *b, void *c, void *workspace,
    size_t workspace_bytes, void *stream) {
  const plan *plan = known;
  return lt.multiply(
      handle, plan->product, &plan->scaling, b, plan->b, a, plan->a, &plan->beta, c, plan->c, c,
      plan->c, plan->algorithm, workspace, workspace_bytes, stream);
}
