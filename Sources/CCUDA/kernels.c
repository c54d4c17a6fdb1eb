#include "CCUDA.h"

static const char attention[] = {
#embed "kernels/attention.cuh" suffix(, 0)
};
static const char common[] = {
#embed "kernels/common.cuh" suffix(, 0)
};
static const char prims[] = {
#embed "kernels/prims.cuh" suffix(, 0)
};
static const char random_header[] = {
#embed "kernels/random.cuh" suffix(, 0)
};
static const char attention_bf16[] = {
#embed "kernels/attention_bf16.cu" suffix(, 0)
};
static const char attention_float[] = {
#embed "kernels/attention_float.cu" suffix(, 0)
};
static const char elementwise[] = {
#embed "kernels/elementwise.cu" suffix(, 0)
};
static const char experts[] = {
#embed "kernels/experts.cu" suffix(, 0)
};
static const char loss[] = {
#embed "kernels/loss.cu" suffix(, 0)
};
static const char normalization[] = {
#embed "kernels/normalization.cu" suffix(, 0)
};
static const char optimizer[] = {
#embed "kernels/optimizer.cu" suffix(, 0)
};
static const char products_bf16[] = {
#embed "kernels/products_bf16.cu" suffix(, 0)
};
static const char products_float[] = {
#embed "kernels/products_float.cu" suffix(, 0)
};
static const char quantization[] = {
#embed "kernels/quantization.cu" suffix(, 0)
};
static const char random_weights[] = {
#embed "kernels/random_weights.cu" suffix(, 0)
};

static const ccuda_file files[] = {
    {"attention.cuh", attention, sizeof attention - 1},
    {"common.cuh", common, sizeof common - 1},
    {"prims.cuh", prims, sizeof prims - 1},
    {"random.cuh", random_header, sizeof random_header - 1},
    {"attention_bf16.cu", attention_bf16, sizeof attention_bf16 - 1},
    {"attention_float.cu", attention_float, sizeof attention_float - 1},
    {"elementwise.cu", elementwise, sizeof elementwise - 1},
    {"experts.cu", experts, sizeof experts - 1},
    {"loss.cu", loss, sizeof loss - 1},
    {"normalization.cu", normalization, sizeof normalization - 1},
    {"optimizer.cu", optimizer, sizeof optimizer - 1},
    {"products_bf16.cu", products_bf16, sizeof products_bf16 - 1},
    {"products_float.cu", products_float, sizeof products_float - 1},
    {"quantization.cu", quantization, sizeof quantization - 1},
    {"random_weights.cu", random_weights, sizeof random_weights - 1},
};

size_t ccuda_file_count(void) { return sizeof files / sizeof files[0]; }

ccuda_file ccuda_file_at(size_t index) { return files[index]; }
