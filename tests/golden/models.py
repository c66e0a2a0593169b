"""Tiny models written by Hugging Face transformers, with their logits and greedy continuations, for tests/model/.

Run (about half a minute):  python tests/golden/models.py [NAME ...]
Made with torch 2.15 and transformers 5.23; the versions that really ran stand in each golden.safetensors.

Each tests/data/model/<name>/ is what save_pretrained writes (weights random, norms and biases too), plus golden.safetensors:
  ids (T), offsets (B + 1)   ragged sequences, each run alone (no padding)
  logits (T, V)              float32, eager attention
  nll (1) float64            mean of -log p(next token) over all T - B predicted tokens
  greedy_prompt, greedy      64 greedy tokens with the KV cache, no EOS
"""

import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import BloomConfig, LlamaConfig, MistralConfig, Qwen2Config

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "model"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
BASE = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, rms_norm_eps=1e-5,
            bos_token_id=1, eos_token_id=2)
BLOOM = dict(vocab_size=96, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2, bos_token_id=1, eos_token_id=2)


def rope(kind, theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


# name: (config, lengths of the sequences, keyword arguments of save_pretrained, dtype of the stored weights)
CASES = {
    "llama": (LlamaConfig(**BASE), (9, 1, 23, 4), {}, torch.float32),
    "llama_tied_biases": (LlamaConfig(**{**BASE, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
                          (9, 1, 23), {}, torch.float32),
    "llama_head_dim": (LlamaConfig(**{**BASE, "head_dim": 12}), (9, 1, 23), {}, torch.float32),
    "llama_rope_linear": (LlamaConfig(**{**BASE, "rope_parameters": rope("linear", factor=4.0)}), (9, 40), {}, torch.float32),
    "llama_rope_dynamic": (LlamaConfig(**{**BASE, "max_position_embeddings": 32, "rope_parameters": rope("dynamic", factor=2.0)}),
                           (9, 32, 33, 50), {}, torch.float32),
    "llama_rope_llama3": (LlamaConfig(**{**BASE, "rope_parameters": rope("llama3", theta=500.0, factor=8.0, low_freq_factor=1.0,
                          high_freq_factor=4.0, original_max_position_embeddings=64)}), (9, 50), {}, torch.float32),
    "llama_rope_yarn": (LlamaConfig(**{**BASE, "rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=32)}),
                        (9, 50), {}, torch.float32),
    "mistral": (MistralConfig(**BASE, sliding_window=7), (9, 1, 30), {}, torch.float32),
    "qwen2": (Qwen2Config(**BASE), (9, 1, 23), {}, torch.float32),
    "qwen2_sliding": (Qwen2Config(**BASE, use_sliding_window=True, sliding_window=5, max_window_layers=1), (9, 1, 23), {}, torch.float32),
    "smollm": (LlamaConfig(**{**BASE, "hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1,
               "tie_word_embeddings": True}), (9, 1, 23), {}, torch.float32),
    "tinyllama": (LlamaConfig(**{**BASE, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 1,
                  "initializer_range": 0.15}), (9, 1, 23), {}, torch.float32),
    "llama_sharded": (LlamaConfig(**BASE), (9, 1, 23), {"max_shard_size": "20KB"}, torch.float32),
    "llama_float16": (LlamaConfig(**BASE), (9, 1, 23), {}, torch.float16),
    "llama_bfloat16": (LlamaConfig(**BASE), (9, 1, 23), {}, torch.bfloat16),
    "bloom": (BloomConfig(**BLOOM), (9, 1, 23, 4), {}, torch.float32),
    "bloom_post_layernorm": (BloomConfig(**{**BLOOM, "n_head": 6, "hidden_size": 48, "apply_residual_connection_post_layernorm": True}),
                             (9, 1, 23), {}, torch.float32),
}


def randomise(model, seed):
    """Norms near one, biases near zero, the rest by the configuration's initializer_range; everything non-trivial."""
    generator = torch.Generator().manual_seed(seed)
    spread = model.config.initializer_range
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif p.dim() == 1:
                p.copy_(1.0 + 0.3 * noise)
            else:
                p.copy_(spread * noise)


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def make(name, index):
    config, lengths, save_arguments, dtype = CASES[name]
    path = DATA / name
    shutil.rmtree(path, ignore_errors=True)
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomise(model, index)
    model.to(dtype).save_pretrained(path, **save_arguments)

    generator = torch.Generator().manual_seed(1000 + index)
    ids = [torch.randint(3, config.vocab_size, (n,), generator=generator) for n in lengths]
    logits = []
    with torch.no_grad():
        for sequence in ids:
            logits.append(load(path)(sequence[None]).logits[0])  # a fresh model each time: dynamic RoPE keeps state
        losses = [torch.nn.functional.cross_entropy(l[:-1].double(), s[1:], reduction="none") for l, s in zip(logits, ids)]
        greedy = load(path).generate(ids[0][None], max_new_tokens=64, do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0)
    save_file({
        "ids": torch.cat(ids), "offsets": torch.tensor([0, *lengths]).cumsum(0), "logits": torch.cat(logits).contiguous(),
        "nll": torch.cat(losses).mean()[None], "greedy_prompt": ids[0].clone(), "greedy": greedy[0, len(ids[0]):].clone(),
    }, path / "golden.safetensors", metadata=VERSIONS)
    print(name, "std of the logits %.2f" % torch.cat(logits).std(), "distinct greedy tokens", len(set(greedy[0].tolist())))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for index, name in enumerate(CASES):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, index)
