"""Beam search and greedy continuations by Hugging Face transformers, for tests/model/generate_test.cc.

Run (about two minutes; needs the directories of models.py):  python tests/golden/generate.py [TINYSTORIES_DIRECTORY]
Made with torch 2.15 and transformers 5.23; the versions that really ran stand in the files' metadata.

tests/data/model/generate/<model>.safetensors holds 50 ragged prompts (prompts, prompt_offsets) and per case k (case_<k>.*):
  eos (E), settings (beams, max_new_tokens), length_penalty (1) float64, and the new tokens up to and without EOS (out, out_offsets).
With a directory of tinystories-656k it also writes tinystories.safetensors: text_ids, last_logits, nll, greedy_prompt, greedy (64).
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "model"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
# model: cases of (beams, max_new_tokens, length_penalty, number of EOS ids)
CASES = {
    "llama": [(4, 20, 1.0, 1), (4, 20, 2.0, 1), (4, 20, 0.5, 1), (3, 16, 1.0, 2), (1, 20, 1.0, 1)],
    "qwen2": [(4, 20, 1.0, 1)],
    "bloom": [(4, 20, 1.0, 1), (4, 20, 2.0, 1), (4, 20, 0.0, 1), (1, 20, 1.0, 1)],
}


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def run(model, prompts, beams, max_new_tokens, length_penalty, eos):
    """New tokens per prompt, cut before the first EOS. Prompts run one at a time, so there is no padding."""
    out = []
    for prompt in prompts:
        sequence = model.generate(prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=max_new_tokens,
                                  num_beams=beams, do_sample=False, early_stopping=False, length_penalty=length_penalty,
                                  eos_token_id=eos, pad_token_id=0, use_cache=True)[0, len(prompt):].tolist()
        stop = next((i for i, t in enumerate(sequence) if t in eos), len(sequence))
        out.append(torch.tensor(sequence[:stop], dtype=torch.int64))
    return out


def offsets(sequences):
    return torch.tensor([0] + [len(s) for s in sequences]).cumsum(0)


def frequent_tokens(model, prompts):
    """The ids that greedy decoding uses most: as EOS they end hypotheses at many different lengths."""
    tokens = torch.cat([model.generate(p[None], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)[0, len(p):]
                        for p in prompts[:20]])
    return torch.bincount(tokens).argsort(descending=True, stable=True).tolist()


def make(name, model, cases, eos_ids=None, low=3, extra=None, seed=5):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (50,), generator=generator).tolist()
    prompts = [torch.randint(low, model.config.vocab_size, (n,), generator=generator) for n in lengths]
    tensors = {"prompts": torch.cat(prompts), "prompt_offsets": offsets(prompts), **(extra or {})}
    frequent = eos_ids or frequent_tokens(model, prompts)
    for k, (beams, max_new_tokens, length_penalty, n_eos) in enumerate(cases):
        eos = frequent[:n_eos]
        out = run(model, prompts, beams, max_new_tokens, length_penalty, eos)
        tensors |= {f"case_{k}.eos": torch.tensor(eos), f"case_{k}.settings": torch.tensor([beams, max_new_tokens]),
                    f"case_{k}.length_penalty": torch.tensor([length_penalty], dtype=torch.float64),
                    f"case_{k}.out": torch.cat(out), f"case_{k}.out_offsets": offsets(out)}
        print(name, "beams", beams, "length penalty", length_penalty, "eos", eos, "lengths", sorted(len(o) for o in out))
    (DATA / "generate").mkdir(exist_ok=True)
    save_file(tensors, DATA / "generate" / f"{name}.safetensors", metadata=VERSIONS)


def tinystories(path):
    model = load(path)
    text = [1, 80, 429, 598, 303, 489, 1148, 177, 1051, 652, 163, 641, 478, 535, 58, 275, 737, 64, 364, 580, 167, 617, 478, 519, 68]
    prompt = torch.tensor([1, 80, 147, 201, 282, 57])
    with torch.no_grad():
        logits = model(torch.tensor([text])).logits[0]
    nll = torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(text[1:]))
    greedy = model.generate(prompt[None], max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)[0, len(prompt):]
    extra = {"text_ids": torch.tensor(text), "last_logits": logits[-1].clone(), "nll": nll[None], "greedy_prompt": prompt,
             "greedy": greedy.clone()}
    make("tinystories", model, [(4, 24, 1.0, 1), (4, 24, 2.0, 1)], eos_ids=[10], extra=extra)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        tinystories(sys.argv[1])
    for name, cases in CASES.items():
        make(name, load(DATA / name), cases)
