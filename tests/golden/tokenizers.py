"""Golden data of the text layer, made by the original libraries `tokenizers` and `sentencepiece` (and `transformers` for GPT-2's pair).

    python tests/golden/tokenizers.py --assets DIR            answers of the originals -> tests/data/text/golden/*.json
    python tests/golden/tokenizers.py --assets DIR --train    also trains the small tokenizers of tests/data/text again
    python tests/golden/tokenizers.py --unicode-tables        src/text/unicode_tables.h (needs a C++ compiler and PCRE2)

DIR holds the tokenizers, the model and the FLAN data that the tests find through FEDALT_TEST_ASSETS. Made with tokenizers 0.23.3,
sentencepiece 0.2.3, transformers 5.23.0; the versions stand in every golden file.

A golden file holds, for every string, 3 bytes of SHA-256 of its ids (with special tokens, -1, without) and of the text decoded from
them (all, NUL, without special tokens); the same for lists of random ids; and in full what the first strings give. "------" where the
original gives up.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
# This file has the library's name: its folder must not be searched first.
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != HERE] + [str(HERE)]
from tokenizer_strings import make_strings  # noqa: E402

DATA = HERE.parent / "data" / "text"
FULL = 40
RANDOM_LISTS = 400
ONLY = None
FLAN_SITES, FLAN_EXAMPLES = 8, 200


def flan_strings(assets):
    strings = []
    for site in range(FLAN_SITES):
        examples = json.load(open(assets / f"data/flan8/train/local_training_{site}.json"))
        strings += [e["instruction"] + "\n" + e["output"] for e in examples[:FLAN_EXAMPLES]]
    return strings


def splitmix(state):
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def random_ids(vocab_size):
    """Lists of ids; a third of them from the low ids, where the tokens of single bytes are."""
    draw = splitmix(vocab_size)
    lists = []
    for _ in range(RANDOM_LISTS):
        kind, length = next(draw) % 3, 1 + next(draw) % 30
        ids = []
        for _ in range(length):
            low = kind == 1 or (kind == 2 and next(draw) % 2 == 0)
            ids.append(next(draw) % (min(vocab_size, 300) if low else vocab_size))
        lists.append(ids)
    return lists


def short_hash(data):
    return hashlib.sha256(data).hexdigest()[:6]


def hash_ids(ids):
    return short_hash(struct.pack(f"<{len(ids)}i", *ids))


def hash_texts(text, skipped):
    return short_hash(text.encode() + b"\0" + skipped.encode())


def versions():
    import sentencepiece
    import tokenizers
    import transformers

    return {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__, "transformers": transformers.__version__}


class Original:
    """encode(text, special) and decode(ids, skip) of an original library."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special = {i for i, token in added.items() if token.special}
        # tokenizers 0.23.3 does not skip a special token whose text its normalizer changes; transformers does, and so do we.
        self.skips = all(tokenizer.id_to_token(i) == added[i].content for i in self.special)
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1

    def encode(self, text, special):
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids, skip):
        text = self.tokenizer.decode([i for i in ids if not (skip and i in self.special)], skip_special_tokens=False)
        assert not (skip and self.skips) or text == self.tokenizer.decode(ids, skip_special_tokens=True)
        return text


class OriginalSentencePiece:
    """The library, with BOS in front for special = True, and for skip = True without control and unknown pieces."""

    def __init__(self, path):
        import sentencepiece

        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.vocab_size = self.sp.vocab_size()

    def encode(self, text, special):
        ids = self.sp.encode(text)
        return [self.sp.bos_id()] + ids if special and self.sp.bos_id() >= 0 else ids

    def decode(self, ids, skip):
        if skip:
            ids = [i for i in ids if not self.sp.is_control(i) and not self.sp.is_unknown(i)]
        return self.sp.decode(ids)


def unless_panic(call):
    try:
        return call()
    except BaseException as error:
        if "PanicException" not in type(error).__name__:
            raise
        return None


def answers(original, strings):
    ids_hashes, text_hashes = "", ""
    for text in strings:
        with_special = unless_panic(lambda: original.encode(text, True))
        if with_special is None:
            ids_hashes, text_hashes = ids_hashes + "------", text_hashes + "------"
            continue
        ids_hashes += hash_ids(with_special + [-1] + original.encode(text, False))
        text_hashes += unless_panic(lambda: hash_texts(original.decode(with_special, False), original.decode(with_special, True))) or "------"
    return ids_hashes, text_hashes


