"""Golden data of the small files beside a tokenizer, made by transformers: tests/data/text/golden/files.json.

    FEDALT_TEST_ASSETS=DIR python tests/golden/tokenizer_files.py

Every case is a model directory: a tokenizer of tests/data/text (tokenizer.json, tokenizer.model, or its vocabulary and merges as
vocab.json and merges.txt) and small files. Stored are the ids and the decoded text that AutoTokenizer gives, its bos and eos.
Made with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3; the versions stand in the file.

transformers 5 rebuilds a SentencePiece model for `tokenizers` and then differs from SentencePiece itself on some texts (a space at
the beginning, the order of merges). Such texts are left out (null): between added tokens fedalt follows SentencePiece.
"""

import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
HERE = pathlib.Path(__file__).resolve().parent
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != HERE]
import sentencepiece  # noqa: E402
import tokenizers  # noqa: E402
import transformers  # noqa: E402

DATA = HERE.parent / "data" / "text"
TEXTS = [
    "the father and the son",
    "a<|im_end|>b",
    "<|im_start|>user\nthe father <|im_end|> and the son</s>",
    "<s>the</s><unk> <pad> <x>  <y> x<y>",
    "it's 2024, isn't it?  IT'S",
    "caf\u00e9 cafe\u0301 \u6771\u4eac \U0001F600",
    "two\n\nlines\t and <|endoftext|> more  ",
    "<image>the<|im_start|>",
]


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True, **flags}


def named(content, **flags):
    value = token(content, **flags)
    del value["special"]
    return value


FAST, LLAMA, QWEN2, GPT2 = ({"tokenizer_class": name} for name in ("PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer"))
DECODER = {"added_tokens_decoder": {"2000": token("<|im_end|>", lstrip=True), "1999": token("<x>", special=False, normalized=True)}}

# name, base, model_type, tokenizer_config.json, special_tokens_map.json, added_tokens.json
CASES = [
    ("eos_in_the_config_alone", "llama3", "llama", {**FAST, "eos_token": "<|im_end|>"}, None, None),
    ("flags_beside_a_post_processor", "llama3", "llama", {**FAST, "eos_token": "</s>", "bos_token": "<s>", "add_bos_token": True, "add_eos_token": True}, None, None),
    ("the_map_wins", "llama3", "llama", {**FAST, "eos_token": "</s>"}, {"eos_token": "<|im_end|>", "pad_token": named("<pad>", lstrip=True)}, None),
    ("the_decoder_silences_the_map", "llama3", "llama", {**FAST, **DECODER, "eos_token": "</s>"}, {"eos_token": "<|im_start|>"}, {"<y>": 5000}),
    ("extra_tokens", "llama3", "llama", {**FAST, "eos_token": "</s>", "additional_special_tokens": ["<x>", {"__type": "AddedToken", **token("<y>", rstrip=True)}], "pad_token": "<pad>"}, None, None),
    ("extra_tokens_of_v5", "metaspace", "llama", {**FAST, "eos_token": "</s>", "extra_special_tokens": ["<x>"], "additional_special_tokens": ["<y>"]}, None, None),
    ("listed_without_flags", "metaspace", "llama", {**FAST, "eos_token": "<|im_end|>"}, None, {"<|im_end|>": 3001, "<y>": 3000}),
    ("model_specific", "llama3", "llama", {**FAST, "eos_token": "</s>", "image_token": "<image>"}, None, None),
    ("a_word_becomes_special", "word_level", "llama", {**FAST, "eos_token": "the"}, None, None),
    ("no_small_files", "llama3", "llama", None, None, None),
    ("qwen2_pair", "qwen2:pair", "qwen2", {**QWEN2, "bos_token": None, "eos_token": "<|im_end|>", "add_bos_token": False, **DECODER}, None, None),
    ("qwen2_pair_of_another_class", "qwen2:pair", "qwen2", {**GPT2, "eos_token": "<|im_end|>"}, None, {"<|im_end|>": 9000}),
    ("qwen2_pair_without_a_class", "qwen2:pair", "qwen3", None, None, None),
    ("qwen2_pair_elsewhere", "qwen2:pair", "llama", {**QWEN2, "unk_token": None, "pad_token": None}, None, None),
    ("gpt2_pair", "llama3:pair", "llama", {**GPT2, "add_bos_token": True, "add_eos_token": True}, None, None),
    ("gpt2_pair_with_prefix", "llama3:pair", "llama", {**GPT2, "add_prefix_space": True, "bos_token": "<s>"}, None, {"<x>": 7000}),
    ("codegen_pair", "llama3:pair", "phi", {"tokenizer_class": "CodeGenTokenizer"}, None, None),
    ("sentencepiece_added", "sp_plain", "llama", {**LLAMA, "add_bos_token": True, "eos_token": "<|im_end|>"}, {"eos_token": "<|im_end|>"}, {"<|im_end|>": 9000, "<|im_start|>": 9001}),
    ("sentencepiece_decoder", "sp_plain", "llama", {**LLAMA, "add_bos_token": True, "add_eos_token": True, **DECODER}, None, None),
    ("sentencepiece_legacy", "sp_plain", "llama", {**LLAMA, "add_bos_token": False, "legacy": True, "eos_token": "<|im_end|>"}, None, None),
    ("sentencepiece_without_prefix", "sp_plain", "llama", {**LLAMA, "add_bos_token": False, "add_prefix_space": False}, None, None),
]


