#!/usr/bin/env python3
"""Compares `tokenize` with the authors' libraries over random nasty texts.

    pip install tokenizers==0.22.2 tiktoken sentencepiece transformers==4.57.6
    scripts/compare-tokenizers.py --program .build/release/accelerate-swift --count 3000 DIR...

A directory is a model's; what it holds decides which library is asked: tokenizer.json goes to
tokenizers, tokenizer.model to transformers' LlamaTokenizer or tiktoken, vocab.json with merges.txt to tokenizers.
Prints one line a directory, and the first texts that differ; exit code 1 where any does.
"""
import argparse
import base64
import json
import os
import random
import subprocess
import sys

CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", " ", " \t\n\r", "\n", ".,;:!?'\"()[]{}<>|/\\@#$%^&*-_=+`~",
    "\u3131\u314f\uac00\ub098\ub2e4\ud55c\uad6d\uc5b4\u1100\u1161\u11a8\u1112", "\u4f60\u597d\u4e16\u754c\u3001\u3002",
    "\u3042\u3044\u30ab\u30bf\u30ca", "\U0001f600\U0001f44d\U0001f3fd\u200d\U0001f469\U0001f4bb\ufe0f\U0001f1f0\U0001f1f7",
    "\u0300\u0301\u0308\u0327\u0345\u05b0\u064b\u0e31\u0e33", "\u00e9\u00e8\u00fc\u00df\u017f\u212a\u0130\u0131",
    "\u0000\u0001\u0007\u001b\u007f\u0085\u00a0\u1680\u2000\u200b\u200c\u2028\u2029\u202f\u3000\ufeff\ufffd",
    "\u00b2\u00bd\u0661\u0967\u2160\u2460\u3007", "\u0410\u0431\u0432\u05d0\u05d1\u0627\u0628\u0e01\u0e02\u0915\u093f",
    "\u2581\u0120\u010a", "\U00010000\U0001d400\U000e0001\U0010ffff", "sStTlLdDmMvVrReE'",
]
WORDS = ["the", " the", "Hello", " world", "don't", "I'LL", "we've", "'s", "'S", "\u2019s", "def f(x):\n    return x\n", "  ", "    ", "\t\t",
         "\r\n", "\n\n\n", "http://x.y/z?a=1", "3.14159", "1000000", " \u2581", "\u2581a", "<0x0A>", "<0xE2>", "\u1100\u1161\u11a8", "e\u0301",
         "\ufb01", "\u1e9b\u0323", "\u00c5\u212b", "i\u0307", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "=" * 70, " " * 90, "\uc548\ub155\ud558\uc138\uc694", " \ud55c\uad6d\uc5b4", "supercalifragilistic"]


def texts(count, special, seed):
    pick = random.Random(seed)
    yield from ["", " ", "  ", "\n", "a", " a", "a ", "  a  b  "]
    for _ in range(count):
        parts = []
        for _ in range(pick.choice([1, 2, 3, 5, 8, 20])):
            kind = pick.random()
            if kind < 0.35:
                parts.append(pick.choice(WORDS))
            elif kind < 0.45 and special:
                parts.append(pick.choice(special))
            elif kind < 0.5:
                parts.append(chr(pick.choice([pick.randrange(0xD800), pick.randrange(0xE000, 0x110000)])))
            else:
                alphabet = pick.choice(ALPHABETS)
                parts.append("".join(pick.choice(alphabet) for _ in range(pick.choice([1, 2, 3, 6, 12]))))
        yield "".join(parts)


def byte_level(vocab, merges, pattern, normalizer, added):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    tokenizer = Tokenizer(models.BPE.from_file(vocab, merges))
    if normalizer:
        tokenizer.normalizer = getattr(normalizers, normalizer)()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern:
        split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), split])
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in added])
    return tokenizer


