// NCCL between threads of one process, for tests, over the streams of the fake driver. What is
// received is poisoned until the stream does the work, and what is sent is read no sooner.
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { code_in_progress = 7, code_remote = 6, code_usage = 5, most_ranks = 8 };

typedef struct {
  char bytes[128];
} unique_id;

struct part {
  enum { part_send, part_receive, part_broadcast, part_gather } kind;
  const char *from;
  char *to;
  size_t count;
  int peer;
};

struct call {
  struct communicator *communicator;
  int part_count;
  struct part parts[2 * most_ranks];
};

// What one rank has sent to another and it has not taken.
struct mail {
  const char *from;
  size_t count;
  bool is_full;
};

// The ranks of one identifier.
struct meeting {
  struct mail mail[most_ranks][most_ranks];
  unique_id id;
  int rank_count, arrived_count;
  struct communicator *ranks[most_ranks];
  // Calls of the ranks that have come so far, and how often all of them have.
  struct call *calls[most_ranks];
  int present, rounds;
  bool is_broken;
  struct meeting *next;
};

struct communicator {
  struct meeting *meeting;
  int rank, looks, code;
  // The last one that was used.
  void *stream;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct meeting *meetings;
static __thread int depth;
static __thread struct call *open_call;
static __thread void *open_stream;
// After so many calls of rank 1 its link is cut; 0 for never.
static int calls_until_cut;
static _Atomic int communicator_count;

// Whether what is queued at the end is dropped: what it works on is gone where nobody waited.
static int drops_at_end;
void fake_nccl_drop_at_end(int drops) { drops_at_end = drops; }
void fake_nccl_cut_after(int calls) { calls_until_cut = calls; }
long fake_nccl_communicator_count(void) { return communicator_count; }

static void set_stuck(bool is_stuck) {
  void (*set)(bool) = (void (*)(bool))dlsym(RTLD_DEFAULT, "fake_set_stuck");
  if (set != NULL) set(is_stuck);
}

int ncclGetVersion(int *version) {
  const char *text = getenv("FAKE_NCCL_VERSION"), *rank = getenv("OMPI_COMM_WORLD_RANK");
  *version = text == NULL ? 22809 : atoi(text);
  // Hosts with different versions.
  if (getenv("FAKE_NCCL_DIFFERS") != NULL && rank != NULL) *version += 100 * atoi(rank);
  return 0;
}
int ncclGetUniqueId(unique_id *id) {
  static _Atomic int made;
  memset(id, 0, sizeof *id);
  snprintf(id->bytes, sizeof id->bytes, "identifier %d of %p", ++made, (void *)id);
  return 0;
}
const char *ncclGetErrorString(int code) {
  return code == code_remote ? "remote process exited or there was a network error" : "an error";
}
const char *ncclGetLastError(void *communicator) { return "what NCCL says"; }

int ncclCommInitRankConfig(void **handle, int count, unique_id id, int rank, int *settings) {
  const char *log = getenv("FAKE_NCCL_LOG");
  if (log != NULL) {
    // What arrived, for a test of processes; nothing is made then.
    char path[512];
    snprintf(path, sizeof path, "%s-%d", log, rank);
    FILE *file = fopen(path, "w");
    fprintf(file, "%d %s", count, id.bytes);
    fclose(file);
    return 2;
  }
  // size, magic, version, blocking, cluster_size, minimum_blocks, maximum_blocks
  if (settings[2] == 0 || settings[4] != 0 || settings[7] < 1 || count > most_ranks) return 4;
  pthread_mutex_lock(&lock);
  struct meeting *meeting = meetings;
  while (meeting != NULL && memcmp(&meeting->id, &id, sizeof id) != 0) meeting = meeting->next;
  if (meeting == NULL) {
    meeting = calloc(1, sizeof *meeting);
    meeting->id = id;
    meeting->rank_count = count;
    meeting->next = meetings;
    meetings = meeting;
  }
  struct communicator *communicator = calloc(1, sizeof *communicator);
  *communicator = (struct communicator){.meeting = meeting, .rank = rank};
  meeting->ranks[rank] = communicator;
  meeting->arrived_count++;
  communicator_count++;
  pthread_mutex_unlock(&lock);
  *handle = communicator;
  return code_in_progress;
}

int ncclCommGetAsyncError(void *handle, int *code) {
  struct communicator *communicator = handle;
  pthread_mutex_lock(&lock);
  const bool is_here = communicator->meeting->arrived_count == communicator->meeting->rank_count;
  if (communicator->looks > 0) communicator->looks--;
  *code = communicator->code != 0 ? communicator->code
          : !is_here || communicator->looks > 0 ? code_in_progress
                                                : 0;
  pthread_mutex_unlock(&lock);
  return 0;
}
int ncclCommFinalize(void *handle) {
  struct communicator *communicator = handle;
  void (*finish)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "fake_finish");
  if (communicator->code == 0 && communicator->stream != NULL && !drops_at_end)
    finish(communicator->stream);
  return communicator->code;
}
int ncclCommDestroy(void *handle) {
  communicator_count--;
  return 0;
}
int ncclCommAbort(void *handle) {
  struct communicator *communicator = handle;
  pthread_mutex_lock(&lock);
  communicator->meeting->is_broken = true;
  for (int i = 0; i < communicator->meeting->rank_count; i++) {
    struct communicator *other = communicator->meeting->ranks[i];
    if (other != NULL && other->code == 0) other->code = code_remote;
  }
  communicator_count--;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  set_stuck(false);
  return 0;
}

// MARK: Calls

