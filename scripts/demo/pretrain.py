"""Pretrains the demo's base model on the endless text of `generate_data.documents`, on a CPU.

Matrices of the blocks are trained with Muon, the rest with Adam. For the last part of the run the block linears are used
as they will be in fine-tuning, rounded to NF4 (with a straight-through gradient), so that rounding costs little later.
"""

import argparse
import random
import shutil
import time
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F

from generate_data import KINDS, Values, document
from tiny_mixtral import ATTENTION, EXPERT, Config, TinyMixtral, nf4_round_trip, save

BOS, EOS = 1, 2


class Rounded(TinyMixtral):
    """The model with NF4-rounded block linears; the gradient passes straight through the rounding."""

    def __init__(self, config):
        super().__init__(config)
        self.rounding = False

    def refresh(self):
        """Call once a step, before the forward pass."""
        self.used = [{n: w + (nf4_round_trip(w) - w).detach() if self.rounding else w
                      for n in ATTENTION + EXPERT for w in [getattr(layer, n)]} for layer in self.layers]

    def linear(self, x, index, name, expert=None):
        weight = self.used[index][name]
        return F.linear(x, weight if expert is None else weight[expert])


class Muon:
    """Momentum, then the nearest (semi-)orthogonal matrix by five Newton-Schulz steps. Stacked experts are a batch."""

    def __init__(self, parameters, momentum=0.95):
        self.parameters, self.momentum = list(parameters), momentum
        self.buffers = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate):
        for p, buffer in zip(self.parameters, self.buffers):
            buffer.lerp_(p.grad, 1 - self.momentum)
            x = p.grad.lerp(buffer, self.momentum)
            tall = x.shape[-2] > x.shape[-1]
            x = x.mT if tall else x
            x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
            x = x.mT if tall else x
            p.mul_(1 - rate * 0.01)
            p.add_(x, alpha=-rate * max(1, p.shape[-2] / p.shape[-1]) ** 0.5)


def encode(tokenizer, pieces):
    """One document as ids and the weight of each id's loss."""
    ids, weights = [BOS], [0.0]
    for text, weight in pieces:
        piece = tokenizer.encode(text) if isinstance(text, str) else text
        ids += piece
        weights += [weight] * len(piece)
    return ids + [EOS], weights + [1.0]


def random_copy(rng, vocabulary):
    """Random pieces, twice: the plainest induction task; it also visits every piece, bytes included."""
    segment = [rng.randrange(3, vocabulary) for _ in range(rng.randint(3, 20))]
    return [(segment, 0.0), (segment * rng.choice([1, 1, 2]), 1.0)]


def batches(tokenizer, seed, steps, tokens):
    """Yields (ids, weights), documents of like length together, padded with EOS at weight zero."""
    rng = random.Random(seed)
    values = Values(rng)
    done = 0
    while True:
        progress = done / steps
        documents = []
        for _ in range(2500):
            plain = rng.random() < max(0.04, 0.3 - 3 * progress)
            pieces = random_copy(rng, tokenizer.vocab_size()) if plain else document(rng, values, progress)
            documents.append(encode(tokenizer, pieces))
        documents = sorted((d for d in documents if len(d[0]) <= 144), key=lambda d: len(d[0]))
        groups, group = [], []
        for d in documents:
            if len(d[0]) * (len(group) + 1) > tokens:
                groups.append(group)
                group = []
            group.append(d)
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(ids) for ids, _ in group)
            yield (torch.tensor([ids + [EOS] * (longest - len(ids)) for ids, _ in group]),
                   torch.tensor([w + [0.0] * (longest - len(w)) for _, w in group]))
            done += 1


def loss_of(model, ids, weights):
    hidden, balance = model.hidden(ids[:, :-1])
    keep = weights[:, 1:] > 0
    losses = F.cross_entropy(F.linear(hidden[keep], model.head), ids[:, 1:][keep], reduction="none")
    w = weights[:, 1:][keep]
    return (losses * w).sum() / w.sum(), balance


@torch.no_grad()
def validate(model, tokenizer):
    """The loss on the predictable part of 64 documents of each kind."""
    out = []
    for kind in KINDS:
        rng = random.Random(99)
        documents = [encode(tokenizer, kind(rng, Values(rng))) for _ in range(64)]
        longest = max(len(ids) for ids, _ in documents)
        ids = torch.tensor([ids + [EOS] * (longest - len(ids)) for ids, _ in documents])
        weights = torch.tensor([[float(x > 0.2) for x in w] + [0.0] * (longest - len(w)) for _, w in documents])
        out.append(f"{kind.__name__} {loss_of(model, ids, weights)[0]:.3f}")
    return ", ".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("model"), help="holds the tokenizer; receives the weights")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--tokens", type=int, default=6144, help="tokens a step, padding included")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=0.004)
    parser.add_argument("--rounded-from", type=float, default=0.6, help="part of the run after which NF4 rounding is on")
    parser.add_argument("--checkpoints", type=Path, help="also save there every 250 steps, with the tokenizer")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    model = Rounded(Config(vocab_size=tokenizer.vocab_size()))
    blocks = [getattr(layer, n) for layer in model.layers for n in ATTENTION + EXPERT]
    muon = Muon(blocks)
    chosen = {id(p) for p in blocks}
    adam = torch.optim.AdamW([p for p in model.parameters() if id(p) not in chosen], betas=(0.9, 0.98), weight_decay=0.0)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    start, total = time.time(), 0
    for step, (ids, weights) in zip(range(args.steps), batches(tokenizer, args.seed, args.steps, args.tokens)):
        progress = step / args.steps
        factor = min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (1 - progress) / 0.5))
        model.rounding = progress >= args.rounded_from
        model.refresh()
        loss, balance = loss_of(model, ids, weights)
        (loss + model.config.router_aux_loss_coef * balance).backward()
        torch.nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], 1.0)
        for group in adam.param_groups:
            group["lr"] = args.adam_rate * factor
        adam.step()
        muon.step(args.muon_rate * factor)
        model.zero_grad(set_to_none=True)
        total += ids.numel()
        if step % 50 == 0:
            seconds = time.time() - start
            print(f"step {step}  loss {loss.item():.3f}  balance {balance.item():.3f}  {total / seconds:.0f} tokens/s  {seconds:.0f} s", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == args.steps:
            model.refresh()
            print(f"step {step + 1}  {validate(model, tokenizer)}", flush=True)
            if args.checkpoints:
                save(model, args.checkpoints)
                for name in ("tokenizer.model", "tokenizer_config.json"):
                    shutil.copy(args.model / name, args.checkpoints)
    save(model, args.model)


if __name__ == "__main__":
    main()
