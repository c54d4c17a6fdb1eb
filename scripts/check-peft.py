#!/usr/bin/env python3
"""Checks that adapters travel between peft and accelerate-swift, in both directions.

For maintainers. Run it after `make build`, in the environment of make-model-fixtures.py, or with
transformers 5, which fuses the experts of Mixtral; adapters that it makes over fused experts are
left out, since they are refused:

    scripts/check-peft.py [MODEL ...]

Each model directory (by default three of Tests/Fixtures/models) gets adapters as peft saves them:
plain targets, all-linear, a regular expression, the head, saved embeddings, bfloat16, rsLoRA, and
one that `train` starts itself. The loss of the first step that `train` reports must be that of peft,
and the adapter that `train` writes must give, loaded by peft, the loss that a next run begins with.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import peft
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 2e-6


def kinds(config):
    """Settings and how they are saved, by name."""
    is_mixture = hasattr(config, "num_local_experts")
    down = "w2" if is_mixture else "down_proj"
    yield "query-value", dict(target_modules=["q_proj", "v_proj"]), {}
    yield "all-linear", dict(target_modules="all-linear"), {}
    yield "regex", dict(target_modules=r".*\.(self_attn\.[ko]_proj|%s)" % down), {}
    yield "head", dict(target_modules=["q_proj", "lm_head"]), {}
    yield "saved-embeddings", dict(target_modules=["v_proj"]), dict(save_embedding_layers=True)
    yield "bfloat16", dict(target_modules=["q_proj", down]), dict(bfloat16=True)
    yield "bfloat16-head", dict(target_modules=["q_proj", "lm_head"]), dict(bfloat16=True)
    yield "rslora", dict(target_modules=["q_proj", down], use_rslora=True, r=3), {}
    if is_mixture:
        yield "router", dict(target_modules=["gate", "w1"]), {}


def is_fused(config, settings):
    """Whether peft puts the adapter on fused experts, or cannot make it because of them."""
    return hasattr(config, "num_local_experts") and transformers.__version__ >= "5" and any(
        word in str(settings["target_modules"]) for word in ["w1", "w2", "all-linear"])


def load(directory, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager")


def save(directory, folder, settings, saving):
    """An adapter with random matrices."""
    saving = dict(saving)
    dtype = torch.bfloat16 if saving.pop("bfloat16", False) else torch.float32
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings})
    model = peft.get_peft_model(load(directory), config)
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = 0.1 * torch.randn_like(value)
    model.to(dtype).save_pretrained(folder, **saving)


def peft_loss(directory, adapter, rows):
    base = load(directory)
    embedding = base.get_input_embeddings().weight.detach().clone()
    head = base.get_output_embeddings().weight.detach().clone()
    model = (peft.PeftModel.from_pretrained(base, adapter) if adapter else base).float().eval()
    # peft takes the head from the adapter's file, where it may be rounded; we take the base's.
    layer = model.get_output_embeddings()
    getattr(layer, "base_layer", layer).weight.data = head
    model.get_input_embeddings().weight.data = embedding
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            logits = model(input_ids=ids).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            count += len(row["input_ids"]) - 1
    return total / count


def first_loss(program, directory, adapter, data, rows, output):
    """The loss of the first step, which the adapter has before it moves; trains two more."""
    command = [
        program, "train", "--model", directory, "--data", data,
        *(["--init-adapter", adapter] if adapter else []),
        "--samples-per-pack", len(rows), "--packs-per-step", 1, "--no-shuffle", "--epochs", 3,
        "--train-on", "all", "--lr", "1e-2", "--max-length", 64, "--output", output]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return next(json.loads(line)["loss"] for line in lines if "loss" in json.loads(line))


def check(program, directory, folder):
    config = transformers.AutoConfig.from_pretrained(directory)
    torch.manual_seed(3)
    rows = []
    for length in [31, 12, 20]:
        ids = torch.randint(3, config.vocab_size, (length,)).tolist()
        rows.append({"input_ids": ids, "labels": ids})
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    is_good = True
    for name, settings, saving in [("fresh", None, None), *kinds(config)]:
        if settings and is_fused(config, settings):
            print("SKIP", directory.name, name)
            continue
        adapter = folder / name if settings else None
        outputs = [folder / f"{name}-1", folder / f"{name}-2"]
        try:
            if settings:
                save(directory, adapter, settings, saving)
            losses = []
            for start, output in zip([adapter, outputs[0]], outputs):
                ours = first_loss(program, directory, start, data, rows, output)
                theirs = peft_loss(directory, start, rows)
                losses.append((ours, theirs, abs(ours - theirs) / theirs))
            moved = abs(losses[0][1] - losses[1][1]) > 1e-3
            passes = moved and all(difference <= TOLERANCE for _, _, difference in losses)
            print("OK  " if passes else "FAIL", directory.name, name, *[
                f"{ours:.7f} peft {theirs:.7f} ({difference:.1e})"
                for ours, theirs, difference in losses])
        except (RuntimeError, StopIteration) as error:
            passes = False
            print("FAIL", directory.name, name, error)
        is_good = is_good and passes
    return is_good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path, default=[
        ROOT / "Tests/Fixtures/models" / name
        for name in ["llama-tied-head", "llama-rope-scaled", "mixtral-experts"]])
    parser.add_argument(
        "--program", type=pathlib.Path, default=ROOT / ".build/release/accelerate-swift")
    options = parser.parse_args()
    is_good = True
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            is_good = check(options.program, model, pathlib.Path(folder)) and is_good
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
