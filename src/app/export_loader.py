"""Loads what `fedalt export` wrote into a transformers model, with the exact forward (torch, transformers, safetensors).

    model = transformers.AutoModelForCausalLM.from_pretrained(BASE)
    fedalt_model.load(model, "adapter")          # in place; each adapted linear becomes a FedaltLinear
"""
import json
import pathlib

import torch
from safetensors.torch import load_file


class FedaltLinear(torch.nn.Module):
    """y = W0 x + b + D x + s (p_I B_I A_I x + g p_R B_R A_R x); p = softmax(G x) per token, fixed, or (1, 1). No dropout: for use."""

    def __init__(self, base, parts, options):
        super().__init__()
        self.base, self.options = base, options
        for name in ("a_i", "b_i", "a_r", "b_r", "mixer", "fold"):
            self.register_buffer(name, parts.get(name), persistent=False)

    def weights(self, x):
        if self.options["mixer"] == "token":
            return torch.softmax(x @ self.mixer.T, -1).split(1, -1)
        return torch.softmax(self.mixer, -1) if self.options["mixer"] == "layer" else self.options["weights"]

    def forward(self, inputs):
        x = inputs.to(self.a_i.dtype)
        p_i, p_r = self.weights(x)
        added = self.options["scale"] * p_i * (x @ self.a_i.T @ self.b_i.T)
        if self.a_r is not None:
            added = added + self.options["scale"] * self.options["gain"] * p_r * (x @ self.a_r.T @ self.b_r.T)
        if self.fold is not None:
            added = added + x @ self.fold.T
        return self.base(inputs) + added.to(inputs.dtype)


def load(model, directory):
    directory = pathlib.Path(directory)
    options = json.loads((directory / "fedalt_model.json").read_text())
    modules = {}
    for file, names in (("individual/adapter_model", "a_i b_i"), ("rest_of_world/adapter_model", "a_r b_r"), ("mixer", "mixer"), ("fold", "fold")):
        path = directory / f"{file}.safetensors"
        for key, tensor in (load_file(path) if path.exists() else {}).items():
            module, part = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".", 1)
            part = {"lora_A": names.split()[0], "lora_B": names.split()[-1]}.get(part, part)
            modules.setdefault(module, {})[part] = tensor.to(next(model.parameters()).device)
    for module, parts in modules.items():
        parent, _, child = module.rpartition(".")
        setattr(model.get_submodule(parent), child, FedaltLinear(model.get_submodule(module), parts, options))
    return model.eval()
