#ifndef CCUDA_H
#define CCUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The CUDA kernels as text, and NVIDIA's libraries, opened at run time with dlopen. Nothing of CUDA
// is needed to build: the few functions and constants that are used are declared here by hand.

// MARK: Kernels

/// A file of Sources/CCUDA/kernels.
typedef struct {
  const char *name;
  const char *text;
  size_t byte_count;
} ccuda_file;

size_t ccuda_file_count(void);
ccuda_file ccuda_file_at(size_t index);

// Arguments that kernels take by value. Each is declared with the same fields beside the kernels.

/// Where a base matrix lies: kernels/quantization.cu. Formats: 0 float32, 1 bf16, 2 half, 3 NF4,
/// 4 NF4 with nested scales.
typedef struct {
  const void *values;
  const void *absmax;
  const void *scale_codes;
  const void *offset;
  const void *dynamic_code;
  int64_t format;
} ccuda_weight_source;

/// kernels/products_float.cu.
typedef struct {
  int32_t m, n, k;
  int32_t lda, ldb;
  int32_t chunk;
  float scaling;
  int32_t accumulates;
} ccuda_float_product;

/// kernels/products_bf16.cu.
typedef struct {
  int32_t m, n;
  int32_t depth;
  int32_t b_rows;
  int32_t lda, ldb;
  int32_t accumulates;
} ccuda_rounded_product;

/// kernels/attention.cuh.
typedef struct {
  int32_t tokens;
  int32_t heads, key_heads;
  int32_t width;
  int32_t window;
  float scale;
} ccuda_attention_sizes;

// MARK: Libraries

/// Opens a library (a path or a soname) and finds every function that is used here. Each returns
/// false, with the reason in `message`, when it cannot be used. `is_global` makes its symbols
/// visible to libraries that are opened later.
bool ccuda_open_driver(const char *library, char *message, size_t message_size);
bool ccuda_open_nvrtc(const char *library, char *message, size_t message_size);
bool ccuda_open_cublaslt(const char *library, char *message, size_t message_size);
/// Opens a library of which no function is called from here, such as NVRTC's builtins.
bool ccuda_open_library(const char *library, char *message, size_t message_size);
/// The file that a symbol of an opened library came from; empty when that is not known.
void ccuda_driver_path(char *path, size_t path_size);
void ccuda_nvrtc_path(char *path, size_t path_size);
void ccuda_cublaslt_path(char *path, size_t path_size);
/// The file that a function came from; empty when that is not known.
void ccuda_path_of(void *function, char *path, size_t path_size);

// MARK: Driver. Functions return CUresult: 0 is success, any other goes to ccuda_driver_error.

void ccuda_driver_error(int code, char *text, size_t text_size);
int ccuda_driver_version(int *version);
int ccuda_device_count(int *count);
int ccuda_device_name(int device, char *name, int name_size);
/// A CUdevice_attribute by its number.
int ccuda_device_attribute(int attribute, int device, int *value);
int ccuda_device_memory(int device, size_t *byte_count);
/// Takes the device's primary context, which cuBLASLt and NCCL share, for this thread.
int ccuda_retain_context(int device, void **context);
int ccuda_set_context(void *context);
/// A queue of work; one that is urgent gets multiprocessors before the others.
int ccuda_create_stream(void **stream, bool is_urgent);
void ccuda_destroy_stream(void *stream);
/// 0 when all work is done, CCUDA_NOT_READY while it goes on.
int ccuda_query_stream(void *stream);
#define CCUDA_NOT_READY 600
/// What is queued on the stream from now on waits for what was recorded.
int ccuda_wait_for_event(void *stream, void *event);
int ccuda_synchronize(void *stream);
int ccuda_free_memory(size_t *free_bytes, size_t *total_bytes);
int ccuda_allocate(void **address, size_t byte_count);
int ccuda_free(void *address);
/// Memory of the host that stays in its place, from and to which copies are fastest.
int ccuda_allocate_host(void **address, size_t byte_count);
int ccuda_free_host(void *address);
int ccuda_set_zero(void *address, size_t byte_count, void *stream);
/// Copies are queued on the stream.
int ccuda_copy_to_device(void *to, const void *from, size_t byte_count, void *stream);
int ccuda_copy_to_host(void *to, const void *from, size_t byte_count, void *stream);
int ccuda_copy_on_device(void *to, const void *from, size_t byte_count, void *stream);
int ccuda_load_module(const void *cubin, void **module);
int ccuda_find_function(void *module, const char *name, void **function);
/// Lets a kernel use this much dynamic shared memory.
int ccuda_allow_shared_memory(void *function, int byte_count);
int ccuda_launch(
    void *function, const unsigned grid[3], unsigned threads, unsigned shared_bytes, void *stream,
    void **arguments);
/// A point of a stream's work; one that measures knows its time.
int ccuda_create_event(void **event, bool measures);
int ccuda_record_event(void *event, void *stream);
/// Waits for the second event; milliseconds between the two.
int ccuda_elapsed(void *first, void *second, float *milliseconds);
void ccuda_destroy_event(void *event);

