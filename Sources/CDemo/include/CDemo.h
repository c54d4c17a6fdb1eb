#ifndef CDEMO_H
#define CDEMO_H
// The files of the demo, in the program: a small pretrained Mixtral, its tokenizer, and data.
#include <stddef.h>

typedef struct {
  const char *name;  // relative path, such as "model/config.json"
  const unsigned char *bytes;
  size_t count;
} demo_file_t;

// Number of files.
size_t demo_file_count(void);

// File `index`, below the count.
demo_file_t demo_file(size_t index);
#endif
