// Threads of a block as fibers of one thread: each has a stack, and only barriers switch between
// them. Which fiber runs next is drawn from a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "include/CUDAEmulation.h"

namespace emulation {

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a copy on the side will do when it is waited for.
struct Copy {
  unsigned char *to;
  const unsigned char *from;  // Null writes zeros.
};

/// An operation of all lanes of a warp: each lane gives the address of its operands.
using WarpOperation = void (*)(void **lanes);

struct Fiber {
  void *stack_pointer = nullptr;
  unsigned char *stack = nullptr;
  bool has_ended = false;
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> groups;
  unsigned barrier_count = 0;
};

/// The block that runs.
class Block {
 public:
  unsigned thread = 0;
  unsigned block_index[3] = {}, grid_size[3] = {}, thread_count = 0;
  unsigned char *dynamic_memory = nullptr;

  /// Runs every block of a grid, in an order drawn from the seed.
  void run_grid(const unsigned (&grid)[3], unsigned threads, size_t shared_bytes, void (*body)(void *),
                void *context, uint64_t seed, cuda_emulation_fault fault);

  void sync_block();
  /// Groups of copies that a wait leaves on their way, with the fault that is planted.
  size_t pending_groups(size_t asked) const {
    return asked + (fault.kind == cuda_emulation_early_wait ? 1 : 0);
  }
  /// Waits for all lanes of the warp; the last to come runs the operation for all.
  void warp_operation(WarpOperation operation, void *operands);
  /// Shared memory of one place in the source.
  unsigned char *shared_array(const void *place, size_t bytes);
  bool is_in_shared_memory(const void *address) const;
  uint64_t random();
  Fiber &fiber() { return fibers[thread]; }
  /// Ends the launch: the fiber that finds the fault never goes on.
  [[noreturn]] void fail(const std::string &text);

 private:
  struct Warp {
    std::vector<unsigned> waiting;
    WarpOperation operation = nullptr;
    void *operands[32] = {};
  };

  std::vector<Fiber> fibers;
  std::vector<unsigned> runnable;
  std::vector<unsigned> waiting_for_block;
  std::vector<Warp> warps;
  std::vector<unsigned char> memory;
  size_t memory_used = 0;
  std::map<const void *, unsigned char *> arrays;
  void *scheduler = nullptr;
  void (*body)(void *) = nullptr;
  void *context = nullptr;
  uint64_t random_state = 0;
  std::string failure;
  cuda_emulation_fault fault = {};

  void run_block();
  void make_fiber(unsigned index);
  void switch_to_scheduler();
  static void enter();
};

extern Block block;

}  // namespace emulation
