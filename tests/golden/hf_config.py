"""Makes tests/data/hf_config: configurations as transformers writes them (and older layouts), with the values transformers reads from them.

Run: /path/to/venv/bin/python tests/golden/hf_config.py        (torch, transformers; versions are written into expected.json)
"""
import json
import os
import shutil

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig, GenerationConfig, LlamaConfig, MistralConfig, Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "hf_config")
SMALL = dict(vocab_size=320, hidden_size=64, intermediate_size=172, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128)


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 500000.0, **more}


# Written by transformers (save_pretrained).
WRITTEN = {
    "llama2": LlamaConfig(**SMALL),
    "llama_gqa": LlamaConfig(**SMALL, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=True),
    "llama_biases": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True, head_dim=32, bos_token_id=None, eos_token_id=None),
    "llama_linear": LlamaConfig(**SMALL, rope_parameters=rope("linear", factor=4.0)),
    "llama_dynamic": LlamaConfig(**SMALL, rope_parameters=rope("dynamic", factor=2.0)),
    "llama31": LlamaConfig(**SMALL, num_key_value_heads=2, eos_token_id=[300, 301, 302], rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama_yarn": LlamaConfig(**SMALL, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama_yarn_mscale": LlamaConfig(**SMALL, rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=16, beta_slow=2, mscale=0.7, mscale_all_dim=1.3, truncate=False)),
    "llama_yarn_given": LlamaConfig(**SMALL, rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=0.75)),
    "mistral_window": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=16),
    "mistral_full": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=None, head_dim=24),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2_window": Qwen2Config(**SMALL, num_key_value_heads=2, use_sliding_window=True, sliding_window=16, max_window_layers=2),
    "qwen2_window_late": Qwen2Config(**SMALL, num_key_value_heads=2, use_sliding_window=True, sliding_window=16, max_window_layers=28),
    "bloom": BloomConfig(vocab_size=320, hidden_size=64, n_layer=3, n_head=4),
    "bloom_post": BloomConfig(vocab_size=320, hidden_size=48, n_layer=2, n_head=6, apply_residual_connection_post_layernorm=True,
                              layer_norm_epsilon=1e-6),
}

OLD = dict(SMALL, torch_dtype="float16", hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=False)
# The layouts of files published before transformers 5, and files that leave fields out; written here, read by transformers.
OLDER = {
    "old_llama31": dict(OLD, model_type="llama", num_key_value_heads=2, rope_theta=500000.0, bos_token_id=1, eos_token_id=[2, 3], rope_scaling={
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64, "rope_type": "llama3"}),
    "old_tinyllama": dict(OLD, model_type="llama", num_key_value_heads=4, rope_theta=10000.0, rope_scaling=None, bos_token_id=1, eos_token_id=2),
    "old_linear": dict(OLD, model_type="llama", rope_scaling={"type": "linear", "factor": 2.0}),
    "old_minimal": dict(model_type="llama", **{k: v for k, v in SMALL.items() if k != "max_position_embeddings"}),
    "old_mistral_minimal": dict(model_type="mistral", **dict(SMALL, num_attention_heads=8), rope_theta=1000000),
    "old_qwen2": dict(OLD, model_type="qwen2", num_key_value_heads=2, rope_theta=1000000.0, use_sliding_window=False, sliding_window=32,
                      max_window_layers=2, bos_token_id=7, eos_token_id=7, tie_word_embeddings=True),
    "old_qwen2_window": dict(OLD, model_type="qwen2", num_key_value_heads=2, use_sliding_window=True, sliding_window=32, max_window_layers=1),
    "old_yarn": dict(OLD, model_type="qwen2", num_key_value_heads=2, rope_scaling={
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}),
    "old_bloom": dict(model_type="bloom", n_embed=64, n_layer=2, num_attention_heads=4, vocab_size=320, layer_norm_epsilon=1e-05,
                      seq_length=2048, apply_residual_connection_post_layernorm=False, pad_token_id=3, n_inner=None),
}


def expected(config):
    """What transformers makes of it; the number of parameters is counted on the model itself."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    parameters = sum(p.numel() for p in model.parameters())  # a tied head is one parameter
    heads = config.num_attention_heads
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [] if config.eos_token_id is None else [config.eos_token_id]
    values = dict(model_type=config.model_type, vocab_size=config.vocab_size, hidden_size=config.hidden_size,
                  num_layers=config.num_hidden_layers, num_heads=heads, tie_word_embeddings=config.tie_word_embeddings,
                  bos_token_id=-1 if config.bos_token_id is None else config.bos_token_id, eos_token_ids=eos, parameters=parameters)
    attention = model.transformer.h[0].self_attention if config.model_type == "bloom" else model.model.layers[0].self_attn
    if config.model_type == "bloom":
        values.update(num_kv_heads=heads, head_dim=attention.head_dim, intermediate_size=model.transformer.h[0].mlp.dense_h_to_4h.out_features,
                      norm_eps=config.layer_norm_epsilon, residual_after_layernorm=config.apply_residual_connection_post_layernorm,
                      attention_bias=attention.query_key_value.bias is not None, attention_output_bias=attention.dense.bias is not None,
                      mlp_bias=model.transformer.h[0].mlp.dense_h_to_4h.bias is not None)
        return values
    windows = [getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers]
    if config.model_type == "mistral":
        windows = [config.sliding_window] * config.num_hidden_layers
    rope_parameters = config.rope_parameters
    _, attention_factor = (ROPE_INIT_FUNCTIONS[rope_parameters["rope_type"]](config, "cpu") if rope_parameters["rope_type"] != "default"
                           else (None, 1.0))
    mlp = model.model.layers[0].mlp
    values.update(num_kv_heads=attention.k_proj.out_features // attention.head_dim, head_dim=attention.head_dim,
                  intermediate_size=mlp.gate_proj.out_features, norm_eps=config.rms_norm_eps, residual_after_layernorm=False,
                  attention_bias=attention.q_proj.bias is not None, attention_output_bias=attention.o_proj.bias is not None,
                  mlp_bias=mlp.gate_proj.bias is not None, max_position_embeddings=config.max_position_embeddings,
                  rope_theta=rope_parameters["rope_theta"], windows=[w or 0 for w in windows], attention_factor=attention_factor,
                  rope={k: v for k, v in rope_parameters.items() if k != "rope_theta" and k != "type"})
    return values


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    cases = {}
    for name, config in WRITTEN.items():
        config.save_pretrained(os.path.join(OUT, name))
        cases[name] = expected(AutoConfig.from_pretrained(os.path.join(OUT, name)))
    for name, fields in OLDER.items():
        os.makedirs(os.path.join(OUT, name))
        with open(os.path.join(OUT, name, "config.json"), "w") as file:
            json.dump(fields, file, indent=2)
        cases[name] = expected(AutoConfig.from_pretrained(os.path.join(OUT, name)))
    GenerationConfig(eos_token_id=[2, 9]).save_pretrained(os.path.join(OUT, "llama2"))
    cases["llama2"]["eos_token_ids"] = [2, 9]
    with open(os.path.join(OUT, "expected.json"), "w") as file:
        json.dump({"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "cases": cases}, file, indent=1)


main()