def write_golden(name, original, strings, flan, extra=None, full=FULL):
    if ONLY and ONLY != name:
        return
    golden = {"versions": versions(), "vocab_size": original.vocab_size}
    golden.update(extra or {})
    golden["strings_ids"], golden["strings_text"] = answers(original, strings)
    if flan:
        golden["flan_ids"], golden["flan_text"] = answers(original, flan)
    golden["random_text"] = "".join(hash_texts(original.decode(ids, False), original.decode(ids, True)) for ids in random_ids(original.vocab_size))
    golden["full_ids"] = [original.encode(text, True) for text in strings[:full]]
    golden["full_text"] = [original.decode(ids, False) for ids in random_ids(original.vocab_size)[:8]]
    path = DATA / "golden" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{name}: {path.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--only", help="write this golden file alone")
    parser.add_argument("--unicode-tables", action="store_true")
    args = parser.parse_args()
    if args.unicode_tables:
        import tokenizer_unicode

        tokenizer_unicode.write(HERE.parent.parent / "src" / "text" / "unicode_tables.h")
        return
    global ONLY
    ONLY = args.only
    if not args.assets:
        parser.error("--assets is needed")
    from tokenizers import Tokenizer

    import tokenizer_training

    strings, flan = make_strings(), flan_strings(args.assets)
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "strings.json").write_text(json.dumps(strings, ensure_ascii=True, separators=(",\n", ":")) + "\n")
    if args.train:
        tokenizer_training.train(DATA, strings, flan)

    tokenizers_dir = args.assets / "tokenizers"
    for name, path in {
        "falcon": tokenizers_dir / "falcon/tokenizer.json",
        "llama2_json": tokenizers_dir / "llama2/tokenizer.DERIVED.json",
        "phi2": tokenizers_dir / "phi2-codegen/tokenizer.json",
        "phi3": tokenizers_dir / "phi3-llama-style/tokenizer.json",
        "tinystories": args.assets / "models/tinystories-656k/tokenizer.json",
    }.items():
        write_golden(name, Original(Tokenizer.from_file(str(path))), strings, flan, {"asset": str(path.relative_to(args.assets))})
    for name, path in {
        "llama2_model": tokenizers_dir / "llama2/tokenizer.model",
        "mistral_v1": tokenizers_dir / "mistral/tokenizer.v1.model",
        "mistral_v3": tokenizers_dir / "mistral/tokenizer.v3.model",
    }.items():
        write_golden(name, OriginalSentencePiece(path), strings, flan, {"asset": str(path.relative_to(args.assets))})
    from transformers import GPT2Tokenizer

    gpt2 = GPT2Tokenizer.from_pretrained(str(tokenizers_dir / "gpt2"))._tokenizer
    write_golden("gpt2", Original(gpt2), strings, flan, {"asset": "tokenizers/gpt2"})

    for path in sorted(DATA.glob("*/tokenizer.json")):
        write_golden(path.parent.name, Original(Tokenizer.from_file(str(path))), strings, flan, {"data": f"{path.parent.name}/tokenizer.json"})
    for path in sorted(DATA.glob("*/tokenizer.model")):
        write_golden(path.parent.name, OriginalSentencePiece(path), strings, flan, {"data": f"{path.parent.name}/tokenizer.model"})

    if ONLY in (None, "characters"):
        import tokenizer_unicode

        golden = {"versions": versions(), **tokenizer_unicode.golden()}
        (DATA / "golden" / "characters.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
    if ONLY in (None, "variants"):
        write_variants(tokenizer_training.variants(DATA), strings)


def write_variants(variants, strings):
    """Variants are short of space: one byte of hash per string."""
    from tokenizers import Tokenizer

    def shorten(hashes):
        return "".join(hashes[i : i + 2] for i in range(0, len(hashes), 6))

    golden = {"versions": versions(), "variants": []}
    for variant in variants:
        base = json.loads((DATA / variant["base"] / "tokenizer.json").read_text())
        base.update(variant["sections"])
        base["model"].update(variant.get("model", {}))
        ids, text = answers(Original(Tokenizer.from_str(json.dumps(base))), strings)
        golden["variants"].append({**variant, "strings_ids": shorten(ids), "strings_text": shorten(text)})
    path = DATA / "golden" / "variants.json"
    path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"variants: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
