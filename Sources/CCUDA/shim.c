#define _GNU_SOURCE  // dladdr

#include "CCUDA.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// MARK: Opening

static bool fail(char *message, size_t size, const char *text) {
  snprintf(message, size, "%s", text == NULL ? "dlopen failed" : text);
  return false;
}

static void *open_library(const char *library, char *message, size_t size) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (handle == NULL) fail(message, size, dlerror());
  return handle;
}

static bool find(void *handle, const char *name, void **address, char *message, size_t size) {
  *address = dlsym(handle, name);
  if (*address == NULL) snprintf(message, size, "it has no function %s; it may be too old", name);
  return *address != NULL;
}

void ccuda_path_of(void *address, char *path, size_t size) {
  Dl_info info;
  path[0] = 0;
  if (address != NULL && dladdr(address, &info) != 0) snprintf(path, size, "%s", info.dli_fname);
}

bool ccuda_open_library(const char *library, char *message, size_t message_size) {
  return open_library(library, message, message_size) != NULL;
}

// MARK: Driver

// Types and names as in NVIDIA's cuda.h; functions whose name ends in _v2 take 64-bit sizes.
static struct {
  int (*init)(unsigned flags);
  int (*driver_version)(int *version);
  int (*error_name)(int code, const char **text);
  int (*error_text)(int code, const char **text);
  int (*device_count)(int *count);
  int (*device_get)(int *device, int ordinal);
  int (*device_name)(char *name, int length, int device);
  int (*device_attribute)(int *value, int attribute, int device);
  int (*device_memory)(size_t *bytes, int device);
  int (*retain)(void **context, int device);
  int (*set_current)(void *context);
  int (*priority_range)(int *least, int *greatest);
  int (*stream_create)(void **stream, unsigned flags, int priority);
  int (*stream_destroy)(void *stream);
  int (*stream_query)(void *stream);
  int (*stream_wait)(void *stream, void *event, unsigned flags);
  int (*stream_synchronize)(void *stream);
  int (*memory_info)(size_t *free_bytes, size_t *total_bytes);
  int (*allocate)(uint64_t *address, size_t bytes);
  int (*release)(uint64_t address);
  int (*host_allocate)(void **address, size_t bytes, unsigned flags);
  int (*host_release)(void *address);
  int (*set_bytes)(uint64_t address, unsigned char value, size_t count, void *stream);
  int (*copy_in)(uint64_t to, const void *from, size_t bytes, void *stream);
  int (*copy_out)(void *to, uint64_t from, size_t bytes, void *stream);
  int (*copy)(uint64_t to, uint64_t from, size_t bytes, void *stream);
  int (*module_load)(void **module, const void *image);
  int (*module_function)(void **function, void *module, const char *name);
  int (*function_attribute)(void *function, int attribute, int value);
  int (*launch)(
      void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
      unsigned shared_bytes, void *stream, void **arguments, void **extra);
  int (*event_create)(void **event, unsigned flags);
  int (*event_record)(void *event, void *stream);
  int (*event_synchronize)(void *event);
  int (*event_elapsed)(float *milliseconds, void *first, void *second);
  int (*event_destroy)(void *event);
} driver;

enum { no_device = 100 };  // CUDA_ERROR_NO_DEVICE
// Whether the driver said that at its start; it answers nothing then.
static bool has_no_device;

bool ccuda_open_driver(const char *library, char *message, size_t message_size) {
  void *handle = open_library(library, message, message_size);
  if (handle == NULL) return false;
  const struct {
    const char *name;
    void *place;
  } functions[] = {
      {"cuInit", &driver.init},
      {"cuDriverGetVersion", &driver.driver_version},
      {"cuGetErrorName", &driver.error_name},
      {"cuGetErrorString", &driver.error_text},
      {"cuDeviceGetCount", &driver.device_count},
      {"cuDeviceGet", &driver.device_get},
      {"cuDeviceGetName", &driver.device_name},
      {"cuDeviceGetAttribute", &driver.device_attribute},
      {"cuDeviceTotalMem_v2", &driver.device_memory},
      {"cuDevicePrimaryCtxRetain", &driver.retain},
      {"cuCtxSetCurrent", &driver.set_current},
      {"cuCtxGetStreamPriorityRange", &driver.priority_range},
      {"cuStreamCreateWithPriority", &driver.stream_create},
      {"cuStreamDestroy_v2", &driver.stream_destroy},
      {"cuStreamQuery", &driver.stream_query},
      {"cuStreamWaitEvent", &driver.stream_wait},
      {"cuStreamSynchronize", &driver.stream_synchronize},
      {"cuMemGetInfo_v2", &driver.memory_info},
      {"cuMemAlloc_v2", &driver.allocate},
      {"cuMemFree_v2", &driver.release},
      {"cuMemHostAlloc", &driver.host_allocate},
      {"cuMemFreeHost", &driver.host_release},
      {"cuMemsetD8Async", &driver.set_bytes},
      {"cuMemcpyHtoDAsync_v2", &driver.copy_in},
      {"cuMemcpyDtoHAsync_v2", &driver.copy_out},
      {"cuMemcpyDtoDAsync_v2", &driver.copy},
      {"cuModuleLoadData", &driver.module_load},
      {"cuModuleGetFunction", &driver.module_function},
      {"cuFuncSetAttribute", &driver.function_attribute},
      {"cuLaunchKernel", &driver.launch},
      {"cuEventCreate", &driver.event_create},
      {"cuEventRecord", &driver.event_record},
      {"cuEventSynchronize", &driver.event_synchronize},
      {"cuEventElapsedTime", &driver.event_elapsed},
      {"cuEventDestroy_v2", &driver.event_destroy},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    void *address;
    if (!find(handle, functions[i].name, &address, message, message_size)) return false;
    memcpy(functions[i].place, &address, sizeof address);
  }
  const int code = driver.init(0);
  // A driver without GPUs says so here; whoever counts them tells it.
  has_no_device = code == no_device;
  if (code != 0 && code != no_device) {
    ccuda_driver_error(code, message, message_size);
    return false;
  }
  return true;
}

