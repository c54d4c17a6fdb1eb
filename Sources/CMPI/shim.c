#define _GNU_SOURCE  // process_vm_readv

#include "CMPI.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if !__has_include(<mpi.h>)
#error "mpi.h was not found: apt-get install libopenmpi-dev (or add its folder to Package.swift)"
#endif
#include <mpi.h>

#ifndef OPEN_MPI
#error "this mpi.h is not Open MPI's: apt-get install libopenmpi-dev"
#endif

// Only the types of <mpi.h> are used below. Its handles (MPI_COMM_WORLD, MPI_BYTE, ...) are
// addresses of symbols of the library, so they too are looked up at run time.

#define FUNCTIONS(X)                                                                               \
  X(Init_thread) X(Finalize) X(Abort) X(Get_library_version) X(Error_string)                       \
  X(Comm_set_errhandler) X(Comm_split) X(Comm_split_type) X(Comm_free) X(Comm_rank) X(Comm_size)   \
  X(Barrier) X(Bcast) X(Iallgatherv) X(Isend) X(Irecv) X(Wait) X(Test)

static struct {
#define DECLARE(name) __typeof__(MPI_##name) *name;
  FUNCTIONS(DECLARE)
#undef DECLARE
  MPI_Comm world;
  MPI_Datatype byte;
  MPI_Errhandler errors_return;
  MPI_Info info_null;
} mpi;

/// Any tag does: messages of one pair and one communicator keep their order.
static const int message_tag = 17;

static bool find(void *library, const char *name, void **address, char *message, size_t size) {
  *address = dlsym(library, name);
  if (*address == NULL) snprintf(message, size, "it has no symbol %s (not Open MPI?)", name);
  return *address != NULL;
}

