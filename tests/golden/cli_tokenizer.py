"""A word-level tokenizer for tests/data/model/llama (96 ids), used by tests/app/cli_*_test.cc.

Run (seconds):  python tests/golden/cli_tokenizer.py
Made with transformers 5.23 and its tokenizers; the version that really ran stands in tests/data/cli/VERSIONS.json.
"""

import json
import pathlib

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "cli"
SPECIAL = ["<unk>", "<s>", "</s>"]
WORDS = "### Instruction: Input: Response: what is the sound of a an animal color cat dog cow duck meow woof moo quack red blue green yellow".split()
VOCABULARY = {word: i for i, word in enumerate(SPECIAL + WORDS + [f"w{i}" for i in range(96 - len(SPECIAL) - len(WORDS))])}

tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
fast.save_pretrained(OUT)
(OUT / "VERSIONS.json").write_text(json.dumps({"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}) + "\n")