void ccuda_driver_path(char *path, size_t path_size) {
  ccuda_path_of((void *)driver.init, path, path_size);
}

void ccuda_driver_error(int code, char *text, size_t text_size) {
  const char *name = NULL, *meaning = NULL;
  driver.error_name(code, &name);
  driver.error_text(code, &meaning);
  snprintf(
      text, text_size, "%s (%d): %s", name == NULL ? "error" : name, code,
      meaning == NULL ? "unknown" : meaning);
}

int ccuda_driver_version(int *version) { return driver.driver_version(version); }
int ccuda_device_count(int *count) {
  *count = 0;
  return has_no_device ? 0 : driver.device_count(count);
}

int ccuda_device_name(int ordinal, char *name, int name_size) {
  int device;
  const int code = driver.device_get(&device, ordinal);
  return code != 0 ? code : driver.device_name(name, name_size, device);
}

int ccuda_device_attribute(int attribute, int ordinal, int *value) {
  int device;
  const int code = driver.device_get(&device, ordinal);
  return code != 0 ? code : driver.device_attribute(value, attribute, device);
}

int ccuda_device_memory(int ordinal, size_t *byte_count) {
  int device;
  const int code = driver.device_get(&device, ordinal);
  return code != 0 ? code : driver.device_memory(byte_count, device);
}

int ccuda_retain_context(int ordinal, void **context) {
  int device;
  int code = driver.device_get(&device, ordinal);
  if (code == 0) code = driver.retain(context, device);
  return code != 0 ? code : driver.set_current(*context);
}

int ccuda_set_context(void *context) { return driver.set_current(context); }

int ccuda_create_stream(void **stream, bool is_urgent) {
  int least = 0, greatest = 0;
  const int code = driver.priority_range(&least, &greatest);
  // 1: CU_STREAM_NON_BLOCKING.
  return code != 0 ? code : driver.stream_create(stream, 1, is_urgent ? greatest : least);
}

void ccuda_destroy_stream(void *stream) {
  if (stream != NULL) driver.stream_destroy(stream);
}

int ccuda_query_stream(void *stream) { return driver.stream_query(stream); }

int ccuda_wait_for_event(void *stream, void *event) { return driver.stream_wait(stream, event, 0); }

int ccuda_synchronize(void *stream) { return driver.stream_synchronize(stream); }
int ccuda_free_memory(size_t *free_bytes, size_t *total_bytes) {
  return driver.memory_info(free_bytes, total_bytes);
}

int ccuda_allocate(void **address, size_t byte_count) {
  uint64_t device_address = 0;
  const int code = driver.allocate(&device_address, byte_count);
  *address = (void *)(uintptr_t)device_address;
  return code;
}

int ccuda_free(void *address) { return driver.release((uintptr_t)address); }

// 1: CU_MEMHOSTALLOC_PORTABLE.
int ccuda_allocate_host(void **address, size_t byte_count) {
  return driver.host_allocate(address, byte_count, 1);
}

int ccuda_free_host(void *address) { return driver.host_release(address); }

int ccuda_set_zero(void *address, size_t byte_count, void *stream) {
  return driver.set_bytes((uintptr_t)address, 0, byte_count, stream);
}

int ccuda_copy_to_device(void *to, const void *from, size_t byte_count, void *stream) {
  return driver.copy_in((uintptr_t)to, from, byte_count, stream);
}

int ccuda_copy_to_host(void *to, const void *from, size_t byte_count, void *stream) {
  return driver.copy_out(to, (uintptr_t)from, byte_count, stream);
}

