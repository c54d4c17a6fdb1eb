// A driver without a GPU, for tests: memory is the host's, and kernels go to a function that the
// test gives, or nowhere. Variables of the environment make it fail in the ways of real ones.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*launcher)(
    const char *kernel, const unsigned *grid, unsigned threads, unsigned shared_bytes,
    void **arguments);

static launcher launch;
static size_t used, peak;
static struct allocation {
  void *address;
  size_t bytes;
} allocations[4096];

static long long setting(const char *name, long long usual) {
  const char *text = getenv(name);
  return text == NULL ? usual : atoll(text);
}

// Writes the most bytes that were in use into a file of the process.
static void note_peak(void) {
  peak = used;
  const char *name = getenv("FAKE_PEAK");
  if (name == NULL) return;
  char path[4096];
  snprintf(path, sizeof path, "%s.%d", name, (int)getpid());
  FILE *file = fopen(path, "w");
  fprintf(file, "%zu\n", peak);
  fclose(file);
}

void fake_set_launcher(launcher function) { launch = function; }
size_t fake_used_bytes(void) { return used; }

int cuInit(unsigned flags) { return (int)setting("FAKE_INIT", 0); }
int cuDriverGetVersion(int *version) {
  *version = (int)setting("FAKE_VERSION", 13000);
  return 0;
}
int cuGetErrorName(int code, const char **text) {
  *text = code == 100   ? "CUDA_ERROR_NO_DEVICE"
          : code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
          : code == 999 ? "CUDA_ERROR_UNKNOWN"
                        : "CUDA_ERROR";
  return 0;
}
int cuGetErrorString(int code, const char **text) {
  *text = "what it means";
  return 0;
}
int cuDeviceGetCount(int *count) {
  *count = (int)setting("FAKE_COUNT", 1);
  return (int)setting("FAKE_INIT", 0);
}
int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return 0;
}
int cuDeviceGetName(char *name, int length, int device) {
  snprintf(name, (size_t)length, "Fake %d", device);
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  const int capability = (int)setting("FAKE_CAPABILITY", 90);
  *value = attribute == 75   ? capability / 10
           : attribute == 76 ? capability % 10
           : attribute == 16 ? 132
           : attribute == 13 ? 1830000
           : attribute == 36 ? 2619000
           : attribute == 37 ? 5120
           : attribute == 33 ? 16 + device
                             : 0;
  return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  *bytes = (size_t)setting("FAKE_MEMORY", 80000000000);
  return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = &used;
  return 0;
}
int cuCtxSetCurrent(void *context) { return context == &used ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) {
  *stream = &launch;
  return 0;
}
int cuStreamSynchronize(void *stream) { return stream == &launch ? 0 : 400; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  *total_bytes = (size_t)setting("FAKE_MEMORY", 80000000000);
  *free_bytes = *total_bytes - used;
  return 0;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  // FAKE_ROOM is less than what the driver says is free: others took it since.
  if (used + bytes > (size_t)setting("FAKE_ROOM", 80000000000)) return 2;
  void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  for (size_t i = 0; i < sizeof allocations / sizeof allocations[0]; i++) {
    if (allocations[i].address != NULL) continue;
    allocations[i].address = memory;
    allocations[i].bytes = bytes;
    used += bytes;
    if (used > peak) note_peak();
    *address = (uintptr_t)memory;
    return 0;
  }
  return 2;
}
int cuMemFree_v2(uint64_t address) {
  for (size_t i = 0; i < sizeof allocations / sizeof allocations[0]; i++) {
    if (allocations[i].address != (void *)(uintptr_t)address) continue;
    used -= allocations[i].bytes;
    free(allocations[i].address);
    allocations[i].address = NULL;
    return 0;
  }
  return 1;
}
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t count, void *stream) {
  memset((void *)(uintptr_t)address, value, count);
  return stream == &launch ? 0 : 400;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, from, bytes);
  return stream == &launch ? 0 : 400;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  memcpy(to, (void *)(uintptr_t)from, bytes);
  return stream == &launch ? 0 : 400;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
  return stream == &launch ? 0 : 400;
}
int cuModuleLoadData(void **module, const void *image) {
  *module = (void *)image;
  return memcmp(image, "\177ELF", 4) == 0 ? 0 : 200;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = strdup(name);
  return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
  // No more than an H100 has.
  return attribute == 8 && value <= 227 * 1024 ? 0 : 1;
}
int cuLaunchKernel(
    void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared_bytes, void *stream, void **arguments, void **extra) {
  if (by != 1 || bz != 1 || extra != NULL || stream != &launch) return 1;
  // Limits of real grids.
  if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || bx > 1024) return 1;
  const unsigned grid[3] = {gx, gy, gz};
  return launch == NULL ? 0 : launch(function, grid, bx, shared_bytes, arguments);
}
static int events;
int cuEventCreate(void **event, unsigned flags) {
  *event = malloc(16);
  events++;
  return 0;
}
int cuEventRecord(void *event, void *stream) { return stream == &launch ? 0 : 400; }
int cuEventSynchronize(void *event) { return event == NULL; }
int cuEventElapsedTime(float *milliseconds, void *first, void *second) {
  *milliseconds = 1.5f;
  return first == NULL || second == NULL;
}
#ifndef FAKE_OLD
int cuEventDestroy_v2(void *event) {
  free(event);
  events--;
  return 0;
}
#endif
int fake_event_count(void) { return events; }
