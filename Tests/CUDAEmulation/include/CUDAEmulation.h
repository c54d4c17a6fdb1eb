#ifndef CUDA_EMULATION_H
#define CUDA_EMULATION_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Three numbers of a launch.
typedef struct {
  unsigned x, y, z;
} cuda_emulation_size;

/// A mistake that is made on purpose, to see that it is found.
typedef enum {
  cuda_emulation_no_fault,
  /// Threads pass the barrier of this number, counted from 0 in each thread.
  cuda_emulation_skipped_barrier,
  /// A thread that waits for copies leaves one group more on its way.
  cuda_emulation_early_wait,
  /// Half of the threads of a block leave one barrier out, so that they do not meet again.
  cuda_emulation_divergent_barrier,
} cuda_emulation_fault_kind;

typedef struct {
  cuda_emulation_fault_kind kind;
  unsigned number;
} cuda_emulation_fault;

/// Runs a kernel on this thread, one fiber for each CUDA thread, in an order drawn from `seed`.
///
/// Arguments are passed as to cuLaunchKernel: the address of each. Returns false, with the reason in
/// `message`, when there is no such kernel or the threads of a block do not meet at a barrier.
bool cuda_emulation_launch(
    const char *kernel, cuda_emulation_size grid, unsigned threads, size_t shared_bytes,
    void **arguments, unsigned long long seed, cuda_emulation_fault fault, char *message,
    size_t message_size);

/// Memory that ends where a page ends that cannot be touched; filled with bytes that make no
/// sensible number. NULL when there is none.
void *cuda_emulation_allocate(size_t bytes);
void cuda_emulation_free(void *address, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
