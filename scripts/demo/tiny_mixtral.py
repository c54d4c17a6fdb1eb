"""A compact Mixtral in plain PyTorch: fast on a CPU, same weights and same names as the Hub's `MixtralForCausalLM`.

Experts are kept stacked, (experts, out, in), so that an optimiser sees three tensors a layer; `hub_tensors` splits them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

# The 16 values of NF4 (QLoRA, appendix E) and the midpoints at which rounding changes from one to the next.
NF4_CODE = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])
NF4_MIDPOINTS = (NF4_CODE[1:] + NF4_CODE[:-1]) / 2
NF4_BLOCK = 64


def nf4_round_trip(weight: torch.Tensor) -> torch.Tensor:
    """Quantises to NF4 (blocks of 64 along the flattened weight, float32 absmax) and back."""
    blocks = weight.detach().float().reshape(-1, NF4_BLOCK)
    absmax = blocks.abs().amax(dim=1, keepdim=True)
    codes = torch.bucketize(blocks / absmax.clamp_min(1e-30), NF4_MIDPOINTS)
    return (NF4_CODE[codes] * absmax).reshape(weight.shape)


@dataclass
class Config:
    vocab_size: int = 1024
    hidden_size: int = 256
    intermediate_size: int = 64
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    num_local_experts: int = 8
    num_experts_per_tok: int = 2
    max_position_embeddings: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    router_aux_loss_coef: float = 0.02

    def hub(self) -> dict:
        return {
            "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", **asdict(self),
            "hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02, "sliding_window": None,
            "tie_word_embeddings": False, "output_router_logits": False, "use_cache": True,
            "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}


def rms_norm(x, weight, eps):
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def rotate(x, cos, sin):
    """Rotary embedding in the Hub's layout: the two halves of a head are the two coordinates."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        d, f, e = c.hidden_size, c.intermediate_size, c.num_local_experts
        kv = d // c.num_attention_heads * c.num_key_value_heads

        def matrix(*shape, gain=1.0):
            return nn.Parameter(torch.randn(*shape) * gain * shape[-1] ** -0.5)

        self.input_norm = nn.Parameter(torch.ones(d))
        self.post_norm = nn.Parameter(torch.ones(d))
        self.q, self.k, self.v = matrix(d, d), matrix(kv, d), matrix(kv, d)
        self.o = matrix(d, d, gain=0.3)
        self.gate = matrix(e, d)
        self.w1, self.w3, self.w2 = matrix(e, f, d), matrix(e, f, d), matrix(e, d, f, gain=0.3)


