#!/usr/bin/env python3
"""Writes Tests/Fixtures/models: tiny models and what transformers and peft compute with them.

For maintainers; the tests read the files that lie in the repository. Run it in an environment with

    pip install torch==2.13.0 transformers==4.57.6 peft==0.21.2 safetensors bitsandbytes==0.50.2

transformers 4.57 keeps the experts of a mixture as linears of their own, which peft can adapt one
by one, the router included; transformers 5 does not. Names on the command line write these cases
alone. Afterwards, with transformers==5.24.0 instead, `--fused` adds to some folders a folder `fused`
with the same weights as transformers 5 saves them without going back to the Hub's names.

Each folder holds a model (config.json, model.safetensors), an adapter with random A and B
(adapter/), and expected.safetensors: `logits` of all tokens, `losses` of all targets, and under the
adapter's names the gradients of mean loss + coefficient x router loss. case.json holds the samples
and the scalars. Every sample runs alone, without padding. Folders that begin with `bitsandbytes`
hold a model that bitsandbytes quantized, its logits, and in `plain` what it was made from.
"""
import json
import pathlib
import shutil
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

ROOT = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "Fixtures" / "models"
DENSE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EXPERTS = ["q_proj", "k_proj", "v_proj", "o_proj", "w1", "w2", "w3"]
COMMON = dict(
    vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.3)
# Keys that do not change the numbers.
DROPPED = ["transformers_version", "dtype", "torch_dtype", "use_cache", "attention_dropout"]


def llama(**changes):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(**{**COMMON, **changes})


def mistral(**changes):
    return transformers.MistralForCausalLM, transformers.MistralConfig(**{**COMMON, **changes})


def qwen2(**changes):
    return transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**{**COMMON, **changes})


def mixtral(**changes):
    shape = dict(
        COMMON, hidden_size=24, intermediate_size=20, num_attention_heads=3,
        num_key_value_heads=1, num_local_experts=8, num_experts_per_tok=2, sliding_window=None)
    return transformers.MixtralForCausalLM, transformers.MixtralConfig(**{**shape, **changes})


def qwen3(**changes):
    shape = dict(COMMON, head_dim=12)
    return transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**{**shape, **changes})


def qwen3_mixture(**changes):
    shape = dict(
        COMMON, hidden_size=24, intermediate_size=28, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=1, head_dim=10, num_experts=12, num_experts_per_tok=3,
        moe_intermediate_size=10, norm_topk_prob=True)
    return transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(**{**shape, **changes})


LLAMA_31 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32)

YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
YARN_IN_FULL = dict(
    YARN, beta_fast=8.0, beta_slow=0.5, mscale=0.9, mscale_all_dim=0.4, truncate=False)

CASES = {
    # Unchanged, blended and stretched frequencies: wavelengths below 8, between, and above 32.
    "llama-rope-scaled": dict(
        make=lambda: llama(head_dim=16, rope_theta=10000.0, rope_scaling=LLAMA_31),
        targets=DENSE),
    "llama-tied-head": dict(
        make=lambda: llama(tie_word_embeddings=True), targets=["q_proj", "v_proj", "lm_head"]),
    "llama-wide-heads-rslora": dict(
        make=lambda: llama(head_dim=12, num_attention_heads=6, num_key_value_heads=3),
        targets=DENSE, rslora=True, rank=3),
    "llama-f16": dict(make=llama, targets=DENSE, dtype=torch.float16),
    "llama-bf16-weights": dict(make=llama, targets=["k_proj", "o_proj"], dtype=torch.bfloat16),
    "mistral-window": dict(make=lambda: mistral(sliding_window=5), targets=DENSE),
    "qwen2-tied": dict(make=lambda: qwen2(tie_word_embeddings=True), targets=DENSE),
    "llama-biases": dict(
        make=lambda: llama(attention_bias=True, mlp_bias=True), targets=["o_proj", "up_proj"]),
    "llama-rope-linear": dict(
        make=lambda: llama(rope_scaling=dict(rope_type="linear", factor=3.0)), targets=["q_proj"]),
    "llama-rope-yarn": dict(
        make=lambda: llama(head_dim=16, rope_scaling=YARN_IN_FULL), targets=["q_proj", "k_proj"]),
    "qwen2-window": dict(
        make=lambda: qwen2(use_sliding_window=True, sliding_window=5, max_window_layers=1),
        targets=["k_proj", "v_proj"]),
    "qwen3-tied": dict(
        make=lambda: qwen3(tie_word_embeddings=True, rope_scaling=YARN), targets=DENSE),
    "qwen3-window": dict(
        make=lambda: qwen3(
            attention_bias=True, use_sliding_window=True, sliding_window=4,
            layer_types=["sliding_attention", "full_attention"]),
        targets=["q_proj", "k_proj", "lm_head"]),
    "qwen3-experts": dict(
        make=lambda: qwen3_mixture(mlp_only_layers=[1]), targets=DENSE + ["gate"],
        coefficient=0.3, rank=2),
    "qwen3-experts-plain": dict(
        make=lambda: qwen3_mixture(
            norm_topk_prob=False, decoder_sparse_step=2, use_sliding_window=True,
            sliding_window=7),
        targets=["v_proj", "up_proj", "gate"], coefficient=0.05, rank=2),
    "mixtral-experts": dict(make=mixtral, targets=EXPERTS, coefficient=0.02),
    "mixtral-router-head": dict(
        make=lambda: mixtral(sliding_window=6), targets=["q_proj", "w2", "gate", "lm_head"],
        coefficient=0.5),
}


def samples(vocabulary):
    """Three samples; the second has labels from its fifth token on, as after a prompt."""
    generator = torch.Generator().manual_seed(7)
    rows = []
    for length, first in [(17, 1), (9, 4), (23, 1)]:
        tokens = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        rows.append({"tokens": tokens, "first_target": first})
    return rows


