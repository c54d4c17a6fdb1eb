#!/usr/bin/env python3
"""Writes Tests/Fixtures/tokenizers.json: tiny tokenizers with every supported component, and the
ids and texts that Hugging Face's tokenizers gives for them.

    pip install tokenizers==0.23.3
    scripts/make-tokenizer-fixtures.py [--folders DIR]

With --folders every tokenizer is also written as a directory, for compare-tokenizers.py.
"""
import argparse
import json
import os

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = ["the quick brown fox jumps over the lazy dog, again and again and again",
        "The Quick Brown Fox: don't can't won't we'll they've I'm you're he'd it's 'quoted' it'S",
        "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n\tprint(add(i, 100))\r\n",
        "\ub2e4\ub78c\uc950 \ud5cc \uccc7\ubc14\ud034\uc5d0 \ud0c0\uace0\ud30c. \ub2e4\ub78c\uc950\uac00 \ub610 \uc654\ub2e4. \ud55c\uad6d\uc5b4 \ubb38\uc7a5",
        "na\u00efve caf\u00e9 \u00e9t\u00e9 \u00fcber stra\u00dfe e\u0301te\u0301", "12 345 6789 3.14 1,000,000 \u00bd \u0661\u0662",
        "   spaces    and\u3000wide \u00a0 spaces   ", "\U0001f600\U0001f44d\U0001f3fd \U0001f469\u200d\U0001f4bb ok"]
