"""Makes tests/data/safetensors: files written by the safetensors library and a sharded model written by transformers.

Run: /path/to/venv/bin/python tests/golden/safetensors_files.py        (torch, safetensors, transformers; versions are written into expected.json)
"""
import json
import os
import shutil
import sys

sys.path.pop(0)  # this file has the library's name
import safetensors
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "safetensors")


def mixed():
    numbers = torch.arange(-4, 8)
    tensors = {"f64": numbers.double() / 3, "f32": (numbers.float() / 7).reshape(3, 4), "f16": numbers.half() / 5, "bf16": numbers[:7].bfloat16() / 3,
               "i64": numbers * (1 << 40), "i32": numbers.int() * 1000, "i16": numbers.short() * 100, "i8": numbers.to(torch.int8),
               "u8": torch.arange(250, 255).to(torch.uint8), "bool": numbers[:5] % 2 == 0, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
               "naïve \"quoted\"": torch.ones(1, 1, 2)}
    return tensors


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    tensors = mixed()
    save_file(tensors, os.path.join(OUT, "mixed.safetensors"), metadata={"format": "pt"})
    expected = {name: {"shape": list(t.shape), "dtype": str(t.dtype), "values": t.reshape(-1).double().tolist()} for name, t in tensors.items()}
    save_file({}, os.path.join(OUT, "no_tensors.safetensors"))

    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    model = transformers.LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(os.path.join(OUT, "sharded"), max_shard_size="4KB")
    shards = sorted(f for f in os.listdir(os.path.join(OUT, "sharded")) if f.endswith(".safetensors"))
    assert len(shards) > 1
    sums = {}
    for shard in shards:
        with safe_open(os.path.join(OUT, "sharded", shard), "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                sums[name] = {"shape": list(tensor.shape), "sum": tensor.double().sum().item(), "square": tensor.double().square().sum().item()}
    with open(os.path.join(OUT, "expected.json"), "w") as file:
        json.dump({"versions": {"torch": torch.__version__, "transformers": transformers.__version__, "safetensors": safetensors.__version__},
                   "mixed": expected, "sharded": sums}, file, indent=1)


main()
