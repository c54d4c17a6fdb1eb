"""Trains the demo's tokenizer: SentencePiece BPE with byte fallback, Llama's conventions, 1,024 pieces."""

import argparse
import json
import random
from pathlib import Path

import sentencepiece

from generate_data import Values, document, english, korean, situation

# Merges never cross this mark, so that a name keeps its pieces when a Korean particle follows it.
MARK = "\u2060"


def corpus(seed, count):
    rng = random.Random(seed)
    values = Values(rng)
    for i in range(count):
        if i % 3 == 0:
            for piece, _ in document(rng, values, progress=1.0):
                yield from (line for line in piece.split("\n") if line)
        in_korean = i % 2 == 1
        act, record = situation(rng, values, in_korean)
        sentence = (korean if in_korean else english)(rng, act, record)
        for slot in ("name", "developer"):
            if slot in record:
                sentence = sentence.replace(record[slot], MARK + record[slot] + MARK)
        yield sentence.strip(MARK)
    # The task's notation, without its values: only so that its words are pieces.
    yield from ["inform recommend confirm opinion request ask want name developer year genres platforms players rating hours ( = ; , )"] * (count // 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("model"))
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "tokenizer.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=corpus(args.seed, 20_000), model_writer=file, model_type="bpe", vocab_size=args.vocabulary,
            byte_fallback=True, character_coverage=1.0, split_digits=True, normalization_rule_name="identity",
            remove_extra_whitespaces=False, add_dummy_prefix=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
            pretokenization_delimiter=MARK, num_threads=2, minloglevel=2)
    config = {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": None, "legacy": True, "clean_up_tokenization_spaces": False, "model_max_length": 512}
    (args.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