SAMPLES = TEXT + ["", " ", "\n", "a", " a", "a  b", "hello<s>world</s>", "<s> hello", "x<mask>y", "x  <mask>  y", "ab cd xab ab", "The THE the",
                  "a\u0301\u0327\u0301b \u1112\u1161\u11ab \ufb01 \u212b", "\u2581visible \u2581\u2581x", "....!!!???", "a.b,c;d", "2024-01-02T03:04",
                  "tabs\t\tand\r\n\r\nlines \n \n x", "\u0000\u0001\u200b\ufeff\uffff", "\u4f60\u597d\u4e16\u754c\u3002", "foo_bar fooBar FooBAR's FOO'LL",
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
BYTES, SPACES, PLAIN, SUFFIX = "bytes", "spaces", "plain", "suffix"


def train(kind):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    options = {"vocab_size": 420, "special_tokens": ["<unk>", "<s>", "</s>"], "show_progress": False}
    if kind == BYTES:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    elif kind == SPACES:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        options["special_tokens"] += [f"<0x{b:02X}>" for b in range(256)]
        options["vocab_size"] = 560
        options["limit_alphabet"] = 60
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        options["vocab_size"] = 260
        if kind == SUFFIX:
            options["end_of_word_suffix"] = "</w>"
    tokenizer.train_from_iterator(TEXT * 3, trainers.BpeTrainer(**options))
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(name, *steps):
    return {"type": "Sequence", name: list(steps)}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def metaspace(scheme="always", splits=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": splits}


CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
            {"type": "Digits", "individual_digits": True}, byte_level(regex=False)]
DEEPSEEK3 = [split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
             split(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
             byte_level(regex=False)]
LLAMA_DECODER = sequence("decoders", {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                         {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
LLAMA_NORMALIZER = sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"},
                            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
FALLBACK = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
SPECIAL = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]


def added(content, **options):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **options}


def cases():
    """name, vocabulary, model options, normalizer, pre-tokenizer, decoder, extra tokens, post-processor"""
    B = byte_level()
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                                         {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "pair": [], "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in (("<s>", 1), ("</s>", 2))}}
    yield "gpt2", BYTES, {}, None, B, B, [], byte_level()
    yield "prefix", BYTES, {}, None, byte_level(True), B, [], None
    yield "llama3", BYTES, {"ignore_merges": True}, None, sequence("pretokenizers", split(CL100K), byte_level(regex=False)), B, [], \
        sequence("processors", byte_level(), template)
    for name, pattern in ("possessive", POSSESSIVE), ("o200k", O200K):
        yield name, BYTES, {}, None, sequence("pretokenizers", split(pattern, "Removed", True), byte_level(regex=False)), B, [], None
    yield "deepseek", BYTES, {}, None, sequence("pretokenizers", *DEEPSEEK), B, [], None
    yield "deepseek3", BYTES, {}, None, sequence("pretokenizers", *DEEPSEEK3), B, [], None
    yield "thousands", BYTES, {}, None, sequence("pretokenizers", split(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|\s+$|^\S|\bdo|\w+|(?<=a)b"), byte_level(regex=False)), B, [], None
    for form in "NFC", "NFD", "NFKC", "NFKD":
        yield form.lower(), BYTES, {}, {"type": form}, B, B, [], None
    yield "lower", BYTES, {}, sequence("normalizers", {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"},
                                       {"type": "Strip", "strip_left": True, "strip_right": True}), B, B, [], None
    yield "replace", BYTES, {}, {"type": "Replace", "pattern": {"Regex": r" {2,}|\d"}, "content": "_"}, B, B, [], None
    for behavior in "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous":
        for invert in False, True:
            yield f"{behavior}-{invert}", BYTES, {}, None, sequence("pretokenizers", split(r"\d|a| ", behavior, invert), byte_level(regex=False)), B, [], None
    yield "string", BYTES, {}, None, sequence("pretokenizers", split(".", "Isolated", False, "String"), byte_level(regex=False)), B, [], None
    yield "digits", BYTES, {}, None, sequence("pretokenizers", {"type": "Digits", "individual_digits": False}, B), B, [], None
    yield "punctuation", BYTES, {}, None, sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "WhitespaceSplit"}, B), B, [], None
    yield "whitespace", PLAIN, {"unk_token": "<unk>"}, None, {"type": "Whitespace"}, None, [], None
    yield "unfused", PLAIN, {"unk_token": "<unk>", "fuse_unk": False}, None, {"type": "WhitespaceSplit"}, {"type": "Fuse"}, [], None
    yield "suffix", SUFFIX, {"unk_token": "<unk>", "end_of_word_suffix": "</w>"}, {"type": "Lowercase"}, {"type": "Whitespace"}, \
        {"type": "BPEDecoder", "suffix": "</w>"}, [], None
    yield "llama2", SPACES, FALLBACK, LLAMA_NORMALIZER, None, LLAMA_DECODER, [], template
    for scheme in "always", "first", "never":
        yield f"metaspace-{scheme}", SPACES, FALLBACK, None, metaspace(scheme), sequence(
            "decoders", {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": True}), [], None
    yield "unsplit", SPACES, FALLBACK, None, metaspace("first", False), LLAMA_DECODER, [], None
    yield "added", BYTES, {}, {"type": "Lowercase"}, B, B, [
        added("<mask>", lstrip=True, rstrip=True), added("ab", single_word=True), added("The", normalized=True, special=False),
        added("he", normalized=True, special=False), added("  ", normalized=False, special=False)], template


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folders")
    options = parser.parse_args()
    vocabularies = {kind: train(kind) for kind in (BYTES, SPACES, PLAIN, SUFFIX)}
    result = []
    for name, kind, settings, normalizer, pre_tokenizer, decoder, extra, processor in cases():
        tokens = [{"id": i, **added(t)} for i, t in enumerate(["<unk>", "<s>", "</s>"])]
        # The library numbers tokens that are not in the vocabulary one after the other, whatever the file says.
        vocab, following = vocabularies[kind]["vocab"], len(vocabularies[kind]["vocab"])
        for t in extra:
            tokens.append({"id": vocab.get(t["content"], following), **t})
            following += t["content"] not in vocab
        document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
                    "pre_tokenizer": pre_tokenizer, "post_processor": processor, "decoder": decoder,
                    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                              "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **settings}}
        whole = {**document, "model": {**document["model"], **vocabularies[kind]}}
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        if options.folders:
            os.makedirs(os.path.join(options.folders, name), exist_ok=True)
            tokenizer.save(os.path.join(options.folders, name, "tokenizer.json"))
        rows = []
        for text in SAMPLES:
            ids = tokenizer.encode(text).ids
            rows.append([text, ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)])
        result.append({"name": name, "vocabulary": kind, "tokenizer": document, "rows": rows})
    with open(os.path.join(HERE, "..", "Tests", "Fixtures", "tokenizers.json"), "w") as file:
        file.write('{"vocabularies": ' + json.dumps(vocabularies, separators=(",", ":")) + ',\n"cases": [\n')
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in result) + "\n]}\n")


main()
