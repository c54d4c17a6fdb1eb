#ifndef CYAML_H
#define CYAML_H
// A flat view of libyaml's event parser, used by Support/YAMLEventReader.swift: Swift imports
// the unions of yaml_event_t poorly, so the few fields that are needed are copied out here.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
  CYAML_OTHER,  // starts and ends of the stream and of a document
  CYAML_DOCUMENT_START,
  CYAML_STREAM_END,
  CYAML_SCALAR,
  CYAML_SEQUENCE_START,
  CYAML_SEQUENCE_END,
  CYAML_MAPPING_START,
  CYAML_MAPPING_END,
  CYAML_ALIAS,
} cyaml_kind;

typedef struct {
  cyaml_kind kind;
  const uint8_t *text;  // of a scalar, UTF-8; valid until the next call
  size_t byte_count;    // of text
  bool is_plain;        // a scalar without quotes and not a block
  bool has_anchor;
  bool has_tag;
  size_t line;  // 1-based
} cyaml_event;

typedef struct cyaml_reader cyaml_reader;

/// A reader over bytes that outlive it; NULL when memory runs out.
cyaml_reader *cyaml_open(const uint8_t *bytes, size_t byte_count);
/// Takes the next event; false on a syntax error.
bool cyaml_next(cyaml_reader *reader, cyaml_event *event);
/// What is wrong, after cyaml_next returned false.
const char *cyaml_problem(const cyaml_reader *reader);
/// The line of the problem, 1-based; 0 when it is a matter of bytes, not lines.
size_t cyaml_problem_line(const cyaml_reader *reader);
void cyaml_close(cyaml_reader *reader);
#endif
