#!/usr/bin/env python3
"""The same run as speed.sh by transformers + peft (+ bitsandbytes), for comparison on the same device.

    python3 Benchmarks/baseline.py CONFIG PACK_TOKENS [--steps 6] [--device cuda] [--quant nf4|none]
        [--rank 16] [--experts EXPERTS_IMPLEMENTATION]

Random weights are made and quantized on the device, layer by layer. Prints one JSON line like
speed.sh's: tokens/s (median of the steps after the first two), TFLOP/s by 4 FLOP per active weight
and token, peak memory, seconds to the end of the first step. Sequences are as long as speed.sh's rows
and stand in a batch, so that no token is padding. PEAK_TFLOPS gives the MFU.

With transformers 5, bitsandbytes leaves fused experts in bf16 (the line's `four_bit_share` says how
much of the base is 4-bit); with 4.57 experts are separate modules and become 4-bit.
"""
import argparse, datetime, json, os, statistics, sys, time

began = time.time()
arguments = argparse.ArgumentParser()
arguments.add_argument("config")
arguments.add_argument("pack", type=int)
arguments.add_argument("--steps", type=int, default=6)
arguments.add_argument("--device", default="cuda")
arguments.add_argument("--quant", default="nf4", choices=["nf4", "none"])
arguments.add_argument("--rank", type=int, default=16)
arguments.add_argument("--experts", default=None)
options = arguments.parse_args()

import torch, transformers, peft

torch.manual_seed(1)
settings = json.load(open(options.config))
config = getattr(transformers, settings["architectures"][0]).config_class(**settings)
config.use_cache = False
if options.experts:
    config._experts_implementation = options.experts
length = int(os.environ.get("SAMPLE_TOKENS", min(2048, options.pack)))
batch = options.pack // length
device = torch.device(options.device)
if device.type == "cuda":
    torch.cuda.reset_peak_memory_stats()

with torch.device("meta"):
    model = transformers.AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16)
quantized = kept = 0
for name, module in list(model.named_modules()):
    if options.quant == "nf4" and isinstance(module, torch.nn.Linear) and not name.endswith(("lm_head", "gate")):
        import bitsandbytes

        weight = torch.randn(module.weight.shape, dtype=torch.bfloat16, device=device) * 0.02
        new = bitsandbytes.nn.Linear4bit(
            module.in_features, module.out_features, bias=False, quant_type="nf4",
            compute_dtype=torch.bfloat16, device="meta")
        new.weight = bitsandbytes.nn.Params4bit(
            weight.cpu() if device.type == "cpu" else weight, requires_grad=False, quant_type="nf4",
            module=new).to(device)
        quantized += weight.numel()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
        del weight
for module in model.modules():
    for name, value in list(module._parameters.items()):
        if value is not None and value.is_meta:
            made = torch.randn(value.shape, dtype=torch.bfloat16, device=device) * 0.02
            if value.dim() == 1:
                made.fill_(1)
            kept += made.numel()
            module._parameters[name] = torch.nn.Parameter(made, requires_grad=False)
# Buffers, such as the frequencies of the positions, are computed and not random.
rotary = type(model.model.rotary_emb)(config=config)
model.model.rotary_emb = rotary.to(device)

model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
model.enable_input_require_grads()
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"]
model = peft.get_peft_model(
    model, peft.LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules=targets, task_type="CAUSAL_LM"))
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4)
model.train()

active = config.num_hidden_layers * (
    config.hidden_size**2 * (2 + 2 * config.num_key_value_heads / config.num_attention_heads)
    + 3 * config.hidden_size * config.intermediate_size * getattr(config, "num_experts_per_tok", 1)
) + config.vocab_size * config.hidden_size
times, first = [], None
generator = torch.Generator().manual_seed(1)
for step in range(options.steps):
    ids = torch.randint(0, config.vocab_size, (batch, length), generator=generator).to(device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.time()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    loss = loss.item()
    times.append(time.time() - start)
    first = first or time.time() - began
    print(f"step {step + 1}: loss {loss:.4f}, {times[-1]:.3f} s", file=sys.stderr)

rate = batch * length / statistics.median(times[2:] or times)
tflops = 4 * active * rate / 1e12
if device.type == "cuda":
    peak = torch.cuda.max_memory_reserved()
else:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
try:
    import bitsandbytes

    versions["bitsandbytes"] = bitsandbytes.__version__
except ImportError:
    pass
line = {
    "date": str(datetime.date.today()), "program": "peft", "versions": versions,
    "config": os.path.basename(options.config).removesuffix(".json"), "ranks": 1,
    "pack_tokens": options.pack, "sample_tokens": length, "steps": options.steps,
    "flags": " ".join(sys.argv[3:]),
    "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    "tokens_per_second": round(rate, 1), "tflops": round(tflops, 3),
    "first_step_seconds": round(first, 2), "peak_memory_bytes": peak,
    "four_bit_share": round(quantized / max(1, quantized + kept), 4),
}
if float(os.environ.get("PEAK_TFLOPS", 0)) > 0:
    line["mfu"] = round(tflops / float(os.environ["PEAK_TFLOPS"]), 4)
print(json.dumps(line))
