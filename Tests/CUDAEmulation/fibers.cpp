#include "fibers.hpp"

#include <algorithm>
#include <cstdlib>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

Block block;

namespace {
const size_t stack_bytes = 64 * 1024;
const size_t shared_limit = 256 * 1024;
// No kernel may depend on what shared memory holds before it writes there. As float32 this is about
// -1.7e38, as bf16 the same, as an integer far outside every matrix.
const unsigned char poison = 0xFE;
}  // namespace

#if defined(__x86_64__)
// Saves the registers that a call keeps, and continues another stack where it did the same.
extern "C" void emulation_switch(void **from, void *to);
asm(R"(
.text
.globl emulation_switch
.type emulation_switch,@function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, .-emulation_switch
)");

static void *prepare_stack(unsigned char *stack, void (*entry)()) {
  // As if `entry` had been called: the stack is 16 bytes aligned before the return address.
  void **top = (void **)(((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15);
  *--top = nullptr;
  *--top = (void *)entry;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  return top;
}
#else
static void emulation_switch(void **from, void *to) {
  static thread_local ucontext_t first;
  if (*from == nullptr) *from = &first;
  swapcontext((ucontext_t *)*from, (ucontext_t *)to);
}

static void *prepare_stack(unsigned char *stack, void (*entry)()) {
  auto *context = (ucontext_t *)stack;
  getcontext(context);
  const size_t head = (sizeof(ucontext_t) + 63) / 64 * 64;
  context->uc_stack.ss_sp = stack + head;
  context->uc_stack.ss_size = stack_bytes - head;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

uint64_t Block::random() {
  // SplitMix64 (Steele, Lea & Flood 2014).
  uint64_t z = (random_state += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

void Block::enter() {
  block.body(block.context);
  block.fiber().has_ended = true;
  block.switch_to_scheduler();
}

void Block::switch_to_scheduler() {
  // While another fiber runs `thread` is another's; it is set again before this one continues.
  emulation_switch(&fibers[thread].stack_pointer, scheduler);
}

void Block::fail(const std::string &text) {
  failure = text;
  switch_to_scheduler();
  std::abort();
}

void Block::make_fiber(unsigned index) {
  Fiber &fiber = fibers[index];
  if (fiber.stack == nullptr) fiber.stack = (unsigned char *)std::aligned_alloc(64, stack_bytes);
  fiber.has_ended = false;
  fiber.open_copies.clear();
  fiber.groups.clear();
  fiber.barrier_count = 0;
  fiber.stack_pointer = prepare_stack(fiber.stack, enter);
}

void Block::run_grid(const unsigned (&grid)[3], unsigned threads, size_t shared_bytes,
                     void (*body)(void *), void *context, uint64_t seed,
                     cuda_emulation_fault fault) {
  if (threads == 0 || threads % 32 != 0 || threads > 1024)
    throw Fault("a block of " + std::to_string(threads) + " threads");
  if (shared_bytes > shared_limit)
    throw Fault(std::to_string(shared_bytes) + " bytes of shared memory");
  this->body = body;
  this->context = context;
  random_state = seed;
  this->fault = fault;
  thread_count = threads;
  if (fibers.size() < threads) fibers.resize(threads);
  std::copy(grid, grid + 3, grid_size);
  std::vector<uint64_t> order((uint64_t)grid[0] * grid[1] * grid[2]);
  for (uint64_t i = 0; i < order.size(); i++) {
    order[i] = i;
    std::swap(order[i], order[random() % (i + 1)]);
  }
  memory.resize(shared_limit + 128);
  for (uint64_t index : order) {
    block_index[0] = index % grid[0];
    block_index[1] = index / grid[0] % grid[1];
    block_index[2] = index / grid[0] / grid[1];
    const size_t shift = (128 - (uintptr_t)memory.data() % 128) % 128;
    dynamic_memory = memory.data() + shift;
    memory_used = shift + (shared_bytes + 127) / 128 * 128;
    std::memset(dynamic_memory, poison, shared_bytes);
    arrays.clear();
    run_block();
  }
}

void Block::run_block() {
  failure.clear();
  waiting_for_block.clear();
  warps.assign(thread_count / 32, Warp());
  runnable.clear();
  unsigned left = thread_count;
  for (unsigned i = 0; i < thread_count; i++) {
    make_fiber(i);
    runnable.push_back(i);
  }
  while (!runnable.empty()) {
    const size_t choice = random() % runnable.size();
    thread = runnable[choice];
    runnable[choice] = runnable.back();
    runnable.pop_back();
    emulation_switch(&scheduler, fibers[thread].stack_pointer);
    if (!failure.empty()) throw Fault(failure);
    if (fibers[thread].has_ended) left--;
  }
  if (left > 0)
    throw Fault(std::to_string(left) + " of " + std::to_string(thread_count) +
                " threads wait for others that ended or wait elsewhere");
}

void Block::sync_block() {
  const bool is_chosen = fiber().barrier_count++ == fault.number;
  if (is_chosen && fault.kind == cuda_emulation_skipped_barrier) return;
  if (is_chosen && fault.kind == cuda_emulation_divergent_barrier && thread % 2 == 0) return;
  waiting_for_block.push_back(thread);
  if (waiting_for_block.size() == thread_count) {
    runnable.insert(runnable.end(), waiting_for_block.begin(), waiting_for_block.end());
    waiting_for_block.clear();
  }
  switch_to_scheduler();
}

void Block::warp_operation(WarpOperation operation, void *operands) {
  Warp &warp = warps[thread / 32];
  if (!warp.waiting.empty() && warp.operation != operation)
    fail("lanes of a warp stand at different operations");
  warp.operation = operation;
  warp.operands[thread % 32] = operands;
  warp.waiting.push_back(thread);
  if (warp.waiting.size() == 32) {
    if (operation != nullptr) operation(warp.operands);
    runnable.insert(runnable.end(), warp.waiting.begin(), warp.waiting.end());
    warp.waiting.clear();
  }
  switch_to_scheduler();
}

unsigned char *Block::shared_array(const void *place, size_t bytes) {
  auto known = arrays.find(place);
  if (known != arrays.end()) return known->second;
  if (memory_used + bytes > shared_limit) fail("too much shared memory");
  unsigned char *address = memory.data() + memory_used;
  memory_used += (bytes + 15) / 16 * 16;
  std::memset(address, poison, bytes);
  arrays[place] = address;
  return address;
}

bool Block::is_in_shared_memory(const void *address) const {
  const auto *byte = (const unsigned char *)address;
  return byte >= memory.data() && byte + 16 <= memory.data() + memory_used;
}

}  // namespace emulation
