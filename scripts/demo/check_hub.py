"""Checks that transformers' MixtralForCausalLM loads the folder and gives the logits of `tiny_mixtral`, in float32."""

import argparse
from pathlib import Path

import sentencepiece
import torch
from transformers import MixtralForCausalLM

from tiny_mixtral import load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, default=Path("model"))
args = parser.parse_args()

tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
theirs, report = MixtralForCausalLM.from_pretrained(args.model, dtype=torch.float32, output_loading_info=True)
ours = load(args.model)
print("keys:", {k: v for k, v in report.items() if v} or "all matched")
for text in ("Silent Harbor is a puzzle game from 2014.\n", "보란델은 2014년에 나온 퍼즐 게임이에요.\n"):
    ids = torch.tensor([[1] + tokenizer.encode(text)])
    with torch.no_grad():
        difference = (theirs.eval()(ids).logits - ours(ids)).abs().max().item()
    print(f"{ids.shape[1]} ids, largest difference of a logit {difference:.2e}")
    assert difference < 1e-3
