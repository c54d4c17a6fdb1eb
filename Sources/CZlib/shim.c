#include "CZlib.h"

#include <stdlib.h>
#include <zlib.h>

struct czlib_inflater {
  z_stream stream;
};

czlib_inflater *czlib_open(void) {
  czlib_inflater *inflater = calloc(1, sizeof *inflater);
  // 15 bits of window as every gzip has, 16 for gzip's header and checksum.
  if (inflater && inflateInit2(&inflater->stream, 15 + 16) != Z_OK) {
    free(inflater);
    return NULL;
  }
  return inflater;
}

static unsigned limited(size_t count) { return count > 1u << 30 ? 1u << 30 : (unsigned)count; }

czlib_status czlib_inflate(
    czlib_inflater *inflater, const uint8_t *input, size_t input_count, size_t *input_used,
    uint8_t *output, size_t output_count, size_t *output_made) {
  z_stream *stream = &inflater->stream;
  unsigned in = limited(input_count), out = limited(output_count);
  stream->next_in = (uint8_t *)input;
  stream->avail_in = in;
  stream->next_out = output;
  stream->avail_out = out;
  int result = inflate(stream, Z_NO_FLUSH);
  *input_used = in - stream->avail_in;
  *output_made = out - stream->avail_out;
  stream->next_in = NULL;
  stream->next_out = NULL;
  switch (result) {
    case Z_OK:
    case Z_BUF_ERROR: return CZLIB_MORE;  // the latter: neither input nor room was left
    case Z_STREAM_END: return CZLIB_MEMBER_END;
    case Z_MEM_ERROR: return CZLIB_NO_MEMORY;
    default: return CZLIB_BROKEN;
  }
}

int czlib_reset(czlib_inflater *inflater) { return inflateReset(&inflater->stream) != Z_OK; }

const char *czlib_problem(const czlib_inflater *inflater) {
  return inflater->stream.msg ? inflater->stream.msg : "broken data";
}

void czlib_close(czlib_inflater *inflater) {
  if (!inflater) return;
  inflateEnd(&inflater->stream);
  free(inflater);
}
