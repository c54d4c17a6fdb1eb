#ifndef CMPI_H
#define CMPI_H

#include <stdbool.h>
#include <stddef.h>

// Open MPI, opened at run time with dlopen.
//
// The program is not linked to libmpi: one rank needs no MPI, and the same binary starts on a
// machine without it. Functions return MPI's code: 0 is success, any other goes to
// cmpi_error_text. A communicator is an opaque pointer.

typedef void *cmpi_communicator;

/// One message of cmpi_exchange.
typedef struct {
  void *buffer;
  int byte_count;
  int peer;
  bool is_send;
} cmpi_message;

/// Opens `library` (a path or a soname) and finds every function and handle that is used here.
/// Returns false, with the reason in `message`, when it cannot be used.
bool cmpi_open(const char *library, char *message, size_t message_size);

/// MPI_Init_thread with MPI_THREAD_MULTIPLE; `has_threads` tells whether that was granted.
int cmpi_initialize(bool *has_threads);
int cmpi_finalize(void);
/// Ends all ranks; does not return unless MPI is not running.
void cmpi_abort(int code);

/// The communicator of all ranks, with errors returned rather than fatal.
int cmpi_world(cmpi_communicator *world);
/// A new communicator of the ranks that pass the same color, in the order of their ranks.
int cmpi_split(cmpi_communicator parent, int color, cmpi_communicator *child);
int cmpi_free(cmpi_communicator communicator);

int cmpi_rank(cmpi_communicator communicator, int *rank, int *size);
/// Rank and size among the ranks that share this host's memory.
int cmpi_local_rank(cmpi_communicator communicator, int *rank, int *size);

int cmpi_barrier(cmpi_communicator communicator);
int cmpi_broadcast(cmpi_communicator communicator, void *bytes, int byte_count, int root);
/// Gathers in place: this rank's bytes already lie at its offset. A patient caller sleeps while it
/// waits, for threads that work beside a computation.
int cmpi_all_gather(
    cmpi_communicator communicator, void *bytes, const int *byte_counts, const int *offsets,
    bool is_patient);
/// Starts all messages, then waits for all. Messages of one pair of ranks keep their order.
int cmpi_exchange(
    cmpi_communicator communicator, const cmpi_message *messages, int count, bool is_patient);

/// Whether the kernel lets this process call process_vm_readv (containers may filter it).
bool cmpi_can_read_process_memory(void);

/// prctl(PR_SET_PDEATHSIG): the kernel sends this process `signal` when its parent ends.
bool cmpi_end_with_parent(int signal);

void cmpi_error_text(int code, char *text, size_t text_size);

#endif
