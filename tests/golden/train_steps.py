"""Golden data for tests/train/trainer_test.cc: ten training steps of a whole model by Hugging Face transformers and PyTorch.

Run:      python tests/golden/train_steps.py        (about ten seconds)
Writes:   tests/data/train/tiny-llama/ (a Llama by save_pretrained), tests/data/train/steps/{initial,final}.safetensors, steps.json
Needs:    torch, transformers, safetensors, numpy; the versions used are written into steps.json.

Every part of the layer is on: token mixer, a rest of world that is not zero, dropout (the mask of layer.py in place of nn.Dropout),
AdamW with weight decay 0.05, clipping that bites, linear decay, examples of different lengths (padded here, packed in fedalt).
Batches follow src/data/packed_batch.h: per epoch a Fisher-Yates permutation by (seed, site, round, epoch).
"""
import importlib.util
import json
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
if sys.path and pathlib.Path(sys.path[0]).resolve() == HERE:
    del sys.path[0]  # scripts beside this one are called as the packages that they test

import numpy as np
import safetensors.torch
import torch
import transformers

spec = importlib.util.spec_from_file_location("layer", HERE / "layer.py")
layer_script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(layer_script)
PeftStyleLinear, mask_of, philox = layer_script.PeftStyleLinear, layer_script.mask_of, layer_script.philox
stable_id, stream_key = layer_script.stable_id, layer_script.stream_key

DATA = HERE.parent / "data" / "train"
DROPOUT, SHUFFLE = 2, 3  # RandomPurpose
SEED, SITE, ROUND = 17, 2, 3
R, ALPHA, P, LR, STEPS, BATCH = 4, 8, 0.1, 2e-3, 10, 4


def bits(key, index):
    words = philox(key, index & 0xFFFFFFFF, index >> 32, 0, 0)
    return (int(words[1]) << 32) | int(words[0])


def permutation(key, n):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = (bits(key, i) * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
    return order


class AddressedDropout(torch.nn.Module):
    """The mask of the step that runs, for padded input (batch, length, features)."""

    def __init__(self, name):
        super().__init__()
        self.module_id, self.rows, self.key = stable_id(name), None, 0

    def forward(self, x):
        ids, length = self.rows
        rows = dict(example_ids=[i for i in ids for _ in range(length)], positions=list(range(length)) * len(ids))
        return x * mask_of(rows, x.shape[-1], P, self.key, self.module_id, x.dtype).view_as(x)


def make_model():
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, tie_word_embeddings=False,
                                      attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config).float().eval().requires_grad_(False)
    shutil.rmtree(DATA / "tiny-llama", ignore_errors=True)
    model.save_pretrained(DATA / "tiny-llama")
    return model


def attach(model):
    torch.manual_seed(2)
    layers = {}
    for i, block in enumerate(model.model.layers):
        for name in ("q_proj", "v_proj"):
            full = f"model.layers.{i}.self_attn.{name}"
            layer = PeftStyleLinear(getattr(block.self_attn, name), R, ALPHA, AddressedDropout(full))
            torch.nn.init.normal_(layer.lora_B.weight, std=0.05)
            torch.nn.init.normal_(layer.lora_B0.weight, std=0.2)
            setattr(block.self_attn, name, layer)
            layers[full] = layer
    return layers


def state(layers):
    out = {}
    for name, layer in layers.items():
        out[f"individual/{name}.lora_A.weight"], out[f"individual/{name}.lora_B.weight"] = layer.lora_A.weight, layer.lora_B.weight
        out[f"rest_of_world/{name}.lora_A.weight"], out[f"rest_of_world/{name}.lora_B.weight"] = layer.lora_A0.weight, layer.lora_B0.weight
        out[f"mixer/{name}.mixer.weight"] = layer.lora_route.weight
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


def make_examples():
    rng = np.random.default_rng(3)
    out = []
    for k in range(10):
        prompt, response = int(rng.integers(1, 12)), int(rng.integers(1, 9))
        out.append(dict(id=100 + 3 * k, tokens=rng.integers(0, 96, prompt + response).tolist(), response_begin=prompt))
    return out


def plan(n):
    batches, epoch = [], 0
    while len(batches) < STEPS:
        order = permutation(stream_key(SEED, SHUFFLE, [SITE, ROUND, epoch]), n)
        batches += [order[i:i + BATCH] for i in range(0, n, BATCH)]
        epoch += 1
    return batches[:STEPS]


def loss_of(model, members):
    length = max(len(e["tokens"]) for e in members)
    tokens = torch.zeros(len(members), length, dtype=torch.long)
    attention = torch.zeros_like(tokens)
    labels = torch.full_like(tokens, -100)
    for row, e in enumerate(members):
        n = len(e["tokens"])
        tokens[row, :n], attention[row, :n] = torch.tensor(e["tokens"]), 1
        labels[row, e["response_begin"]:n] = tokens[row, e["response_begin"]:n]
    logits = model(input_ids=tokens, attention_mask=attention).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100), length


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "steps").mkdir(exist_ok=True)
    model = make_model()
    layers = attach(model)
    examples = make_examples()
    safetensors.torch.save_file(state(layers), DATA / "steps" / "initial.safetensors")
    trained = [p for layer in layers.values() for p in (layer.lora_A.weight, layer.lora_B.weight, layer.lora_route.weight)]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses, norms = [], []
    for step, batch in enumerate(plan(len(examples))):
        members = [examples[i] for i in batch]
        length = max(len(e["tokens"]) for e in members)
        for layer in layers.values():
            layer.lora_dropout.rows = ([e["id"] for e in members], length)
            layer.lora_dropout.key = stream_key(SEED, DROPOUT, [SITE, ROUND, step])
        loss, _ = loss_of(model, members)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    safetensors.torch.save_file(state(layers), DATA / "steps" / "final.safetensors")
    options = dict(seed=SEED, site=SITE, round=ROUND, r=R, lora_alpha=ALPHA, lora_dropout=P, lr=LR, steps=STEPS, batch_size=BATCH)
    (DATA / "steps" / "steps.json").write_text(json.dumps(dict(
        versions=dict(torch=torch.__version__, transformers=transformers.__version__), options=options, examples=examples,
        batches=plan(len(examples)), losses=losses, gradient_norms=norms)))
    print(losses, norms)


if __name__ == "__main__":
    main()