bool cmpi_open(const char *library, char *message, size_t message_size) {
  // Global: Open MPI's plugins look for libmpi's symbols in the global scope.
  void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (handle == NULL) {
    const char *reason = dlerror();
    snprintf(message, message_size, "%s", reason == NULL ? "dlopen failed" : reason);
    return false;
  }
  void *address;
#define FIND(name)                                                                                 \
  if (!find(handle, "MPI_" #name, &address, message, message_size)) return false;                  \
  mpi.name = (__typeof__(MPI_##name) *)address;
  FUNCTIONS(FIND)
#undef FIND

  char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (mpi.Get_library_version(version, &length) != MPI_SUCCESS
      || strncmp(version, "Open MPI", strlen("Open MPI")) != 0) {
    version[strcspn(version, "\n")] = 0;
    snprintf(message, message_size, "it is not Open MPI but \"%.60s\"", version);
    return false;
  }
  struct { const char *name; void **handle; } handles[] = {
      {"ompi_mpi_comm_world", (void **)&mpi.world},
      {"ompi_mpi_byte", (void **)&mpi.byte},
      {"ompi_mpi_errors_return", (void **)&mpi.errors_return},
      {"ompi_mpi_info_null", (void **)&mpi.info_null},
  };
  for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
    if (!find(handle, handles[i].name, handles[i].handle, message, message_size)) return false;
  }
  return true;
}

int cmpi_initialize(bool *has_threads) {
  int provided = MPI_THREAD_SINGLE;
  int code = mpi.Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
  *has_threads = provided == MPI_THREAD_MULTIPLE;
  return code;
}

int cmpi_finalize(void) { return mpi.Finalize(); }

void cmpi_abort(int code) {
  if (mpi.Abort != NULL) mpi.Abort(mpi.world, code);
}

int cmpi_world(cmpi_communicator *world) {
  *world = mpi.world;
  return mpi.Comm_set_errhandler(mpi.world, mpi.errors_return);
}

int cmpi_split(cmpi_communicator parent, int color, cmpi_communicator *child) {
  MPI_Comm result = NULL;
  int code = mpi.Comm_split(parent, color, 0, &result);
  if (code == MPI_SUCCESS) code = mpi.Comm_set_errhandler(result, mpi.errors_return);
  *child = result;
  return code;
}

int cmpi_free(cmpi_communicator communicator) {
  MPI_Comm freed = communicator;
  return mpi.Comm_free(&freed);
}

int cmpi_rank(cmpi_communicator communicator, int *rank, int *size) {
  int code = mpi.Comm_rank(communicator, rank);
  return code == MPI_SUCCESS ? mpi.Comm_size(communicator, size) : code;
}

int cmpi_local_rank(cmpi_communicator communicator, int *rank, int *size) {
  MPI_Comm host = NULL;
  int code = mpi.Comm_split_type(communicator, MPI_COMM_TYPE_SHARED, 0, mpi.info_null, &host);
  if (code != MPI_SUCCESS) return code;
  code = cmpi_rank(host, rank, size);
  int free_code = mpi.Comm_free(&host);
  return code == MPI_SUCCESS ? free_code : code;
}

int cmpi_barrier(cmpi_communicator communicator) { return mpi.Barrier(communicator); }

int cmpi_broadcast(cmpi_communicator communicator, void *bytes, int byte_count, int root) {
  return mpi.Bcast(bytes, byte_count, mpi.byte, root, communicator);
}

/// Waits for a request. MPI_Wait turns in circles on a core; a patient thread sleeps between looks,
/// so that the core computes. Open MPI moves data only while somebody looks.
static int wait_for(MPI_Request *request, bool is_patient) {
  if (!is_patient) return mpi.Wait(request, MPI_STATUS_IGNORE);
  long nanoseconds = 10 * 1000;
  for (;;) {
    int is_done = 0;
    int code = mpi.Test(request, &is_done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS || is_done) return code;
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
    if (nanoseconds < 200 * 1000) nanoseconds *= 2;
  }
}

int cmpi_all_gather(
    cmpi_communicator communicator, void *bytes, const int *byte_counts, const int *offsets,
    bool is_patient) {
  MPI_Request request;
  int code = mpi.Iallgatherv(
      MPI_IN_PLACE, 0, mpi.byte, bytes, byte_counts, offsets, mpi.byte, communicator, &request);
  return code == MPI_SUCCESS ? wait_for(&request, is_patient) : code;
}

int cmpi_exchange(
    cmpi_communicator communicator, const cmpi_message *messages, int count, bool is_patient) {
  if (count == 0) return MPI_SUCCESS;
  MPI_Request *requests = calloc((size_t)count, sizeof *requests);
  if (requests == NULL) return MPI_ERR_NO_MEM;
  int code = MPI_SUCCESS;
  int started = 0;
  // Receives first, so that what arrives has a place to go.
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < count && code == MPI_SUCCESS; i++) {
      const cmpi_message *m = &messages[i];
      if (m->is_send != (pass == 1)) continue;
      code = m->is_send
          ? mpi.Isend(m->buffer, m->byte_count, mpi.byte, m->peer, message_tag, communicator,
                      &requests[started])
          : mpi.Irecv(m->buffer, m->byte_count, mpi.byte, m->peer, message_tag, communicator,
                      &requests[started]);
      if (code == MPI_SUCCESS) started++;
    }
  }
  // After a failure the job ends, so nothing waits for the messages that were started.
  for (int i = 0; i < started && code == MPI_SUCCESS; i++) {
    code = wait_for(&requests[i], is_patient);
  }
  free(requests);
  return code;
}

bool cmpi_can_read_process_memory(void) {
  char from = 1, to = 0;
  struct iovec remote = {&from, 1}, local = {&to, 1};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 && to == 1;
}

bool cmpi_end_with_parent(int signal) {
  return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0, 0, 0) == 0;
}

void cmpi_error_text(int code, char *text, size_t text_size) {
  char buffer[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (mpi.Error_string == NULL || mpi.Error_string(code, buffer, &length) != MPI_SUCCESS) {
    snprintf(buffer, sizeof buffer, "MPI error %d", code);
  }
  snprintf(text, text_size, "%s", buffer);
}
