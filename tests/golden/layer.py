"""Golden data for tests/adapter/fedalt_linear_test.cc and dropout_test.cc: the FedALT layer in naive form.

Run:      python tests/golden/layer.py           (about five seconds)
Writes:   tests/data/adapter/layer.json, tests/data/adapter/dropout.json
Needs:    torch and numpy; the versions used are written into the files.

`cases` holds outputs and all gradients of the formula written out term by term, in float64 with torch's own autograd. `peft_style` is the
layer as a PEFT user would write it (the authors' script does): modules lora_A, lora_B, lora_A0, lora_B0, lora_route, an nn.Module for
dropout, float32. The random numbers of fedalt (Philox4x32-10, Salmon et al., SC 2011) are written here once more from their description
in src/base/random.h and src/adapter/dropout.h.
"""
import hashlib
import json
import pathlib

import numpy as np
import torch

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "adapter"
U32 = np.uint64(0xFFFFFFFF)


def philox(key, c0, c1, c2, c3):
    """Philox4x32-10 over arrays of counters (uint64 holding 32 bits each); returns four arrays of words."""
    c0, c1, c2, c3 = np.broadcast_arrays(*[np.asarray(c, dtype=np.uint64) for c in (c0, c1, c2, c3)])
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & U32, (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & U32
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def block_key(key, word, tag, constant):
    words = philox(key, word & 0xFFFFFFFF, word >> 32, tag, constant)
    return (int(words[1]) << 32) | int(words[0])


def stream_key(seed, purpose, path):
    """RandomStream(seed, purpose, path).key()."""
    key = block_key(seed, purpose, 0, 0x666C7431)
    for word in path:
        key = block_key(key, word, 1, 0x666C7431)
    return key


def stable_id(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def dropped(example_ids, positions, features, p, dropout_key, module_id):
    """True where an entry is dropped, (T, features)."""
    key = block_key(dropout_key, module_id, 0, 0x6B73616D)
    example = np.asarray(example_ids, dtype=np.uint64)[:, None]
    position = np.asarray(positions, dtype=np.uint64)[:, None]
    f = np.arange(features, dtype=np.uint64)
    block, word = np.uint64(16) * (f // np.uint64(64)) + f % np.uint64(16), (f // np.uint64(16)) % np.uint64(4)
    words = np.stack(philox(key, block[None, :], position & U32, example & U32, example >> np.uint64(32)))
    draw = np.take_along_axis(words, np.broadcast_to(word.astype(np.int64), words.shape[1:])[None], axis=0)[0]
    return draw < np.uint64(round(p * 2**32))


def mask_of(rows, features, p, dropout_key, module_id, dtype):
    kept = ~dropped(rows["example_ids"], rows["positions"], features, p, dropout_key, module_id)
    return torch.tensor(kept).to(dtype) * (1.0 / (1.0 - p))


def formula(t, case, mask):
    """y of algorithm section 1, term by term."""
    p_i, p_r = 1.0, 1.0
    if case["mixer"] in ("token", "layer") and not case["mixer_active"]:
        p_i = p_r = 0.5
    elif case["mixer"] == "token":
        p = torch.softmax(t["x"] @ t["mixer"].T, dim=1)
        p_i, p_r = p[:, :1], p[:, 1:]
    elif case["mixer"] == "layer":
        p_i, p_r = torch.softmax(t["mixer"], dim=0)
    elif case["mixer"] == "fixed":
        p_i, p_r = case["fixed_p"], 1.0 - case["fixed_p"]
    branches = case["branches"]
    if branches == "individual_alone":
        p_i, p_r = 1.0, 0.0
    if branches == "rest_of_world_alone":
        p_i, p_r = 0.0, 1.0
    if branches in ("individual_off", "base"):
        p_i = p_i * 0.0
    if branches in ("rest_of_world_off", "base"):
        p_r = p_r * 0.0
    dropped_x = t["x"] * mask
    individual = p_i * (dropped_x @ t["a_i"].T @ t["b_i"].T)
    rest_of_world = case["gain"] * p_r * (dropped_x @ t["a_r"].T @ t["b_r"].T)
    return t["x"] @ t["w0"].T + t["bias"] + case["scale"] * (individual + rest_of_world)


SHAPES = dict(T=5, d_in=36, d_out=9, r=3)
ROWS = dict(example_ids=[7, 7, 7, 1 << 40, 1 << 40], positions=[0, 1, 2, 0, 1])
KEYS = dict(dropout_key=0x123456789ABCDEF1, module_id=stable_id("model.layers.0.self_attn.q_proj"))


def make_cases():
    base = dict(mixer="token", mixer_active=True, fixed_p=0.3, gain=1.0, scale=4.0, dropout=0.0, branches="both", zero_rest_of_world=False)
    every = []
    for mixer in ("token", "layer", "fixed", "none"):
        for gain, dropout in ((1.0, 0.0), (1.7, 0.25)):
            every.append(base | dict(mixer=mixer, gain=gain, dropout=dropout))
    for branches in ("rest_of_world_off", "individual_off", "individual_alone", "rest_of_world_alone", "base"):
        every.append(base | dict(branches=branches, gain=1.7, dropout=0.25))
    every.append(base | dict(branches="rest_of_world_off", mixer="layer"))
    every.append(base | dict(branches="individual_off", mixer="fixed"))
    every.append(base | dict(mixer_active=False, dropout=0.25))
    every.append(base | dict(mixer="layer", mixer_active=False))
    every.append(base | dict(zero_rest_of_world=True, dropout=0.25))
    every.append(base | dict(zero_rest_of_world=True, branches="individual_off"))
    return every


def run_cases():
    g = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    T, d_in, d_out, r = (SHAPES[k] for k in ("T", "d_in", "d_out", "r"))
    common = dict(x=draw(T, d_in), w0=draw(d_out, d_in) / 6, bias=draw(d_out), a_i=draw(r, d_in) / 6, b_i=draw(d_out, r) / 2,
                  a_r=draw(r, d_in) / 6, b_r=draw(d_out, r) / 2, mixer_token=draw(2, d_in) / 6, mixer_layer=draw(2), dy=draw(T, d_out))
    cases = make_cases()
    for case in cases:
        t = {k: v.clone() for k, v in common.items()}
        t["mixer"] = t["mixer_layer"] if case["mixer"] == "layer" else t["mixer_token"]
        if case["zero_rest_of_world"]:
            t["b_r"] = torch.zeros_like(t["b_r"])
        for name in ("x", "a_i", "b_i", "mixer"):
            t[name].requires_grad_()
        p = case["dropout"]
        mask = mask_of(ROWS, d_in, p, KEYS["dropout_key"], KEYS["module_id"], torch.float64) if p > 0 else torch.ones(1, dtype=torch.float64)
        y = formula(t, case, mask)
        (y * t["dy"]).sum().backward()
        case["y"] = y.detach().flatten().tolist()
        for name in ("x", "a_i", "b_i", "mixer"):
            grad = t[name].grad
            case["d" + name] = None if grad is None else grad.flatten().tolist()
    return dict(shapes=SHAPES, rows=ROWS, inputs={k: v.flatten().tolist() for k, v in common.items()}, cases=cases, **KEYS)


class MaskModule(torch.nn.Module):
    """Stands where nn.Dropout stands."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


class PeftStyleLinear(torch.nn.Module):
    """A LoRA linear in PEFT's way of writing it, with a second, frozen branch and a router."""

    def __init__(self, base, r, lora_alpha, lora_dropout):
        super().__init__()
        self.base_layer = base
        self.lora_A, self.lora_B = torch.nn.Linear(base.in_features, r, bias=False), torch.nn.Linear(r, base.out_features, bias=False)
        self.lora_A0, self.lora_B0 = torch.nn.Linear(base.in_features, r, bias=False), torch.nn.Linear(r, base.out_features, bias=False)
        self.lora_route = torch.nn.Linear(base.in_features, 2, bias=False)
        self.lora_dropout, self.scaling = lora_dropout, lora_alpha / r
        for module in (self.base_layer, self.lora_A0, self.lora_B0):
            module.requires_grad_(False)

    def forward(self, x):
        result = self.base_layer(x)
        weight = torch.softmax(self.lora_route(x), dim=-1, dtype=torch.float32)
        dropped_x = self.lora_dropout(x)
        result = result + torch.unsqueeze(weight[..., 0], -1) * self.lora_B(self.lora_A(dropped_x)) * self.scaling
        return result + torch.unsqueeze(weight[..., 1], -1) * self.lora_B0(self.lora_A0(dropped_x)) * self.scaling


def run_peft_style():
    torch.manual_seed(9)
    rows = dict(example_ids=[3] * 6 + [11] * 4, positions=list(range(6)) + list(range(4)))
    p, d_in, d_out, r = 0.05, 70, 24, 8
    mask = mask_of(rows, d_in, p, KEYS["dropout_key"], KEYS["module_id"], torch.float32)
    layer = PeftStyleLinear(torch.nn.Linear(d_in, d_out), r, 32, MaskModule(mask))
    for b in (layer.lora_B, layer.lora_B0):
        torch.nn.init.normal_(b.weight, std=0.1)
    x = torch.randn(10, d_in, requires_grad=True)
    dy = torch.randn(10, d_out)
    y = layer(x)
    (y * dy).sum().backward()
    out = dict(shapes=dict(T=10, d_in=d_in, d_out=d_out, r=r), rows=rows, scale=4.0, dropout=p, inputs={}, expected={})
    for name, tensor in dict(x=x, dy=dy, w0=layer.base_layer.weight, bias=layer.base_layer.bias, a_i=layer.lora_A.weight,
                             b_i=layer.lora_B.weight, a_r=layer.lora_A0.weight, b_r=layer.lora_B0.weight,
                             mixer=layer.lora_route.weight).items():
        out["inputs"][name] = tensor.detach().flatten().tolist()
    for name, tensor in dict(y=y, dx=x.grad, da_i=layer.lora_A.weight.grad, db_i=layer.lora_B.weight.grad,
                             dmixer=layer.lora_route.weight.grad).items():
        out["expected"][name] = [float(f"{v:.9g}") for v in tensor.detach().flatten().tolist()]
    out["inputs"] = {k: [float(f"{v:.9g}") for v in values] for k, values in out["inputs"].items()}
    return out


def run_masks():
    rows = dict(example_ids=[0, 0, 5, (1 << 40) + 3, 5, 12, 2**62], positions=[0, 1, 0, 4095, 1, 7, 2])
    out = []
    for features, p, key, module in ((200, 0.05, 1, 2), (64, 0.5, 0xFFFFFFFFFFFFFFFF, 0x8000000000000001), (1100, 0.1, 77, stable_id("a"))):
        bits = dropped(rows["example_ids"], rows["positions"], features, p, key, module)
        out.append(dict(features=features, p=p, dropout_key=key, module_id=module, dropped=["".join("01"[int(b)] for b in row) for row in bits]))
    words = philox(0x299F31D0A4093822, 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)  # a known answer of the Random123 distribution
    assert [int(w) for w in words] == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    return dict(rows=rows, masks=out)


if __name__ == "__main__":
    versions = dict(torch=torch.__version__, numpy=np.__version__)
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "layer.json").write_text(json.dumps(dict(versions=versions, reference=run_cases(), peft_style=run_peft_style()), separators=(",", ":")))
    (DATA / "dropout.json").write_text(json.dumps(dict(versions=versions, **run_masks()), separators=(",", ":")))
