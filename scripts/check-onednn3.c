// Products of the shim in Sources/COneDNN against sums in double precision; see check-onednn3.sh.
#include "COneDNN.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint16_t bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float uniform(void) { return (float)rand() / (float)RAND_MAX; }

static float widened(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float x;
  memcpy(&x, &wide, 4);
  return x;
}

// Normalized mean squared error of c against c0 + a op(b).
static double error(int transpose_b, int m, int n, int k, const float *a, const float *b,
                    const float *c0, const float *c) {
  double difference = 0, power = 0;
  for (int i = 0; i < m; i++) {
    for (int j = 0; j < n; j++) {
      double sum = c0 ? c0[i * n + j] : 0;
      for (int l = 0; l < k; l++)
        sum += (double)a[i * k + l] * (transpose_b ? b[j * k + l] : b[l * n + j]);
      difference += (c[i * n + j] - sum) * (c[i * n + j] - sum);
      power += sum * sum;
    }
  }
  return difference / power;
}

int main(void) {
  static const int shapes[][3] = {{1, 1, 1}, {32, 256, 128}, {33, 65, 300}, {512, 256, 1000}};
  int failures = 0;
  printf("oneDNN %d, %s, bf16 %s, threads limited: %s\n", onednn_version(), onednn_isa_name(),
         onednn_has_bf16() ? "yes" : "no", onednn_has_one_thread() ? "yes" : "no");
  if (!onednn_has_one_thread()) failures++;
  for (int s = 0; s < 4; s++) {
    for (int flags = 0; flags < 4; flags++) {
      const int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
      const int transpose_b = flags & 1, accumulate = flags >> 1;
      float *a = malloc(sizeof(float) * m * k), *b = malloc(sizeof(float) * n * k);
      float *c = malloc(sizeof(float) * m * n), *before = malloc(sizeof(float) * m * n);
      uint16_t *a16 = malloc(sizeof(uint16_t) * m * k), *b16 = malloc(sizeof(uint16_t) * n * k);
      for (int i = 0; i < m * k; i++) a[i] = widened(a16[i] = bf16(uniform() - 0.5f));
      for (int i = 0; i < n * k; i++) b[i] = widened(b16[i] = bf16(uniform() - 0.5f));
      for (int i = 0; i < m * n; i++) before[i] = uniform();
      for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        if (is_bf16 && !onednn_has_bf16()) continue;
        memcpy(c, before, sizeof(float) * m * n);
        int status = is_bf16 ? onednn_bf16_gemm(transpose_b, m, n, k, a16, k, b16,
                                                transpose_b ? k : n, accumulate, c, n)
                             : onednn_sgemm(0, transpose_b, m, n, k, 1, a, k, b,
                                            transpose_b ? k : n, accumulate, c, n);
        double e = error(transpose_b, m, n, k, a, b, accumulate ? before : NULL, c);
        int is_good = status == 0 && e < 1e-12;
        if (!is_good) failures++;
        printf("%s %s [%d, %d, %d]%s%s: status %d, error %.1e\n", is_good ? "ok  " : "FAIL",
               is_bf16 ? "bf16" : "f32 ", m, n, k, transpose_b ? " transposed" : "",
               accumulate ? " accumulating" : "", status, e);
      }
      free(a), free(b), free(c), free(before), free(a16), free(b16);
    }
  }
  return failures != 0;
}
