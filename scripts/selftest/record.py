#!/usr/bin/env python3
"""Computes the losses that `accelerate-swift test` compares with, in double precision.

Four steps of LoRA over the demo model by transformers and peft: packs of 4 rows, 2 packs a step,
the first 16 rows in order, AdamW with torch's defaults and lr 1e-3, clipping at 1. The program's
own first weights are drawn here again (Philox 4x32-10). Prints the rows of
Sources/Trainer/SelfTest/Checks+Recorded.swift.

    python3 scripts/selftest/record.py        # needs torch, transformers, peft, sentencepiece
"""
import json
import math
import pathlib

import numpy as np
import sentencepiece
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

DEMO = pathlib.Path(__file__).resolve().parents[2] / "Sources/CDemo/files"
RANK, ALPHA, SEED, STEPS, LEARNING_RATE = 8, 16, 42, 4, 1e-3


def philox(number, blocks):
    """Four words for each block of a matrix."""
    mask = np.uint64(0xFFFFFFFF)
    x = np.full(blocks, number, np.uint64)
    y = np.arange(blocks, dtype=np.uint64)
    z, w = np.zeros(blocks, np.uint64), np.zeros(blocks, np.uint64)
    key = [SEED & 0xFFFFFFFF, (SEED >> 32) ^ 0x6C6F7261]
    for _ in range(10):
        first, second = x * np.uint64(0xD2511F53), z * np.uint64(0xCD9E8D57)
        x, y, z, w = ((second >> np.uint64(32)) ^ y ^ np.uint64(key[0]), second & mask,
                      (first >> np.uint64(32)) ^ w ^ np.uint64(key[1]), first & mask)
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack([x, y, z, w], 1).reshape(-1)


def first_weights(number, inputs):
    count = RANK * inputs
    unit = (philox(number, (count + 3) // 4)[:count] >> np.uint64(8)).astype(np.float32) \
        * np.float32(2.0 ** -24)
    bound = np.float32(1) / np.sqrt(np.float32(inputs))
    return torch.tensor((np.float32(2) * unit - np.float32(1)) * bound).reshape(RANK, inputs)


def modules(layers, experts):
    """Adapted modules in the order of the program's flat vector."""
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield from (prefix + "self_attn." + name for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
        for expert in range(experts):
            yield from (f"{prefix}block_sparse_moe.experts.{expert}.{name}" for name in ("w1", "w3", "w2"))


def rows():
    tokenizer = sentencepiece.SentencePieceProcessor(str(DEMO / "model/tokenizer.model"))
    for line in (DEMO / "data/train.jsonl").read_text().splitlines()[:16]:
        row = json.loads(line)
        prompt = [1] + tokenizer.encode(row["input"] + "\n")
        # The answer continues a text: no space is put before it.
        marker = tokenizer.encode("\n")
        answer = tokenizer.encode("\n" + row["output"])[len(marker):] + [2]
        yield prompt + answer, [-100] * len(prompt) + answer


def main():
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(
        DEMO / "model", torch_dtype=torch.float64, attn_implementation="eager")
    config = model.config
    model = get_peft_model(model, LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "w1", "w2", "w3"]))
    weights = dict(model.named_parameters())
    for number, name in enumerate(modules(config.num_hidden_layers, config.num_local_experts)):
        matrix = weights[f"base_model.model.{name}.lora_A.default.weight"]
        weights[f"base_model.model.{name}.lora_A.default.weight"].data = \
            first_weights(number, matrix.shape[1]).double()
        weights[f"base_model.model.{name}.lora_B.default.weight"].data = \
            torch.zeros_like(weights[f"base_model.model.{name}.lora_B.default.weight"]).double()
    trained = [w for w in model.parameters() if w.requires_grad]
    assert all(w.dtype == torch.float64 for w in trained)
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    data = list(rows())
    experts, top = config.num_local_experts, config.num_experts_per_tok
    for step in range(STEPS):
        first = 8 * step % 16
        packs = [data[first:first + 4], data[first + 4:first + 8]]
        targets = sum(label != -100 for pack in packs for _, labels in pack for label in labels[1:])
        optimizer.zero_grad()
        loss, router = 0.0, 0.0
        for pack in packs:
            logits = []
            for tokens, labels in pack:
                out = model(input_ids=torch.tensor([tokens]), output_router_logits=True)
                loss = loss + torch.nn.functional.cross_entropy(
                    out.logits[0, :-1], torch.tensor(labels[1:]), ignore_index=-100,
                    reduction="sum")
                logits.append(torch.stack(out.router_logits))
            # load_balancing_loss_func over all layers and tokens of the pack.
            probabilities = torch.cat(logits, 1).reshape(-1, experts).softmax(-1)
            chosen = torch.nn.functional.one_hot(probabilities.topk(top, -1).indices, experts)
            router = router + experts * (
                chosen.double().mean(0).sum(0) * probabilities.mean(0)).sum()
        loss, router = loss / targets, router / len(packs)
        (loss + config.router_aux_loss_coef * router).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        assert math.isfinite(loss.item())
        print(f"    ({loss.item():.12f}, {router.item():.12f}, {norm.item():.12f}),", flush=True)


if __name__ == "__main__":
    main()
