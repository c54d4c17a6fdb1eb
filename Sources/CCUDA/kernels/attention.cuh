// How attention is cut into blocks; the structs are laid out as those of the same names in Swift.
//
// A token sees the tokens before it in its sample, itself included, of these at most `window` where
// that is not zero. Query t stands at key t + shift; the shift is the number of cached tokens.
#pragma once
#include <common.cuh>

struct AttentionSizes {
  int tokens;  // Rows of q.
  int heads, key_heads;
  int width;  // Of a head.
  int window;
  float scale;
};

/// Up to 64 queries of one sample, whose keys begin at `first_key`.
struct QueryBlock {
  int first, count, first_key, shift;
};

/// Up to 64 keys of one sample, whose queries end before `end`.
struct KeyBlock {
  int first, count, end, unused;
};

/// The first key that the query at key `own` sees.
DEVICE int first_key(const QueryBlock &block, int own, int window) {
  return window ? max(block.first_key, own - window + 1) : block.first_key;
}

/// The last query that sees a key; the first is its own.
DEVICE int last_query(const KeyBlock &block, int key, int window) {
  return window ? min(block.end - 1, key + window - 1) : block.end - 1;
}