def write(folder, base, model_type, config, special_map, added):
    if base.endswith(":pair"):
        model = json.loads((DATA / base[:-5] / "tokenizer.json").read_text())["model"]
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    else:
        for file in (DATA / base).glob("tokenizer.*"):
            shutil.copy(file, folder)
    files = {"config.json": {"model_type": model_type}, "tokenizer_config.json": config, "special_tokens_map.json": special_map, "added_tokens.json": added}
    files = {name: value for name, value in files.items() if value is not None}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    return files


def follows_sentencepiece(folder, tokenizer, text):
    if not (folder / "tokenizer.model").exists():
        return True
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    plain = transformers.LlamaTokenizer.from_pretrained(str(folder), add_bos_token=False, add_eos_token=False, add_prefix_space=True)
    added = sorted((t.content for t in tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
    parts = [part for part in re.split("|".join(map(re.escape, added)), text) if part]
    return all(plain.encode(part, add_special_tokens=False) == processor.encode(part) for part in parts)


ASSETS = ["cases/qwen2-without-tokenizer-json", "cases/sentencepiece-with-added-eos", "tokenizers/llama2"]


def main():
    golden = {"versions": {m.__name__: m.__version__ for m in (transformers, tokenizers, sentencepiece)}, "texts": TEXTS, "cases": []}
    assets = pathlib.Path(os.environ["FEDALT_TEST_ASSETS"])
    for name, base, model_type, *files in CASES + [(path, f"asset:{path}", "llama") for path in ASSETS]:
        with tempfile.TemporaryDirectory() as path:
            folder = pathlib.Path(path)
            if base.startswith("asset:"):
                shutil.copytree(assets / base[6:], folder, dirs_exist_ok=True)
                if not (folder / "config.json").exists():
                    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
                (folder / "tokenizer.DERIVED.json").unlink(missing_ok=True)
                written = {}
            else:
                written = write(folder, base, model_type, *files)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            ids = [tokenizer.encode(text) if follows_sentencepiece(folder, tokenizer, text) else None for text in TEXTS]
            texts = [i and [tokenizer.decode(i), tokenizer.decode(i, skip_special_tokens=True)] for i in ids]
        special = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
        size = max(tokenizer.get_vocab().values()) + 1
        golden["cases"].append({"name": name, "base": base, "files": written, **special, "vocab_size": size, "ids": ids, "decoded": texts})
        print(name, type(tokenizer).__name__, size, special, sum(i is None for i in ids), "left out")
    (DATA / "golden" / "files.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