class Library:
    """encode, decode and the special tokens of a directory's tokenizer, by its authors' library."""

    def __init__(self, folder):
        def path(name):
            return os.path.join(folder, name)
        config = json.load(open(path("tokenizer_config.json"))) if os.path.exists(path("tokenizer_config.json")) else {}
        tokens = [v["content"] for v in config.get("added_tokens_decoder", {}).values()]
        self.repair = None
        if os.path.exists(path("tokenizer.json")):
            from tokenizers import Tokenizer
            self.use(Tokenizer.from_file(path("tokenizer.json")))
            tokens = [t.content for t in self.tokenizer.get_added_tokens_decoder().values()]
            self.name = "tokenizers"
        elif os.path.exists(path("tokenizer.model")):
            head = open(path("tokenizer.model"), "rb").read(100)
            if head[:1].isalnum() and b" 0\n" in head:
                import tiktoken
                ranks = {base64.b64decode(a): int(b) for a, b in (l.split() for l in open(path("tokenizer.model"), "rb"))}
                names = ["begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
                         "finetune_right_pad_id", "step_id", "start_header_id", "end_header_id", "eom_id", "eot_id",
                         "python_tag", "image"] + [f"reserved_special_token_{i}" for i in range(2, 246)]
                special = {f"<|{n}|>": len(ranks) + i for i, n in enumerate(names)}
                library = tiktoken.Encoding("x", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens=special)
                self.encode = lambda t: [special["<|begin_of_text|>"]] + library.encode(t, allowed_special="all")
                self.decode = library.decode
                tokens, self.name, self.count = list(special), "tiktoken", library.n_vocab
            else:
                from transformers import LlamaTokenizer
                library = LlamaTokenizer.from_pretrained(folder)
                self.encode = lambda t: library(t).input_ids
                self.decode = library.decode
                self.name, self.count = "transformers", library.vocab_size
                tokens = [t.content for t in library.added_tokens_decoder.values()]
        else:
            vocab, merges = ("vocab.json", "merges.txt") if os.path.exists(path("vocab.json")) else ("encoder.json", "vocab.bpe")
            is_qwen = "Qwen" in config.get("tokenizer_class", "")
            tokens = tokens or ["<|endoftext|>"]
            self.use(byte_level(path(vocab), path(merges), QWEN2 if is_qwen else None, "NFC" if is_qwen else None, tokens))
            self.name = "tokenizers"
        self.special = tokens

    def use(self, tokenizer):
        self.tokenizer = tokenizer
        self.encode = lambda t: tokenizer.encode(t).ids
        self.decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
        self.count = tokenizer.get_vocab_size()


def run(program, folder, flags, values):
    done = subprocess.run(program + ["tokenize", "--model", folder] + flags, text=False, capture_output=True,
                          input="".join(json.dumps(v) + "\n" for v in values).encode())
    if done.returncode:
        sys.exit(f"{folder}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("folders", nargs="+")
    options = parser.parse_args()
    failed = False
    for folder in options.folders:
        library = Library(folder)
        values = list(texts(options.count, library.special, options.seed))
        wanted = [library.encode(value) for value in values]
        got = run(options.program.split(), folder, [], values)
        bad = [(v, w, g) for v, w, g in zip(values, wanted, got) if w != g]
        pick = random.Random(options.seed)
        ids = wanted + [[pick.randrange(library.count) for _ in range(pick.randrange(12))] for _ in range(options.count)]
        decoded = [library.decode(i) for i in ids]
        got_decoded = run(options.program.split(), folder, ["--decode"], ids)
        bad_decoded = [(v, w, g) for v, w, g in zip(ids, decoded, got_decoded) if w != g]
        if len(got) != len(values) or len(got_decoded) != len(ids):
            bad.append(("number of lines", len(values), len(got)))
        print(f"{folder} ({library.name}): {len(values)} texts, {len(bad)} differ; "
              f"{len(ids)} decoded, {len(bad_decoded)} differ", flush=True)
        for value, want, have in (bad[:3] + bad_decoded[:3]):
            print("  ", json.dumps(value)[:300], "\n    wanted", json.dumps(want)[:300], "\n    got   ", json.dumps(have)[:300])
        failed |= bool(bad or bad_decoded)
    sys.exit(failed)


main()
