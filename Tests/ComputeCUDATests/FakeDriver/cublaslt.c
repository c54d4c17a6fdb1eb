// A cuBLASLt without a GPU, for tests: it multiplies in the memory of the fake driver, which is the
// host's, and writes the algorithms that it was given into a file of the process. What it proposes
// differs from process to process.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  int32_t transposes_a;
} product;
typedef struct {
  int32_t type;
  uint64_t rows, columns;
  int64_t leading;
} layout;
typedef struct {
  uint64_t workspace;
  uint32_t schemes, alignments[4];
} preference;
typedef struct {
  uint8_t flavor[4], index, splits, scheme, rest[57];
} algorithm;
typedef struct {
  algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
} result;

enum { ok = 0, invalid = 7, not_supported = 15 };

size_t cublasLtGetVersion(void) {
  const char *text = getenv("FAKE_LT_VERSION");
  return text == NULL ? 130100 : (size_t)atoll(text);
}
int cublasLtCreate(void **handle) {
  *handle = malloc(1);
  return ok;
}
int cublasLtMatmulDescCreate(product **made, int compute_type, int scale_type) {
  *made = calloc(1, sizeof **made);
  return compute_type == 68 && scale_type == 0 ? ok : invalid;
}
int cublasLtMatmulDescSetAttribute(
    product *product, int attribute, const void *value, size_t size) {
  if (attribute != 3 || size != sizeof(int32_t)) return invalid;
  memcpy(&product->transposes_a, value, size);
  return ok;
}
int cublasLtMatmulDescDestroy(product *product) {
  free(product);
  return ok;
}
int cublasLtMatrixLayoutCreate(
    layout **made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  *made = calloc(1, sizeof **made);
  **made = (layout){type, rows, columns, leading};
  return leading >= (int64_t)rows && (type == 0 || type == 14) ? ok : invalid;
}
int cublasLtMatrixLayoutSetAttribute(
    layout *layout, int attribute, const void *value, size_t size) {
  if (attribute != 3 || size != sizeof(uint64_t)) return invalid;
  memcpy(&layout->columns, value, size);
  return ok;
}
int cublasLtMatrixLayoutDestroy(layout *layout) {
  free(layout);
  return ok;
}
int cublasLtMatmulPreferenceCreate(preference **made) {
  *made = calloc(1, sizeof **made);
  (*made)->schemes = 7;
  return ok;
}
int cublasLtMatmulPreferenceSetAttribute(
    preference *preference, int attribute, const void *value, size_t size) {
  void *place = attribute == 1                     ? (void *)&preference->workspace
                : attribute == 3                   ? (void *)&preference->schemes
                : attribute >= 5 && attribute <= 8 ? (void *)&preference->alignments[attribute - 5]
                                                   : NULL;
  if (place == NULL || size != (attribute == 1 ? 8 : 4)) return invalid;
  memcpy(place, value, size);
  return ok;
}
int cublasLtMatmulPreferenceDestroy(preference *preference) {
  free(preference);
  return ok;
}

// Whether the shapes fit: d = op(a) b.
static int fits(const product *p, const layout *a, const layout *b, const layout *d) {
  const uint64_t m = p->transposes_a ? a->columns : a->rows;
  const uint64_t k = p->transposes_a ? a->rows : a->columns;
  return a->type == b->type && d->type == 0 && d->rows == m && b->rows == k &&
         d->columns == b->columns;
}

// The first proposal splits sums, whatever it is told, and the second needs too much memory.
int cublasLtMatmulAlgoGetHeuristic(
    void *handle, const product *product, const layout *a, const layout *b, const layout *c,
    const layout *d, const preference *preference, int capacity, result *results, int *found) {
  *found = 0;
  if (c != d || preference->schemes != 0 || !fits(product, a, b, d)) return invalid;
  for (int i = 0; i < 4; i++)
    if (preference->alignments[i] != 16) return invalid;
  if (getenv("FAKE_LT_NONE") != NULL) return not_supported;
  const uint32_t flavor = (uint32_t)getpid();
  for (int i = 0; i < capacity && i < 5; i++) {
    result made = {.algorithm = {.index = (uint8_t)i, .splits = i == 0 ? 4 : 1}};
    memcpy(made.algorithm.flavor, &flavor, sizeof flavor);
    made.algorithm.scheme = i == 0 ? 2 : 0;
    made.workspace_bytes = i == 1 ? preference->workspace + 1 : 1024;
    results[(*found)++] = made;
  }
  return ok;
}

// Algorithm 2 takes no odd number of rows.
int cublasLtMatmulAlgoCheck(
    void *handle, const product *product, const layout *a, const layout *b, const layout *c,
    const layout *d, const algorithm *algorithm, result *checked) {
  if (c != d || !fits(product, a, b, d)) return invalid;
  checked->workspace_bytes = 1024;
  checked->state = ok;
  return algorithm->index == 2 && d->columns % 2 == 1 ? not_supported : ok;
}

int cublasLtMatmulAlgoConfigGetAttribute(
    const algorithm *algorithm, int attribute, void *value, size_t size, size_t *written) {
  if (size != 4 || (attribute != 2 && attribute != 3)) return invalid;
  const uint32_t number = attribute == 2 ? algorithm->splits : algorithm->scheme;
  memcpy(value, &number, size);
  *written = size;
  return ok;
}

static float element(const void *matrix, int type, int64_t index) {
  if (type == 0) return ((const float *)matrix)[index];
  const uint32_t bits = (uint32_t)((const uint16_t *)matrix)[index] << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

int cublasLtMatmul(
    void *handle, const product *product, const float *alpha, const void *a, const layout *la,
    const void *b, const layout *lb, const float *beta, const float *c, const layout *lc, float *d,
    const layout *ld, const algorithm *algorithm, void *workspace, size_t workspace_bytes,
    void *stream) {
  if (lc != ld || c != d || !fits(product, la, lb, ld) || stream == NULL) return invalid;
  if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)d) % 16 != 0 || workspace_bytes < 1024)
    return invalid;
  if (algorithm->index == 2 && ld->columns % 2 == 1) return not_supported;
  const char *log = getenv("FAKE_LT_LOG");
  if (log != NULL) {
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", log, (int)getpid());
    FILE *file = fopen(path, "a");
    for (size_t i = 0; i < sizeof *algorithm; i++)
      fprintf(file, "%02x", ((const uint8_t *)algorithm)[i]);
    fprintf(file, "\n");
    fclose(file);
  }
  const int64_t depth = (int64_t)lb->rows;
  for (int64_t column = 0; column < (int64_t)ld->columns; column++)
    for (int64_t row = 0; row < (int64_t)ld->rows; row++) {
      float sum = 0;
      for (int64_t k = 0; k < depth; k++) {
        const int64_t place =
            product->transposes_a ? row * la->leading + k : k * la->leading + row;
        sum += element(a, la->type, place) * element(b, lb->type, column * lb->leading + k);
      }
      float *to = d + column * ld->leading + row;
      *to = *alpha * sum + (*beta == 0 ? 0 : *beta * *to);
    }
  return ok;
}