def write(name, make, targets, coefficient=0.0, dtype=torch.float32, rslora=False, rank=4):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(sum(map(ord, name)))
    kind, config = make()
    config._attn_implementation = "eager"
    model = kind(config)
    for key, value in model.named_parameters():
        # Norms and biases start as constants, which would hide mistakes.
        if "norm" in key:
            value.data += 0.2 * torch.randn_like(value)
        if key.endswith("bias"):
            value.data = 0.3 * torch.randn_like(value)
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    written = {k: v for k, v in json.loads(path.read_text()).items() if k not in DROPPED}
    path.write_text(json.dumps(written, indent=2) + "\n")
    # The frozen values are those of the file; the arithmetic is float32.
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")

    settings = peft.LoraConfig(
        r=rank, lora_alpha=6, target_modules=targets, use_rslora=rslora, task_type="CAUSAL_LM",
        init_lora_weights=False)
    model = peft.get_peft_model(model, settings)
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data = torch.randn_like(value) * (0.2 if "lora_A" in key else 0.1)
    model.train()

    rows = samples(config.vocab_size)
    count = sum(len(row["tokens"]) - row["first_target"] for row in rows)
    logits, losses, gates = [], [], []
    experts = getattr(config, "num_local_experts", getattr(config, "num_experts", 0))
    is_mixture = experts > 0
    for row in rows:
        ids = torch.tensor([row["tokens"]])
        extra = dict(output_router_logits=True) if is_mixture else {}
        out = model(input_ids=ids, **extra)
        logits.append(out.logits[0])
        if is_mixture:
            gates.append(out.router_logits)
        first = row["first_target"]
        losses.append(torch.nn.functional.cross_entropy(
            out.logits[0, first - 1:-1], ids[0, first:], reduction="none"))
    losses = torch.cat(losses)
    loss = losses.sum() / count
    router_loss = torch.zeros(())
    if is_mixture:
        layers = tuple(torch.cat(layer) for layer in zip(*gates))
        chosen = config.num_experts_per_tok
        router_loss = load_balancing_loss_func(layers, experts, chosen)
        margins = [torch.sort(layer, descending=True).values for layer in layers]
        margin = min((m[:, chosen - 1] - m[:, chosen]).min().item() for m in margins)
        assert margin > 1e-3, f"{name}: experts are nearly tied ({margin})"
    (loss + coefficient * router_loss).backward()

    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    path = folder / "adapter" / "adapter_config.json"
    written = json.loads(path.read_text())
    written["base_model_name_or_path"] = name
    written["target_modules"].sort()
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    if "lm_head" in targets:
        # peft also saves the frozen matrices of head and embedding; the reader must cope.
        extra = [key for key in saved if "lora_" not in key]
        print(f"  {name}: beside the adapter saved {extra}")
    expected = {"logits": torch.cat(logits).detach(), "losses": losses.detach()}
    for key, value in model.named_parameters():
        if value.requires_grad:
            # An expert that no token was sent to has no gradient.
            gradient = torch.zeros_like(value) if value.grad is None else value.grad
            expected[key.replace(".default", "")] = gradient.detach().clone()
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    case = {
        "samples": rows, "loss": loss.item(), "router_loss": router_loss.item(),
        "router_coefficient": coefficient}
    (folder / "case.json").write_text(json.dumps(case) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: loss {loss.item():.6f}, router {router_loss.item():.4f}, {size} bytes")


def write_quantized(is_double):
    """A model quantized by bitsandbytes, its logits, and what it was made from."""
    folder = ROOT / ("bitsandbytes-double" if is_double else "bitsandbytes")
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(11)
    kind, config = llama(hidden_size=64, intermediate_size=64, num_hidden_layers=1)
    kind(config).to(torch.bfloat16).save_pretrained(folder / "plain")
    model = kind.from_pretrained(
        folder / "plain", dtype=torch.float32, attn_implementation="eager", device_map="cpu",
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=is_double,
            bnb_4bit_compute_dtype=torch.float32))
    model.save_pretrained(folder)
    for path in folder.rglob("generation_config.json"):
        path.unlink()
    rows = samples(config.vocab_size)
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([row["tokens"]])).logits[0] for row in rows]
    save_file({"logits": torch.cat(logits).contiguous()}, folder / "expected.safetensors")
    (folder / "case.json").write_text(json.dumps({"samples": rows}) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder.name}: {size} bytes")


def write_fused(name):
    """The weights of a case under the names of transformers 5."""
    folder = ROOT / name / "fused"
    shutil.rmtree(folder, ignore_errors=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(ROOT / name)
    model.save_pretrained(folder, save_original_format=False)
    (folder / "generation_config.json").unlink(missing_ok=True)
    print(f"{name}: {sorted(load_file(folder / 'model.safetensors'))}")


def main():
    torch.set_num_threads(1)
    if "--fused" in sys.argv:
        for name in ["mixtral-experts", "qwen3-experts"]:
            write_fused(name)
        return
    ROOT.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        if name in (sys.argv[1:] or CASES):
            write(name, **case)
    for is_double in [False, True]:
        if "bitsandbytes" in (sys.argv[1:] or ["bitsandbytes"]):
            write_quantized(is_double)
    (ROOT / "README.md").write_text(
        "# Tiny models and what transformers and peft compute with them\n\n"
        "Written by scripts/make-model-fixtures.py with "
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"peft {peft.__version__}.\nWeights are random; the arithmetic is float32.\n"
        "Folders `fused` are written with transformers 5.24.0, those of `bitsandbytes` with its "
        "0.50.2.\n")


if __name__ == "__main__":
    main()
