#include "CCUDA.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Types and names as in NVIDIA's nccl.h of 2.18; they have not changed since.
typedef struct {
  char bytes[CCUDA_NCCL_ID_BYTES];
} unique_id;

// NCCL takes as many bytes as `size` says and its own values for the rest.
typedef struct {
  size_t size;
  unsigned magic, version;
  int blocking, cluster_size, minimum_blocks, maximum_blocks;
  const char *network;
  int shares_on_split;
} configuration;

enum { type_int8 = 0, code_in_progress = 7 };

struct ccuda_nccl {
  int (*version)(int *version);
  int (*make_id)(unique_id *id);
  const char *(*error_text)(int code);
  const char *(*last_error)(void *communicator);
  int (*init)(void **communicator, int count, unique_id id, int rank, configuration *settings);
  int (*state)(void *communicator, int *code);
  int (*finalize)(void *communicator);
  int (*destroy)(void *communicator);
  int (*abort)(void *communicator);
  int (*group_start)(void);
  int (*group_end)(void);
  int (*send)(const void *from, size_t count, int type, int peer, void *communicator, void *stream);
  int (*receive)(void *to, size_t count, int type, int peer, void *communicator, void *stream);
  int (*broadcast)(
      const void *from, void *to, size_t count, int type, int root, void *communicator,
      void *stream);
  int (*all_gather)(
      const void *from, void *to, size_t count, int type, void *communicator, void *stream);
};

ccuda_nccl *ccuda_nccl_open(const char *library, char *message, size_t message_size) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    const char *reason = dlerror();
    snprintf(message, message_size, "%s", reason == NULL ? "dlopen failed" : reason);
    return NULL;
  }
  ccuda_nccl *nccl = calloc(1, sizeof *nccl);
  if (nccl == NULL) {
    snprintf(message, message_size, "no memory");
    return NULL;
  }
  const struct {
    const char *name;
    void *place;
  } functions[] = {
      {"ncclGetVersion", &nccl->version},
      {"ncclGetUniqueId", &nccl->make_id},
      {"ncclGetErrorString", &nccl->error_text},
      {"ncclGetLastError", &nccl->last_error},
      {"ncclCommInitRankConfig", &nccl->init},
      {"ncclCommGetAsyncError", &nccl->state},
      {"ncclCommFinalize", &nccl->finalize},
      {"ncclCommDestroy", &nccl->destroy},
      {"ncclCommAbort", &nccl->abort},
      {"ncclGroupStart", &nccl->group_start},
      {"ncclGroupEnd", &nccl->group_end},
      {"ncclSend", &nccl->send},
      {"ncclRecv", &nccl->receive},
      {"ncclBroadcast", &nccl->broadcast},
      {"ncclAllGather", &nccl->all_gather},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    void *address = dlsym(handle, functions[i].name);
    if (address == NULL) {
      snprintf(
          message, message_size, "it has no function %s; it may be too old", functions[i].name);
      free(nccl);
      return NULL;
    }
    memcpy(functions[i].place, &address, sizeof address);
  }
  return nccl;
}

void ccuda_nccl_close(ccuda_nccl *nccl) { free(nccl); }

void ccuda_nccl_path(const ccuda_nccl *nccl, char *path, size_t path_size) {
  ccuda_path_of((void *)nccl->version, path, path_size);
}

int ccuda_nccl_version(const ccuda_nccl *nccl) {
  int version = 0;
  return nccl->version(&version) == 0 ? version : 0;
}

int ccuda_nccl_make_id(const ccuda_nccl *nccl, unsigned char id[CCUDA_NCCL_ID_BYTES]) {
  unique_id made;
  const int code = nccl->make_id(&made);
  if (code == 0) memcpy(id, made.bytes, sizeof made.bytes);
  return code;
}

void ccuda_nccl_error(const ccuda_nccl *nccl, int code, char *text, size_t text_size) {
  const char *meaning = nccl->error_text(code), *detail = nccl->last_error(NULL);
  const bool has_detail = detail != NULL && detail[0] != 0;
  snprintf(
      text, text_size, "%s (%d)%s%s", meaning == NULL ? "unknown" : meaning, code,
      has_detail ? ": " : "", has_detail ? detail : "");
}

int ccuda_nccl_init(
    const ccuda_nccl *nccl, void **communicator, int rank_count,
    const unsigned char id[CCUDA_NCCL_ID_BYTES], int rank, int maximum_blocks) {
  configuration settings = {
      .size = sizeof settings, .magic = 0xcafebeef, .version = 21800, .blocking = 0,
      .cluster_size = INT_MIN, .minimum_blocks = INT_MIN, .maximum_blocks = maximum_blocks,
      .network = NULL, .shares_on_split = INT_MIN};
  unique_id copy;
  memcpy(copy.bytes, id, sizeof copy.bytes);
  return nccl->init(communicator, rank_count, copy, rank, &settings);
}

int ccuda_nccl_state(const ccuda_nccl *nccl, void *communicator) {
  int code = 0;
  const int outcome = nccl->state(communicator, &code);
  return outcome != 0 && outcome != code_in_progress ? outcome : code;
}

int ccuda_nccl_finalize(const ccuda_nccl *nccl, void *communicator) {
  return nccl->finalize(communicator);
}

int ccuda_nccl_destroy(const ccuda_nccl *nccl, void *communicator) {
  return nccl->destroy(communicator);
}

int ccuda_nccl_abort(const ccuda_nccl *nccl, void *communicator) {
  return nccl->abort(communicator);
}

int ccuda_nccl_group_start(const ccuda_nccl *nccl) { return nccl->group_start(); }
int ccuda_nccl_group_end(const ccuda_nccl *nccl) { return nccl->group_end(); }

int ccuda_nccl_send(
    const ccuda_nccl *nccl, void *communicator, const void *from, size_t byte_count, int peer,
    void *stream) {
  return nccl->send(from, byte_count, type_int8, peer, communicator, stream);
}

int ccuda_nccl_receive(
    const ccuda_nccl *nccl, void *communicator, void *to, size_t byte_count, int peer,
    void *stream) {
  return nccl->receive(to, byte_count, type_int8, peer, communicator, stream);
}

int ccuda_nccl_broadcast(
    const ccuda_nccl *nccl, void *communicator, const void *from, void *to, size_t byte_count,
    int root, void *stream) {
  return nccl->broadcast(from, to, byte_count, type_int8, root, communicator, stream);
}

int ccuda_nccl_all_gather(
    const ccuda_nccl *nccl, void *communicator, const void *from, void *to, size_t byte_count,
    void *stream) {
  return nccl->all_gather(from, to, byte_count, type_int8, communicator, stream);
}
