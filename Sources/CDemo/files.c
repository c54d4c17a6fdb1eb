#include "CDemo.h"

static const unsigned char config[] = {
#embed "files/model/config.json"
};
static const unsigned char weights[] = {
#embed "files/model/model.safetensors"
};
static const unsigned char tokenizer[] = {
#embed "files/model/tokenizer.model"
};
static const unsigned char tokenizer_config[] = {
#embed "files/model/tokenizer_config.json"
};
static const unsigned char train[] = {
#embed "files/data/train.jsonl"
};
static const unsigned char heldout[] = {
#embed "files/data/heldout.jsonl"
};

static const demo_file_t files[] = {
    {"model/config.json", config, sizeof config},
    {"model/model.safetensors", weights, sizeof weights},
    {"model/tokenizer.model", tokenizer, sizeof tokenizer},
    {"model/tokenizer_config.json", tokenizer_config, sizeof tokenizer_config},
    {"data/train.jsonl", train, sizeof train},
    {"data/heldout.jsonl", heldout, sizeof heldout},
};

size_t demo_file_count(void) { return sizeof files / sizeof files[0]; }

demo_file_t demo_file(size_t index) { return files[index]; }