// MARK: NVRTC

int ccuda_nvrtc_version(int *major, int *minor);
/// Compiles a file of kernels, with all headers of ccuda_file_at, to a cubin in malloc'ed memory.
///
/// Returns NVRTC's code. `log` is the compiler's, in malloc'ed memory, or NULL.
int ccuda_compile(
    const char *name, const char *text, const char *const *options, int option_count, void **cubin,
    size_t *cubin_bytes, char **log);
const char *ccuda_nvrtc_error(int code);
/// Gives back what ccuda_compile made; NULL is fine.
void ccuda_free_text(void *memory);

// MARK: cuBLASLt

size_t ccuda_cublaslt_version(void);
int ccuda_cublaslt_create(void **handle);

/// Products of row-major matrices `c [m, n] = scaling a [m, k] op(b)`, and `+= c` with
/// `accumulates`, for any m; b is `[n, k]` where `transposes_b`, else `[k, n]`. Sums and c are float32.
typedef struct {
  int64_t n, k;
  int64_t lda, ldb;
  /// Whether a and b are bf16, else float32.
  bool is_bf16;
  bool transposes_b;
} ccuda_product;

/// cublasLtMatmulAlgo_t, which may be stored and used again with the same version of the library.
typedef struct {
  uint8_t bytes[64];
} ccuda_algorithm;

/// What cuBLASLt is told of a shape, for one thread at a time, kept to the end of the process; NULL
/// with an error code when it fails.
void *ccuda_cublaslt_layouts(const ccuda_product *shape, int *code);
/// Up to `capacity` algorithms that split no sum, those that cuBLASLt thinks fastest first. All
/// addresses will be multiples of `alignment`.
int ccuda_cublaslt_propose(
    void *handle, const void *layouts, int64_t m, uint32_t alignment, size_t workspace_bytes,
    ccuda_algorithm *algorithms, int capacity, int *count);
/// Whether an algorithm adds up parts of a sum that were made apart, or cannot tell.
bool ccuda_cublaslt_splits(const ccuda_algorithm *algorithm);
/// 0 when an algorithm can compute this many rows.
int ccuda_cublaslt_check(
    void *handle, const void *layouts, int64_t m, const ccuda_algorithm *algorithm,
    size_t workspace_bytes);
int ccuda_cublaslt_multiply(
    void *handle, const void *layouts, int64_t m, float scaling, bool accumulates,
    const ccuda_algorithm *algorithm, const void *a, const void *b, void *c, void *workspace,
    size_t workspace_bytes, void *stream);

// MARK: NCCL

/// NCCL, opened; each opening has functions of its own.
typedef struct ccuda_nccl ccuda_nccl;
#define CCUDA_NCCL_ID_BYTES 128

/// Opens a library and finds every function that is used here; NULL, with the reason in `message`,
/// when it cannot be used. NCCL itself stays loaded when the opening is closed.
ccuda_nccl *ccuda_nccl_open(const char *library, char *message, size_t message_size);
void ccuda_nccl_close(ccuda_nccl *nccl);
void ccuda_nccl_path(const ccuda_nccl *nccl, char *path, size_t path_size);
/// Such as 22809 for 2.28.9; 0 when it does not tell.
int ccuda_nccl_version(const ccuda_nccl *nccl);
/// What the meaning of a code is, and what NCCL says of its last failure.
void ccuda_nccl_error(const ccuda_nccl *nccl, int code, char *text, size_t text_size);
int ccuda_nccl_make_id(const ccuda_nccl *nccl, unsigned char id[CCUDA_NCCL_ID_BYTES]);
/// Begins to make a communicator that never blocks: 7 until ccuda_nccl_state is 0.
int ccuda_nccl_init(
    const ccuda_nccl *nccl, void **communicator, int rank_count,
    const unsigned char id[CCUDA_NCCL_ID_BYTES], int rank, int maximum_blocks);
/// 0, 7 while the last call is in progress, or the error of the communicator.
int ccuda_nccl_state(const ccuda_nccl *nccl, void *communicator);
int ccuda_nccl_finalize(const ccuda_nccl *nccl, void *communicator);
int ccuda_nccl_destroy(const ccuda_nccl *nccl, void *communicator);
int ccuda_nccl_abort(const ccuda_nccl *nccl, void *communicator);
int ccuda_nccl_group_start(const ccuda_nccl *nccl);
int ccuda_nccl_group_end(const ccuda_nccl *nccl);
int ccuda_nccl_send(
    const ccuda_nccl *nccl, void *communicator, const void *from, size_t byte_count, int peer,
    void *stream);
int ccuda_nccl_receive(
    const ccuda_nccl *nccl, void *communicator, void *to, size_t byte_count, int peer,
    void *stream);
int ccuda_nccl_broadcast(
    const ccuda_nccl *nccl, void *communicator, const void *from, void *to, size_t byte_count,
    int root, void *stream);
int ccuda_nccl_all_gather(
    const ccuda_nccl *nccl, void *communicator, const void *from, void *to, size_t byte_count,
    void *stream);

#endif
