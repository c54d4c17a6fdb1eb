#ifndef CZLIB_H
#define CZLIB_H
// A flat view of zlib's decompression of gzip, used by Support/GzipInflater.swift: z_stream keeps
// pointers between calls, which Swift must not see.
#include <stddef.h>
#include <stdint.h>

typedef enum {
  CZLIB_MORE,        // more input or more room is needed
  CZLIB_MEMBER_END,  // a gzip member ended and its checksum is right
  CZLIB_BROKEN,      // the bytes are no gzip, or the checksum is wrong
  CZLIB_NO_MEMORY,
} czlib_status;

typedef struct czlib_inflater czlib_inflater;

/// A decompressor before the first member; NULL when memory runs out.
czlib_inflater *czlib_open(void);
/// Takes from input and adds to output as much as goes; says how much of both.
czlib_status czlib_inflate(
    czlib_inflater *inflater, const uint8_t *input, size_t input_count, size_t *input_used,
    uint8_t *output, size_t output_count, size_t *output_made);
/// Makes ready for another member; 0 on success.
int czlib_reset(czlib_inflater *inflater);
/// What was wrong, after CZLIB_BROKEN.
const char *czlib_problem(const czlib_inflater *inflater);
void czlib_close(czlib_inflater *inflater);
#endif