int ccuda_copy_on_device(void *to, const void *from, size_t byte_count, void *stream) {
  return driver.copy((uintptr_t)to, (uintptr_t)from, byte_count, stream);
}

int ccuda_load_module(const void *cubin, void **module) {
  return driver.module_load(module, cubin);
}

int ccuda_find_function(void *module, const char *name, void **function) {
  return driver.module_function(function, module, name);
}

int ccuda_allow_shared_memory(void *function, int byte_count) {
  return driver.function_attribute(function, 8, byte_count);  // MAX_DYNAMIC_SHARED_SIZE_BYTES
}

int ccuda_launch(
    void *function, const unsigned grid[3], unsigned threads, unsigned shared_bytes, void *stream,
    void **arguments) {
  return driver.launch(
      function, grid[0], grid[1], grid[2], threads, 1, 1, shared_bytes, stream, arguments, NULL);
}

int ccuda_create_event(void **event, bool measures) {
  return driver.event_create(event, measures ? 0 : 2);  // 2: CU_EVENT_DISABLE_TIMING
}
int ccuda_record_event(void *event, void *stream) { return driver.event_record(event, stream); }

int ccuda_elapsed(void *first, void *second, float *milliseconds) {
  const int code = driver.event_synchronize(second);
  return code != 0 ? code : driver.event_elapsed(milliseconds, first, second);
}

void ccuda_destroy_event(void *event) {
  if (event != NULL) driver.event_destroy(event);
}

// MARK: NVRTC

static struct {
  int (*version)(int *major, int *minor);
  const char *(*error)(int code);
  int (*create)(
      void **program, const char *text, const char *name, int header_count,
      const char *const *headers, const char *const *header_names);
  int (*destroy)(void **program);
  int (*compile)(void *program, int option_count, const char *const *options);
  int (*cubin_size)(void *program, size_t *size);
  int (*cubin)(void *program, char *cubin);
  int (*log_size)(void *program, size_t *size);
  int (*log)(void *program, char *log);
} nvrtc;

bool ccuda_open_nvrtc(const char *library, char *message, size_t message_size) {
  void *handle = open_library(library, message, message_size);
  if (handle == NULL) return false;
  const struct {
    const char *name;
    void *place;
  } functions[] = {
      {"nvrtcVersion", &nvrtc.version},
      {"nvrtcGetErrorString", &nvrtc.error},
      {"nvrtcCreateProgram", &nvrtc.create},
      {"nvrtcDestroyProgram", &nvrtc.destroy},
      {"nvrtcCompileProgram", &nvrtc.compile},
      {"nvrtcGetCUBINSize", &nvrtc.cubin_size},
      {"nvrtcGetCUBIN", &nvrtc.cubin},
      {"nvrtcGetProgramLogSize", &nvrtc.log_size},
      {"nvrtcGetProgramLog", &nvrtc.log},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    void *address;
    if (!find(handle, functions[i].name, &address, message, message_size)) return false;
    memcpy(functions[i].place, &address, sizeof address);
  }
  return true;
}

void ccuda_nvrtc_path(char *path, size_t path_size) {
  ccuda_path_of((void *)nvrtc.version, path, path_size);
}

int ccuda_nvrtc_version(int *major, int *minor) { return nvrtc.version(major, minor); }
const char *ccuda_nvrtc_error(int code) { return nvrtc.error(code); }

int ccuda_compile(
    const char *name, const char *text, const char *const *options, int option_count, void **cubin,
    size_t *cubin_bytes, char **log) {
  const char *headers[32], *header_names[32];
  int header_count = 0;
  for (size_t i = 0; i < ccuda_file_count() && header_count < 32; i++) {
    const ccuda_file file = ccuda_file_at(i);
    if (strstr(file.name, ".cuh") == NULL) continue;
    headers[header_count] = file.text;
    header_names[header_count++] = file.name;
  }
  *cubin = NULL;
  *log = NULL;
  void *program = NULL;
  int code = nvrtc.create(&program, text, name, header_count, headers, header_names);
  if (code != 0) return code;
  code = nvrtc.compile(program, option_count, options);
  size_t size = 0;
  if (nvrtc.log_size(program, &size) == 0 && size > 1) {
    *log = calloc(size + 1, 1);
    if (*log != NULL) nvrtc.log(program, *log);
  }
  if (code == 0) code = nvrtc.cubin_size(program, cubin_bytes);
  if (code == 0) {
    *cubin = malloc(*cubin_bytes + 1);
    code = *cubin == NULL ? 1 : nvrtc.cubin(program, *cubin);  // 1: out of memory
  }
  nvrtc.destroy(&program);
  return code;
}

void ccuda_free_text(void *memory) { free(memory); }
