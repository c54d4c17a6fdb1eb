#include "CYAML.h"

#include <stdlib.h>
#include <yaml.h>

struct cyaml_reader {
  yaml_parser_t parser;
  yaml_event_t event;
  bool has_event;
};

cyaml_reader *cyaml_open(const uint8_t *bytes, size_t byte_count) {
  cyaml_reader *reader = calloc(1, sizeof(*reader));
  if (!reader) return NULL;
  if (!yaml_parser_initialize(&reader->parser)) {
    free(reader);
    return NULL;
  }
  yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&reader->parser, bytes, byte_count);
  return reader;
}

bool cyaml_next(cyaml_reader *reader, cyaml_event *out) {
  if (reader->has_event) yaml_event_delete(&reader->event);
  reader->has_event = yaml_parser_parse(&reader->parser, &reader->event);
  *out = (cyaml_event){0};
  if (!reader->has_event) return false;
  const yaml_event_t *event = &reader->event;
  out->line = event->start_mark.line + 1;
  switch (event->type) {
    case YAML_DOCUMENT_START_EVENT: out->kind = CYAML_DOCUMENT_START; break;
    case YAML_STREAM_END_EVENT: out->kind = CYAML_STREAM_END; break;
    case YAML_ALIAS_EVENT: out->kind = CYAML_ALIAS; break;
    case YAML_SCALAR_EVENT:
      out->kind = CYAML_SCALAR;
      out->text = event->data.scalar.value;
      out->byte_count = event->data.scalar.length;
      out->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
      out->has_anchor = event->data.scalar.anchor != NULL;
      out->has_tag = event->data.scalar.tag != NULL;
      break;
    case YAML_SEQUENCE_START_EVENT:
      out->kind = CYAML_SEQUENCE_START;
      out->has_anchor = event->data.sequence_start.anchor != NULL;
      out->has_tag = event->data.sequence_start.tag != NULL;
      break;
    case YAML_SEQUENCE_END_EVENT: out->kind = CYAML_SEQUENCE_END; break;
    case YAML_MAPPING_START_EVENT:
      out->kind = CYAML_MAPPING_START;
      out->has_anchor = event->data.mapping_start.anchor != NULL;
      out->has_tag = event->data.mapping_start.tag != NULL;
      break;
    case YAML_MAPPING_END_EVENT: out->kind = CYAML_MAPPING_END; break;
    default: out->kind = CYAML_OTHER; break;
  }
  return true;
}

const char *cyaml_problem(const cyaml_reader *reader) {
  return reader->parser.problem ? reader->parser.problem : "out of memory";
}

size_t cyaml_problem_line(const cyaml_reader *reader) {
  // Reader errors (bad UTF-8, control characters) carry a byte offset and no mark.
  return reader->parser.error == YAML_READER_ERROR ? 0 : reader->parser.problem_mark.line + 1;
}

void cyaml_close(cyaml_reader *reader) {
  if (reader->has_event) yaml_event_delete(&reader->event);
  yaml_parser_delete(&reader->parser);
  free(reader);
}
