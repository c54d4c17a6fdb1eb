"""Proves the demo in PyTorch: LoRA over the NF4-rounded base model, greedy decoding, whole output equal.

A row is [BOS] + encode(input + "\\n") + encode(output) + [EOS], each encoded on its own; the loss is on the output and EOS.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from torch import nn

from tiny_mixtral import ATTENTION, EXPERT, TinyMixtral, load, nf4_round_trip

BOS, EOS = 1, 2


class Adapted(TinyMixtral):
    """Frozen NF4 linears, each with a rank-r adapter (and the experts' own adapters, stacked as the experts are)."""

    @classmethod
    def over(cls, base: TinyMixtral, rank: int, alpha: float, seed: int):
        base.__class__ = cls
        base.scale, base.adapters, base.enabled = alpha / rank, nn.ParameterDict(), True
        base.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for i, layer in enumerate(base.layers):
            for n in ATTENTION + EXPERT:
                weight = getattr(layer, n)
                if weight.dim() == 3:
                    weight.copy_(torch.stack([nf4_round_trip(w) for w in weight]))
                else:
                    weight.copy_(nf4_round_trip(weight))
                *experts, rows, columns = weight.shape
                a = (torch.rand(*experts, rank, columns, generator=generator) * 2 - 1) * columns ** -0.5
                base.adapters[f"{i}_{n}_a"] = nn.Parameter(a)  # Kaiming-uniform with a = sqrt(5), as in PEFT
                base.adapters[f"{i}_{n}_b"] = nn.Parameter(torch.zeros(*experts, rows, rank))
        return base

    def linear(self, x, index, name, expert=None):
        y = super().linear(x, index, name, expert)
        if not self.enabled:
            return y
        a, b = self.adapters[f"{index}_{name}_a"], self.adapters[f"{index}_{name}_b"]
        if expert is not None:
            a, b = a[expert], b[expert]
        return y + F.linear(F.linear(x, a), b) * self.scale


def encode(tokenizer, row):
    prompt = [BOS] + tokenizer.encode(row["input"] + "\n")
    return prompt, tokenizer.encode(row["output"]) + [EOS]


def batch(rows):
    longest = max(len(p) + len(c) for p, c in rows)
    ids = torch.tensor([p + c + [EOS] * (longest - len(p) - len(c)) for p, c in rows])
    targets = torch.tensor([[-100] * len(p) + c + [-100] * (longest - len(p) - len(c)) for p, c in rows])
    return ids[:, :-1], targets[:, 1:]


def loss_of(model, rows):
    ids, targets = batch(rows)
    hidden, balance = model.hidden(ids)
    keep = targets != -100
    return F.cross_entropy(F.linear(hidden[keep], model.head), targets[keep]), balance


@torch.no_grad()
def greedy(model, prompts, limit=100):
    """Greedy decoding of several prompts, without a cache. They are padded on the right, which a causal model ignores."""
    lines = [list(p) for p in prompts]
    open_ = list(range(len(lines)))
    while open_:
        longest = max(len(lines[i]) for i in open_)
        ids = torch.tensor([lines[i] + [EOS] * (longest - len(lines[i])) for i in open_])
        last = torch.tensor([len(lines[i]) - 1 for i in open_])
        hidden = model.hidden(ids)[0][torch.arange(len(open_)), last]
        for i, following in zip(open_, F.linear(hidden, model.head).argmax(-1).tolist()):
            lines[i].append(following)
        open_ = [i for i in open_ if lines[i][-1] != EOS and len(lines[i]) < len(prompts[i]) + limit]
    return [[t for t in line[len(p):] if t != EOS] for line, p in zip(lines, prompts)]


@torch.no_grad()
def exact_match(model, tokenizer, rows, decode=True, at_once=40):
    """The part of `rows` whose greedily decoded output is equal to the row's, and the others with their decoded output.

    Greedy decoding gives exactly a row's ids where each id is the most likely one after those before it, so one forward
    pass settles most rows; the others are decoded, and compared as text.
    Without `decode` they count as wrong, which is quicker and rarely differs.
    """
    rows = sorted(rows, key=lambda row: len(row["input"]))
    wrong = []
    for first in range(0, len(rows), at_once):
        part = rows[first:first + at_once]
        ids, targets = batch([encode(tokenizer, row) for row in part])
        likely = F.linear(model.hidden(ids)[0], model.head).argmax(-1)
        right = ((likely == targets) | (targets == -100)).all(dim=1)
        wrong += [row for row, ok in zip(part, right) if not ok]
    if not decode:
        return 1 - len(wrong) / len(rows), wrong
    decoded = []
    for first in range(0, len(wrong), at_once):
        part = wrong[first:first + at_once]
        outputs = greedy(model, [encode(tokenizer, row)[0] for row in part])
        decoded += [(row["input"], row["output"], tokenizer.decode(ids)) for row, ids in zip(part, outputs)]
    wrong = [w for w in decoded if w[1] != w[2]]
    return 1 - len(wrong) / len(rows), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rows", type=int, default=16, help="rows a step")
    parser.add_argument("--evaluate-every", type=int, default=100)
    parser.add_argument("--aux", action="store_true", help="add router_aux_loss_coef times the load-balancing loss")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-base", action="store_true", help="do not measure the base model alone")
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    train, held_out = ([json.loads(line) for line in open(args.data / f"{n}.jsonl", encoding="utf-8")] for n in ("train", "heldout"))
    with torch.no_grad():
        model = Adapted.over(load(args.model), args.rank, args.alpha, args.seed)
    parameters = list(model.adapters.parameters())
    print(f"{sum(p.numel() for p in parameters):,} adapter parameters, {len(train)} rows, {len(held_out)} held out", flush=True)
    if not args.skip_base:
        match, wrong = exact_match(model, tokenizer, held_out)
        print(f"base: exact match {match:.1%}", flush=True)
        for w in wrong[:args.show]:
            print("   ", w)

    optimizer = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.999), weight_decay=0.0)
    rng, queue, seconds = random.Random(args.seed), [], 0.0
    rows = [encode(tokenizer, row) for row in train]
    for step in range(args.steps):
        start = time.time()
        if len(queue) < args.rows:
            queue = rng.sample(rows, len(rows))
        chosen, queue = queue[:args.rows], queue[args.rows:]
        factor = min((step + 1) / args.warmup, 0.5 + 0.5 * math.cos(math.pi * max(0, step - args.warmup) / (args.steps - args.warmup)))
        for group in optimizer.param_groups:
            group["lr"] = args.rate * factor
        loss, balance = loss_of(model, chosen)
        (loss + model.config.router_aux_loss_coef * balance if args.aux else loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.time() - start
        if (step + 1) % args.evaluate_every == 0 or step + 1 == args.steps:
            match, wrong = exact_match(model, tokenizer, held_out, decode=step + 1 == args.steps)
            print(f"step {step + 1}: {seconds:.0f} s, loss {loss.item():.4f}, exact match {match:.1%}", flush=True)
    for w in wrong[:args.show]:
        print("   ", w)


if __name__ == "__main__":
    main()
