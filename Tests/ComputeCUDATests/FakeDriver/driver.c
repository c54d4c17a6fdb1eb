// A driver without a GPU, for tests: memory is the host's, and kernels go to a function that the
// test gives, or nowhere. Variables of the environment make it fail in the ways of real ones.
//
// Work of a usual stream is done when it is asked for. That of an urgent stream, which only fake NCCL
// queues, is done as late as it may be: when a usual stream waits for it.
#include <pthread.h>
#include <stdbool.h>
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
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int device_count;

// MARK: Streams

struct job {
  void (*run)(void *argument);
  void *argument;
};

struct stream {
  // The usual stream of the same thread, for an urgent one; NULL for a usual one.
  struct stream *usual;
  // Of a usual stream: how much was asked of it.
  unsigned long work;
  // Of an urgent stream: the work that it waits for.
  unsigned long followed;
  struct job jobs[1024];
  unsigned long first, end;
};

struct event {
  struct stream *stream;
  unsigned long position;
};

static __thread struct stream *usual_stream;
static _Atomic int lost_jobs;
static bool is_stuck;

/// Queues a job; false when the stream does not wait for all that its usual stream was asked before.
bool fake_enqueue(void *handle, void (*run)(void *), void *argument) {
  struct stream *stream = handle;
  if (stream->usual == NULL || stream->followed != stream->usual->work) return false;
  stream->jobs[stream->end++ % 1024] = (struct job){run, argument};
  return true;
}

static void work_off(struct stream *stream, unsigned long end) {
  while (stream->first < end) {
    struct job job = stream->jobs[stream->first++ % 1024];
    job.run(job.argument);
  }
}

/// Works off what is queued.
void fake_finish(void *handle) {
  struct stream *stream = handle;
  work_off(stream, stream->end);
}

/// Jobs that nobody waited for.
long fake_lost_jobs(void) { return lost_jobs; }
/// Work that never ends, as that of an exchange whose other side is gone.
void fake_set_stuck(bool stuck) { is_stuck = stuck; }
void fake_set_device_count(int count) { device_count = count; }

static int ask(void *handle) {
  struct stream *stream = handle;
  if (stream == NULL || stream->usual != NULL) return 400;
  stream->work++;
  return 0;
}

int cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  *least = 0;
  *greatest = -5;
  return 0;
}
int cuStreamCreateWithPriority(void **handle, unsigned flags, int priority) {
  struct stream *stream = calloc(1, sizeof *stream);
  if (priority < 0) {
    stream->usual = usual_stream;
  } else {
    usual_stream = stream;
  }
  *handle = stream;
  return flags == 1 ? 0 : 1;
}
int cuStreamDestroy_v2(void *handle) {
  struct stream *stream = handle;
  lost_jobs += (int)(stream->end - stream->first);
  free(stream);
  return 0;
}
int cuStreamSynchronize(void *stream) { return stream == NULL ? 400 : 0; }
int cuStreamQuery(void *stream) {
  static __thread unsigned asked;
  return is_stuck || asked++ % 3 != 0 ? 600 : 0;
}
int cuStreamWaitEvent(void *handle, void *event_handle, unsigned flags) {
  struct stream *stream = handle;
  struct event *event = event_handle;
  if (stream->usual != NULL) {
    if (event->stream != stream->usual) return 400;
    stream->followed = event->position;
    return 0;
  }
  struct stream *urgent = event->stream;
  if (urgent->usual != stream) return 400;
  work_off(urgent, event->position);
  return 0;
}

// MARK: The driver

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
  *count = device_count > 0 ? device_count : (int)setting("FAKE_COUNT", 1);
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
           : attribute == 33 ? device + 1
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
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  *total_bytes = (size_t)setting("FAKE_MEMORY", 80000000000);
  *free_bytes = *total_bytes - used;
  return 0;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  int code = 2;
  pthread_mutex_lock(&lock);
  // FAKE_ROOM is less than what the driver says is free: others took it since.
  const bool has_room = used + bytes <= (size_t)setting("FAKE_ROOM", 80000000000);
  for (size_t i = 0; has_room && i < sizeof allocations / sizeof allocations[0]; i++) {
    if (allocations[i].address != NULL) continue;
    allocations[i].address = aligned_alloc(256, (bytes + 255) / 256 * 256);
    allocations[i].bytes = bytes;
    used += bytes;
    if (used > peak) note_peak();
    *address = (uintptr_t)allocations[i].address;
    code = 0;
    break;
  }
  pthread_mutex_unlock(&lock);
  return code;
}
int cuMemFree_v2(uint64_t address) {
  int code = 1;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < sizeof allocations / sizeof allocations[0]; i++) {
    if (allocations[i].address != (void *)(uintptr_t)address) continue;
    used -= allocations[i].bytes;
    free(allocations[i].address);
    allocations[i].address = NULL;
    code = 0;
    break;
  }
  pthread_mutex_unlock(&lock);
  return code;
}
static _Atomic int host_allocations;
int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
  *address = calloc(1, bytes);
  host_allocations++;
  return flags == 1 ? 0 : 1;
}
int cuMemFreeHost(void *address) {
  free(address);
  host_allocations--;
  return 0;
}
long fake_host_allocation_count(void) { return host_allocations; }
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t count, void *stream) {
  memset((void *)(uintptr_t)address, value, count);
  return ask(stream);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, from, bytes);
  return ask(stream);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  memcpy(to, (void *)(uintptr_t)from, bytes);
  return ask(stream);
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
  return ask(stream);
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
  if (by != 1 || bz != 1 || extra != NULL || ask(stream) != 0) return 1;
  static _Atomic long long launched;
  // A GPU that falls off the bus.
  if (++launched > setting("FAKE_LOST_AFTER", 1LL << 60)) return 719;
  // Limits of real grids.
  if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || bx > 1024) return 1;
  const unsigned grid[3] = {gx, gy, gz};
  return launch == NULL ? 0 : launch(function, grid, bx, shared_bytes, arguments);
}
static _Atomic int events;
int cuEventCreate(void **event, unsigned flags) {
  *event = calloc(1, sizeof(struct event));
  events++;
  return 0;
}
int cuEventRecord(void *handle, void *stream_handle) {
  struct stream *stream = stream_handle;
  struct event *event = handle;
  event->stream = stream;
  event->position = stream->usual == NULL ? stream->work : stream->end;
  return 0;
}
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
long fake_event_count(void) { return events; }
