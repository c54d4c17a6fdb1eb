#!/usr/bin/env python3
"""Writes Tests/Fixtures/llama-tokenizers.json: directories with a tiny sentencepiece model and no
tokenizer.json, and the ids and texts that transformers' LlamaTokenizer gives for them.

    pip install transformers==4.57.6 sentencepiece==0.2.3 protobuf
    scripts/make-llama-tokenizer-fixtures.py
"""
import json
import os
import random
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from transformers import LlamaTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = ["the quick brown fox jumps over the lazy dog, again and again", "def add(a, b):\n    return a + b", "hello world hello there",
        "\ub2e4\ub78c\uc950 \ud5cc \uccc7\ubc14\ud034\uc5d0 \ud0c0\uace0\ud30c", "na\u00efve caf\u00e9", "12 345 6789", "Instruction answer user system"]
PARTS = ["<s>", "</s>", "<unk>", "<pad>", "<|user|>", "<|end|>", "<mask>", "word", "hello", " hello", "the", " ", "  ", "\n", "\u2581", "\u2581the",
         "a", "b", ".", "\u2603", "\ub2e4", "\u3000", "<", "s>", "<s", "\t", "caf\u00e9", "<0x41>"]
FIXED = ["", " ", "  ", "\n", "<s>", "<s><s>", " <s>", "<s> ", "<s>hello", "<s> hello</s>", "hello<s>", "hello </s> hello", "<s>[INST] hello [/INST] the</s><s>[INST] a [/INST]",
         "</s>\n", "\u2581<s>", "\u2581\u2581hello", "a\u2581b", "<unk>hello", "x<mask>y", "x <mask> y", "x  <mask>  y", "word words sword word", "<|user|>\nhello<|end|>\n<|user|>"]


def model(byte_fallback, extra_spaces, folder):
    with open(os.path.join(folder, "text"), "w") as file:
        file.write("\n".join(TEXT * 3))
    prefix = os.path.join(folder, "tokenizer")
    sentencepiece.SentencePieceTrainer.train(
        input=file.name, model_prefix=prefix, model_type="bpe", vocab_size=470 if byte_fallback else 160, character_coverage=0.98, byte_fallback=byte_fallback,
        remove_extra_whitespaces=extra_spaces, normalization_rule_name="identity", hard_vocab_limit=False, minloglevel=2,
        user_defined_symbols=[] if byte_fallback else ["[INST]"])
    parsed = sentencepiece_model_pb2.ModelProto()
    parsed.ParseFromString(open(prefix + ".model", "rb").read())
    os.remove(prefix + ".vocab")
    os.remove(file.name)
    return {"pieces": [[p.piece, round(p.score, 4), p.type] for p in parsed.pieces], "byteFallback": byte_fallback, "extraSpaces": extra_spaces}


def token(content, **options):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True, **options}


def cases():
    """name, model, files"""
    plain = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    for legacy in None, True, False:
        yield f"plain-{legacy}", "bytes", {"tokenizer_config.json": {**plain, **({} if legacy is None else {"legacy": legacy})}}
        yield f"spaces-{legacy}", "words", {"tokenizer_config.json": {**plain, "legacy": bool(legacy), "add_bos_token": False, "add_eos_token": True}}
    yield "no-prefix", "bytes", {"tokenizer_config.json": {**plain, "legacy": False, "add_prefix_space": False}}
    yield "no-prefix-legacy", "bytes", {"tokenizer_config.json": {**plain, "legacy": True, "add_prefix_space": False}}
    yield "pad", "bytes", {"tokenizer_config.json": {**plain, "pad_token": "<pad>", "legacy": False, "additional_special_tokens": ["<|user|>", "<|end|>"]}}
    yield "map", "bytes", {"tokenizer_config.json": {"legacy": False}, "special_tokens_map.json": {
        **plain, "pad_token": "</s>", "eos_token": token("<|end|>"), "additional_special_tokens": ["<mask>"]}}
    for legacy in True, False:
        yield f"added-{legacy}", "bytes", {"tokenizer_config.json": {
            **plain, "legacy": legacy, "eos_token": "<|end|>", "added_tokens_decoder": {
                "0": token("<unk>"), "1": token("<s>"), "2": token("</s>"), "900": token("<|end|>", rstrip=True), "901": token("<|user|>", special=False),
                "902": token("<mask>", lstrip=True, rstrip=True), "903": token("word", single_word=True, special=False)}}}


def texts():
    yield from FIXED
    pick = random.Random(7)
    for _ in range(60):
        yield "".join(pick.choice(PARTS) for _ in range(pick.choice([2, 3, 4, 6])))


def main():
    models, result = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in ("bytes", (True, False)), ("words", (False, True)):
            os.makedirs(os.path.join(folder, name))
            models[name] = model(*arguments, os.path.join(folder, name))
        for name, kind, files in cases():
            place = os.path.join(folder, "case-" + name)
            os.makedirs(place)
            os.link(os.path.join(folder, kind, "tokenizer.model"), os.path.join(place, "tokenizer.model"))
            for file, content in files.items():
                json.dump(content, open(os.path.join(place, file), "w"))
            tokenizer = LlamaTokenizer.from_pretrained(place)
            rows = []
            for text in texts():
                ids = tokenizer(text).input_ids
                rows.append([text, ids, tokenizer.decode(ids, skip_special_tokens=True), tokenizer.decode(ids)])
            result.append({"name": name, "model": kind, "files": files, "rows": rows, "size": max(tokenizer.get_vocab().values()) + 1})
    with open(os.path.join(HERE, "..", "Tests", "Fixtures", "llama-tokenizers.json"), "w") as file:
        file.write('{"models": ' + json.dumps(models, separators=(",", ":")) + ',\n"cases": [\n')
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in result) + "\n]}\n")


main()