/// Waits until every rank has come with its call.
static bool meet(struct meeting *meeting, int rank, struct call *call) {
  pthread_mutex_lock(&lock);
  const int round = meeting->rounds;
  meeting->calls[rank] = call;
  if (++meeting->present == meeting->rank_count) {
    meeting->present = 0;
    meeting->rounds++;
    pthread_cond_broadcast(&changed);
  }
  while (meeting->rounds == round && !meeting->is_broken) pthread_cond_wait(&changed, &lock);
  const bool is_whole = !meeting->is_broken;
  pthread_mutex_unlock(&lock);
  return is_whole;
}

static void fail(struct communicator *communicator, int code) {
  pthread_mutex_lock(&lock);
  communicator->code = code;
  communicator->meeting->is_broken = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/// Broadcasts and gathers, for which every rank comes.
static void take(struct call *own, const struct part *part) {
  struct meeting *meeting = own->communicator->meeting;
  for (int peer = 0; peer < meeting->rank_count; peer++) {
    if (part->kind == part_broadcast && peer != part->peer) continue;
    const struct part *given = NULL;
    for (int i = 0; i < meeting->calls[peer]->part_count && given == NULL; i++) {
      const struct part *other = &meeting->calls[peer]->parts[i];
      if (other->kind == part->kind && other->peer == part->peer) given = other;
    }
    if (given == NULL || given->count != part->count) {
      fail(own->communicator, code_usage);
    } else {
      const size_t offset = part->kind == part_gather ? peer * part->count : 0;
      memmove(part->to + offset, given->from, part->count);
    }
  }
}

/// Sends and receives, which concern two ranks each.
static void swap(struct call *call) {
  struct communicator *communicator = call->communicator;
  struct meeting *meeting = communicator->meeting;
  const int rank = communicator->rank;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < call->part_count; i++) {
    const struct part *part = &call->parts[i];
    if (part->kind == part_send)
      meeting->mail[rank][part->peer] = (struct mail){part->from, part->count, true};
  }
  pthread_cond_broadcast(&changed);
  for (int i = 0; i < call->part_count; i++) {
    const struct part *part = &call->parts[i];
    if (part->kind != part_receive) continue;
    struct mail *mail = &meeting->mail[part->peer][rank];
    while (!mail->is_full && !meeting->is_broken) pthread_cond_wait(&changed, &lock);
    if (meeting->is_broken) break;
    if (mail->count == part->count) {
      memcpy(part->to, mail->from, part->count);
    } else {
      communicator->code = code_usage;
      meeting->is_broken = true;
    }
    mail->is_full = false;
    pthread_cond_broadcast(&changed);
  }
  // What is sent may change only when it has been read.
  for (int i = 0; i < call->part_count; i++) {
    const struct part *part = &call->parts[i];
    if (part->kind != part_send) continue;
    while (meeting->mail[rank][part->peer].is_full && !meeting->is_broken)
      pthread_cond_wait(&changed, &lock);
  }
  pthread_mutex_unlock(&lock);
}

static void run(void *argument) {
  struct call *call = argument;
  struct communicator *communicator = call->communicator;
  if (communicator->rank == 1 && calls_until_cut > 0 && --calls_until_cut == 0) {
    set_stuck(true);
    fail(communicator, code_remote);
  } else if (call->parts[0].kind == part_send || call->parts[0].kind == part_receive) {
    swap(call);
  } else if (meet(communicator->meeting, communicator->rank, call)) {
    for (int i = 0; i < call->part_count; i++) take(call, &call->parts[i]);
    // What is sent may change only when all have read it.
    meet(communicator->meeting, communicator->rank, call);
  }
  free(call);
}

static void poison(struct communicator *communicator, const struct part *part) {
  if (part->kind == part_send) return;
  const int pieces = part->kind == part_gather ? communicator->meeting->rank_count : 1;
  for (int i = 0; i < pieces; i++) {
    char *piece = part->to + (size_t)i * part->count;
    if (piece != part->from) memset(piece, 0xff, part->count);
  }
}

static int queue(struct call *call, void *stream) {
  bool (*enqueue)(void *, void (*)(void *), void *) =
      (bool (*)(void *, void (*)(void *), void *))dlsym(RTLD_DEFAULT, "fake_enqueue");
  struct communicator *communicator = call->communicator;
  for (int i = 0; i < call->part_count; i++) poison(communicator, &call->parts[i]);
  if (enqueue == NULL || !enqueue(stream, run, call)) return code_usage;
  communicator->looks = 3;
  communicator->stream = stream;
  return code_in_progress;
}

static int add(void *communicator, void *stream, struct part part) {
  struct call *call = open_call;
  if (call == NULL) {
    call = calloc(1, sizeof *call);
    call->communicator = communicator;
  }
  if (call->communicator != communicator || call->part_count == 2 * most_ranks) return code_usage;
  call->parts[call->part_count++] = part;
  if (depth == 0) return queue(call, stream);
  open_call = call;
  open_stream = stream;
  return 0;
}

int ncclGroupStart(void) {
  depth++;
  return 0;
}
int ncclGroupEnd(void) {
  struct call *call = open_call;
  if (--depth > 0 || call == NULL) return 0;
  open_call = NULL;
  return queue(call, open_stream);
}
int ncclSend(const void *from, size_t count, int type, int peer, void *communicator, void *stream) {
  return add(communicator, stream, (struct part){part_send, from, NULL, count, peer});
}
int ncclRecv(void *to, size_t count, int type, int peer, void *communicator, void *stream) {
  return add(communicator, stream, (struct part){part_receive, NULL, to, count, peer});
}
int ncclBroadcast(
    const void *from, void *to, size_t count, int type, int root, void *communicator,
    void *stream) {
  return add(communicator, stream, (struct part){part_broadcast, from, to, count, root});
}
int ncclAllGather(
    const void *from, void *to, size_t count, int type, void *communicator, void *stream) {
  return add(communicator, stream, (struct part){part_gather, from, to, count, 0});
}