class TinyMixtral(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.config = c
        embed = torch.randn(c.vocab_size, c.hidden_size)
        self.embed = nn.Parameter(embed.clone() * 0.5)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(c.hidden_size))
        self.head = nn.Parameter(embed * c.hidden_size ** -0.5 * 0.5)  # starts aligned with the embedding: copying
        half = c.hidden_size // c.num_attention_heads // 2
        inverse = c.rope_theta ** (-torch.arange(half) / half)
        angles = torch.arange(c.max_position_embeddings)[:, None] * inverse[None]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    # A hook for quantisation-aware pretraining and for LoRA: every linear of the blocks except the router goes through
    # `linear`, with its layer, its name and (for w1, w2, w3) its expert.
    def linear(self, x, index, name, expert=None):
        weight = getattr(self.layers[index], name)
        return F.linear(x, weight if expert is None else weight[expert])

    def attention(self, x, index):
        c = self.config
        batch, length, d = x.shape
        size = d // c.num_attention_heads
        q, k, v = (self.linear(x, index, n).view(batch, length, -1, size).transpose(1, 2) for n in "qkv")
        cos, sin = self.cos[:length].to(x.dtype), self.sin[:length].to(x.dtype)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = c.num_attention_heads // c.num_key_value_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.linear(y.transpose(1, 2).reshape(batch, length, d), index, "o")

    def experts(self, x, index):
        """Top-2 of 8 experts. Tokens are sorted by expert; each expert then does one dense product."""
        c = self.config
        flat = x.reshape(-1, x.shape[-1])
        probabilities = F.linear(flat, self.layers[index].gate).float().softmax(-1)
        top, chosen = probabilities.topk(c.num_experts_per_tok, dim=-1)
        top = top / top.sum(-1, keepdim=True)
        order = chosen.flatten().argsort()
        rows = order // c.num_experts_per_tok
        counts = torch.bincount(chosen.flatten(), minlength=c.num_local_experts)
        pieces = []
        for e, piece in enumerate(flat.index_select(0, rows).split(counts.tolist())):
            if len(piece):
                inner = F.silu(self.linear(piece, index, "w1", e)) * self.linear(piece, index, "w3", e)
                pieces.append(self.linear(inner, index, "w2", e))
        scale = top.flatten().index_select(0, order)[:, None].to(x.dtype)
        y = torch.zeros_like(flat).index_add(0, rows, torch.cat(pieces) * scale)
        share = counts.float() / chosen.numel()
        balance = c.num_local_experts * (share * probabilities.mean(0)).sum()  # 1 when even
        return y.view_as(x), balance

    def hidden(self, ids):
        """The normalised hidden states and the mean load-balancing loss."""
        eps = self.config.rms_norm_eps
        x, balance = self.embed[ids], 0.0
        for i, layer in enumerate(self.layers):
            x = x + self.attention(rms_norm(x, layer.input_norm, eps), i)
            y, b = self.experts(rms_norm(x, layer.post_norm, eps), i)
            x, balance = x + y, balance + b / len(self.layers)
        return rms_norm(x, self.norm, eps), balance

    def forward(self, ids):
        return F.linear(self.hidden(ids)[0], self.head)


ATTENTION = ("q", "k", "v", "o")
EXPERT = ("w1", "w2", "w3")


def hub_tensors(model: TinyMixtral) -> dict[str, torch.Tensor]:
    out = {"model.embed_tokens.weight": model.embed, "model.norm.weight": model.norm, "lm_head.weight": model.head}
    for i, layer in enumerate(model.layers):
        p = f"model.layers.{i}."
        out[p + "input_layernorm.weight"] = layer.input_norm
        out[p + "post_attention_layernorm.weight"] = layer.post_norm
        out[p + "block_sparse_moe.gate.weight"] = layer.gate
        for n in ATTENTION:
            out[p + f"self_attn.{n}_proj.weight"] = getattr(layer, n)
        for n in EXPERT:
            for e in range(model.config.num_local_experts):
                out[p + f"block_sparse_moe.experts.{e}.{n}.weight"] = getattr(layer, n)[e]
    return {name: tensor.detach().to(torch.bfloat16).contiguous().clone() for name, tensor in out.items()}


def save(model: TinyMixtral, folder: Path):
    from safetensors.torch import save_file
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hub_tensors(model), str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.hub(), indent=2) + "\n")


def load(folder: Path) -> TinyMixtral:
    from safetensors.torch import load_file
    hub = json.loads((folder / "config.json").read_text())
    model = TinyMixtral(Config(**{k: hub[k] for k in asdict(Config())}))
    tensors = load_file(str(folder / "model.safetensors"))
    with torch.no_grad():
        model.embed.copy_(tensors["model.embed_tokens.weight"])
        model.norm.copy_(tensors["model.norm.weight"])
        model.head.copy_(tensors["lm_head.weight"])
        for i, layer in enumerate(model.layers):
            p = f"model.layers.{i}."
            layer.input_norm.copy_(tensors[p + "input_layernorm.weight"])
            layer.post_norm.copy_(tensors[p + "post_attention_layernorm.weight"])
            layer.gate.copy_(tensors[p + "block_sparse_moe.gate.weight"])
            for n in ATTENTION:
                getattr(layer, n).copy_(tensors[p + f"self_attn.{n}_proj.weight"])
            for n in EXPERT:
                for e in range(model.config.num_local_experts):
                    getattr(layer, n)[e].copy_(tensors[p + f"block_sparse_moe.experts.{e}.{n}.weight"])
    return model
