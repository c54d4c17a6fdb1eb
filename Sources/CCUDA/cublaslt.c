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
  int (*layout_set)(void *layout, int attribute, const void *value, size_t size);
  int (*layout_destroy)(void *layout);
  int (*preference_create)(void **preference);
  int (*preference_set)(void *preference, int attribute, const void *value, size_t size);
  int (*preference_destroy)(void *preference);
  int (*heuristic)(
      void *handle, void *product, void *a, void *b, void *c, void *d, void *preference, int count,
      void *results, int *found);
  int (*check)(
      void *handle, void *product, void *a, void *b, void *c, void *d, const void *algorithm,
      void *result);
  int (*algorithm_get)(
      const void *algorithm, int attribute, void *value, size_t size, size_t *written);
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
  layout_columns = 3,
  workspace_limit = 1,
  reduction_schemes = 3,
  first_alignment = 5,  // Of a, b, c and d, one after the other.
  split_count = 2,
  reduction_scheme = 3,
  not_supported = 15,  // CUBLAS_STATUS_NOT_SUPPORTED
};

/// cublasLtMatmulHeuristicResult_t: an algorithm, then its workspace, state and more.
typedef struct {
  ccuda_algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
} heuristic_result;

/// Layouts of a shape; the number of rows is set before each use.
typedef struct {
  void *product, *a, *b, *c;
} layouts;

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
      {"cublasLtMatrixLayoutSetAttribute", &lt.layout_set},
      {"cublasLtMatrixLayoutDestroy", &lt.layout_destroy},
      {"cublasLtMatmulPreferenceCreate", &lt.preference_create},
      {"cublasLtMatmulPreferenceSetAttribute", &lt.preference_set},
      {"cublasLtMatmulPreferenceDestroy", &lt.preference_destroy},
      {"cublasLtMatmulAlgoGetHeuristic", &lt.heuristic},
      {"cublasLtMatmulAlgoCheck", &lt.check},
      {"cublasLtMatmulAlgoConfigGetAttribute", &lt.algorithm_get},
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
// c = a op(b) is c^T = op(b)^T a^T. So b comes first, and it is transposed where it lies as [n, k];
// m is the columns of a and c.
void *ccuda_cublaslt_layouts(const ccuda_product *shape, int *code) {
  const int type = shape->is_bf16 ? type_bf16 : type_float32;
  const int32_t transposes = shape->transposes_b ? 1 : 0;
  const uint64_t b_rows = shape->transposes_b ? shape->k : shape->n;
  const uint64_t b_columns = shape->transposes_b ? shape->n : shape->k;
  layouts *made = calloc(1, sizeof *made);
  if (made == NULL) {
    *code = 3;  // CUBLAS_STATUS_ALLOC_FAILED
    return NULL;
  }
  *code = lt.product_create(&made->product, compute_32f, type_float32);
  if (*code == 0) *code = lt.product_set(made->product, transpose_a, &transposes, sizeof transposes);
  if (*code == 0) *code = lt.layout_create(&made->b, type, b_rows, b_columns, shape->ldb);
  if (*code == 0) *code = lt.layout_create(&made->a, type, shape->k, 1, shape->lda);
  if (*code == 0) *code = lt.layout_create(&made->c, type_float32, shape->n, 1, shape->n);
  if (*code == 0) return made;
  if (made->product != NULL) lt.product_destroy(made->product);
  if (made->a != NULL) lt.layout_destroy(made->a);
  if (made->b != NULL) lt.layout_destroy(made->b);
  if (made->c != NULL) lt.layout_destroy(made->c);
  free(made);
  return NULL;
}

static int set_rows(const layouts *shape, int64_t m) {
  const uint64_t columns = (uint64_t)m;
  const int code = lt.layout_set(shape->a, layout_columns, &columns, sizeof columns);
  return code != 0 ? code : lt.layout_set(shape->c, layout_columns, &columns, sizeof columns);
}

int ccuda_cublaslt_propose(
    void *handle, const void *layouts_of_shape, int64_t m, uint32_t alignment,
    size_t workspace_bytes, ccuda_algorithm *algorithms, int capacity, int *count) {
  const layouts *shape = layouts_of_shape;
  const uint32_t no_split = 0;  // CUBLASLT_REDUCTION_SCHEME_NONE
  void *preference = NULL;
  heuristic_result results[32];
  int found = 0;
  *count = 0;
  int code = set_rows(shape, m);
  if (code == 0) code = lt.preference_create(&preference);
  if (code == 0)
    code = lt.preference_set(
        preference, workspace_limit, &workspace_bytes, sizeof workspace_bytes);
  if (code == 0)
    code = lt.preference_set(preference, reduction_schemes, &no_split, sizeof no_split);
  for (int operand = 0; operand < 4 && code == 0; operand++)
    code = lt.preference_set(preference, first_alignment + operand, &alignment, sizeof alignment);
  if (code == 0)
    code = lt.heuristic(
        handle, shape->product, shape->b, shape->a, shape->c, shape->c, preference, 32, results,
        &found);
  if (preference != NULL) lt.preference_destroy(preference);
  if (code == not_supported) return 0;
  for (int i = 0; code == 0 && i < found && i < 32 && *count < capacity; i++) {
    if (results[i].state != 0 || results[i].workspace_bytes > workspace_bytes) continue;
    if (ccuda_cublaslt_splits(&results[i].algorithm)) continue;
    algorithms[(*count)++] = results[i].algorithm;
  }
  return code;
}

bool ccuda_cublaslt_splits(const ccuda_algorithm *algorithm) {
  uint32_t splits = 0, scheme = 0;
  size_t written = 0;
  if (lt.algorithm_get(algorithm, split_count, &splits, sizeof splits, &written) != 0) return true;
  if (lt.algorithm_get(algorithm, reduction_scheme, &scheme, sizeof scheme, &written) != 0)
    return true;
  return splits > 1 || scheme != 0;
}

int ccuda_cublaslt_check(
    void *handle, const void *layouts_of_shape, int64_t m, const ccuda_algorithm *algorithm,
    size_t workspace_bytes) {
  const layouts *shape = layouts_of_shape;
  heuristic_result result = {.state = 0};
  int code = set_rows(shape, m);
  if (code == 0)
    code = lt.check(
        handle, shape->product, shape->b, shape->a, shape->c, shape->c, algorithm, &result);
  if (code == 0) code = result.state;
  return code == 0 && result.workspace_bytes > workspace_bytes ? not_supported : code;
}

int ccuda_cublaslt_multiply(
    void *handle, const void *layouts_of_shape, int64_t m, float scaling, bool accumulates,
    const ccuda_algorithm *algorithm, const void *a, const void *b, void *c, void *workspace,
    size_t workspace_bytes, void *stream) {
  const layouts *shape = layouts_of_shape;
  const float beta = accumulates ? 1 : 0;
  const int code = set_rows(shape, m);
  return code != 0 ? code
                   : lt.multiply(
                         handle, shape->product, &scaling, b, shape->b, a, shape->a, &beta, c,
                         shape->c, c, shape->c, algorithm, workspace, workspace_bytes, stream);
}
