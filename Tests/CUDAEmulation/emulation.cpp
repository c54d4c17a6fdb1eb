// The kernels of Sources/CCUDA, compiled for the CPU, by name.
#include "include/CUDAEmulation.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "kernels.hpp"

namespace {

/// A kernel and the arguments of one launch.
struct Launch {
  void (*call)(void (*kernel)(), void **arguments);
  void (*kernel)();
  void **arguments;
};

template <class... A, size_t... index>
void call_with(void (*kernel)(A...), void **arguments, std::index_sequence<index...>) {
  kernel(*(std::decay_t<A> *)arguments[index]...);
}
template <class... A>
Launch launch(void (*kernel)(A...)) {
  return {[](void (*kernel)(), void **arguments) {
            call_with((void (*)(A...))kernel, arguments, std::index_sequence_for<A...>());
          },
          (void (*)())kernel, nullptr};
}

const std::map<std::string, Launch> &kernels() {
#define ENTRY(name) {#name, launch(name)},
  static const std::map<std::string, Launch> table = {KERNELS(ENTRY)};
  return table;
}

// There is one block at a time; tests may run on several threads.
std::mutex mutex;

size_t page_rounded(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

}  // namespace

bool cuda_emulation_launch(const char *kernel, cuda_emulation_size grid, unsigned threads,
                           size_t shared_bytes, void **arguments, unsigned long long seed,
                           cuda_emulation_fault fault, char *message, size_t message_size) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = kernels().find(kernel);
  if (found == kernels().end()) {
    std::snprintf(message, message_size, "%s: no such kernel in the emulation", kernel);
    return false;
  }
  Launch launch = found->second;
  launch.arguments = arguments;
  try {
    emulation::block.run_grid(
        {grid.x, grid.y, grid.z}, threads, shared_bytes,
        [](void *context) {
          auto *launch = (Launch *)context;
          launch->call(launch->kernel, launch->arguments);
        },
        &launch, seed, fault);
    return true;
  } catch (const emulation::Fault &fault) {
    std::snprintf(message, message_size, "%s: %s", kernel, fault.what());
    return false;
  }
}

void *cuda_emulation_allocate(size_t bytes) {
  const size_t rounded = page_rounded(bytes), page = (size_t)sysconf(_SC_PAGESIZE);
  void *address = mmap(nullptr, rounded + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  mprotect((char *)address + rounded, page, PROT_NONE);
  // Aligned to 16 bytes, so that up to 15 bytes beyond the end are not noticed.
  return (char *)address + (rounded - (bytes + 15) / 16 * 16);
}

void cuda_emulation_free(void *address, size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  munmap((void *)((uintptr_t)address / page * page), page_rounded(bytes) + page);
}
