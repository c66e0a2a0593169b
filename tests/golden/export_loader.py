"""Golden data for tests/adapter/export_loader_test.cc: logits of the model that fedalt_model.py (src/app/export_loader.py) makes of an export.

Run:      python tests/golden/export_loader.py       (some seconds; after train_steps.py, whose tiny model and adapters it uses)
Reads:    tests/data/train/tiny-llama, tests/data/train/steps/initial.safetensors, src/app/export_loader.py
Writes:   tests/data/adapter/export/logits.safetensors
Needs:    torch, transformers, safetensors; the versions used are written into the metadata of logits.safetensors.
"""
import importlib.util
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
if sys.path and pathlib.Path(sys.path[0]).resolve() == HERE:
    del sys.path[0]  # scripts beside this one are called as the packages that they test

import safetensors.torch
import torch
import transformers

DATA = HERE.parent / "data"
TOKENS = torch.tensor([3, 17, 95, 0, 42, 42, 8, 61, 5, 77, 30])
SPEC = importlib.util.spec_from_file_location("fedalt_model", HERE.parent.parent / "src" / "app" / "export_loader.py")
fedalt_model = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fedalt_model)


def part(initial, name):
    return {key.removeprefix(name + "/"): tensor for key, tensor in initial.items() if key.startswith(name + "/")}


def logits(files, options):
    """`files`: tensors by the name of their file in the export."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "fedalt_model.json").write_text(json.dumps(options))
        for name, tensors in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            peft = {("base_model.model." + key if "/" in name else key): tensor for key, tensor in tensors.items()}
            safetensors.torch.save_file(peft, folder / f"{name}.safetensors")
        model = transformers.LlamaForCausalLM.from_pretrained(DATA / "train" / "tiny-llama", dtype=torch.float32, attn_implementation="eager")
        fedalt_model.load(model, folder)
        with torch.no_grad():
            return model(input_ids=TOKENS[None]).logits[0].contiguous()


if __name__ == "__main__":
    initial = safetensors.torch.load_file(DATA / "train" / "steps" / "initial.safetensors")
    own, others, mixer = part(initial, "individual"), part(initial, "rest_of_world"), part(initial, "mixer")
    both = {"individual/adapter_model": own, "rest_of_world/adapter_model": others}
    layer = {key: torch.tensor([0.7, -0.4]) for key in mixer}
    fold = {key.replace("lora_B", "fold"): 0.05 * (b @ own[key.replace("lora_B", "lora_A")]) for key, b in own.items() if "lora_B" in key}
    options = dict(scale=2.0, gain=2.5, weights=[0.3, 0.7])
    out = dict(tokens=TOKENS,
               token=logits(both | {"mixer": mixer}, options | {"mixer": "token"}),
               layer=logits(both | {"mixer": layer}, options | {"mixer": "layer"}),
               constant=logits(both, options | {"mixer": "constant"}),
               folded=logits({"individual/adapter_model": own, "fold": fold}, options | {"mixer": "constant", "weights": [1.0, 1.0]}))
    folder = DATA / "adapter" / "export"
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(out, folder / "logits.safetensors",
                                metadata={m.__name__: m.__version__ for m in (torch, transformers, safetensors)})
