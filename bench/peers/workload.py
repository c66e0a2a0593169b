"""The work of both sides: a Llama with random weights, a tokenizer, and the examples of the sites. Nothing is downloaded.

    python workload.py DIR [--quick]      writes DIR/model, DIR/tokenizer files, DIR/{train,test}_{site}.jsonl, DIR/workload.json

Same arguments, same files. The tokenizer has one token per word, so the number of tokens in a generated text can be counted in the
text, on either side. The rows of the head that belong to special tokens are zero: their logit is always 0, which is never among the
best of 32,000, so no answer ends before eval.max_new_tokens and both sides generate the same number of tokens.
"""

import argparse
import json
import pathlib
import random

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
TEMPLATE_WORDS = ["###", "Instruction:", "Response:"]

FULL = {
    "model": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8, "vocab_size": 32000},
    "sites": 2, "train_examples": 96, "test_examples": 32, "tokens": [64, 256], "response_share": [0.25, 0.5],
    "rounds": 2, "local_epochs": 1, "batch_size": 8, "lr": 3e-4, "weight_decay": 0.05, "max_grad_norm": 1.0,
    "r": 8, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
    "beams": 4, "max_new_tokens": 64, "eval_batch_size": 16, "max_length": 512, "seed": 0,
}  # fmt: skip
QUICK = FULL | {
    "model": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512},
    "train_examples": 16, "test_examples": 4, "tokens": [16, 48], "max_new_tokens": 8,
}  # fmt: skip


def write_tokenizer(directory, vocab_size):
    words = SPECIAL + TEMPLATE_WORDS
    words += [f"w{i}" for i in range(vocab_size - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(directory)


def write_model(directory, geometry, seed, dtype):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        **geometry, max_position_embeddings=1024, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIAL)] = 0.0
    model.to(dtype).save_pretrained(directory)


def examples(spec, site, kind):
    """Words of a site are drawn with a weight that falls with their number, in an order that is the site's own."""
    draw = random.Random(f"{spec['seed']} {site} {kind}")
    count = spec["model"]["vocab_size"] - len(SPECIAL) - len(TEMPLATE_WORDS)
    order = list(range(count))
    random.Random(f"{spec['seed']} {site}").shuffle(order)
    weights = [1.0 / (i + 10) for i in range(count)]
    frame = 5  # <s>, the four words of the template; the end token stands for one word of the response
    for _ in range(spec[f"{kind}_examples"]):
        total = draw.randint(*spec["tokens"])
        response = max(2, round(total * draw.uniform(*spec["response_share"])))
        words = [f"w{order[i]}" for i in draw.choices(range(count), weights, k=max(2, total - frame - 1))]
        yield {"instruction": " ".join(words[:-response + 1]), "output": " ".join(words[-response + 1 :])}


def write(directory, spec, dtype=torch.bfloat16):
    directory.mkdir(parents=True, exist_ok=True)
    write_model(directory / "model", spec["model"], spec["seed"], dtype)
    write_tokenizer(directory / "model", spec["model"]["vocab_size"])
    for site in range(spec["sites"]):
        for kind in ("train", "test"):
            with open(directory / f"{kind}_{site}.jsonl", "w") as out:
                for example in examples(spec, site, kind):
                    out.write(json.dumps(example) + "\n")
    (directory / "workload.json").write_text(json.dumps(spec, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of the saved weights")
    parser.add_argument("--set", type=json.loads, default={}, help='other values, as {"train_examples": 32}')
    arguments = parser.parse_args()
    spec = QUICK if arguments.quick else FULL
    unknown = sorted(arguments.set.keys() - spec.keys())
    if unknown:
        parser.error(f"--set knows no {', '.join(unknown)}; it knows {', '.join(spec)}")
    write(arguments.directory, spec | arguments.set, getattr(torch, arguments.dtype))


if __name__ == "__main__":
    main()
