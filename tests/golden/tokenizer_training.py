"""Trains the small tokenizers of tests/data/text with the original libraries. Used by tokenizers.py --train."""

import json
import pathlib
import random
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
GPT4O = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])
DEEPSEEK = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def special(content, **options):
    return AddedToken(content, special=True, normalized=False, **options)


def bpe_trainer(size, tokens, **options):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=tokens, show_progress=False, **options)


def byte_trainer(size, tokens=()):
    return bpe_trainer(size, list(tokens), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3(corpus):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer, t.decoder = split_then_bytes(LLAMA3), decoders.ByteLevel()
    t.train_from_iterator(corpus, byte_trainer(1200))
    t.add_special_tokens([special(s) for s in ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]])
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", bos)]),
    ])
    return t


def qwen2(corpus):
    t = Tokenizer(models.BPE())
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.NFC(), split_then_bytes(QWEN2), decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(corpus, byte_trainer(1000))
    t.add_special_tokens([special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>")])
    return t


def bloom(corpus):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = split_then_bytes(BLOOM), decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(corpus, byte_trainer(1000, ["<unk>", "<s>", "</s>", "<pad>"]))
    return t


def byte_pieces():
    return [f"<0x{b:02X}>" for b in range(256)]


def metaspace(corpus):
    """As newer Llama files are: Metaspace, byte fallback, prepend_scheme first."""
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.train_from_iterator(corpus, bpe_trainer(1000, ["<unk>", "<s>", "</s>"] + byte_pieces(), limit_alphabet=120))
    without_special_bytes(t)
    return from_json(t, lambda d: d["added_tokens"].__setitem__(slice(None), [a for a in d["added_tokens"] if not a["content"].startswith("<0x")]))


def without_special_bytes(t):
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)])


def from_json(t, change):
    d = json.loads(t.to_str())
    change(d)
    return Tokenizer.from_str(json.dumps(d))


def gemma(corpus):
    """Spaces replaced by the normalizer, runs of them cut off by a pre-tokenizer."""
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.train_from_iterator(corpus, bpe_trainer(900, ["<pad>", "<eos>", "<bos>", "<unk>"] + byte_pieces(), limit_alphabet=120))
    return from_json(t, lambda d: d["added_tokens"].__setitem__(slice(None), [a for a in d["added_tokens"] if not a["content"].startswith("<0x")]))


def suffixed(corpus):
    """Ends of words are marked, continuations too, unknown characters are not fused."""
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    t.decoder = decoders.BPEDecoder("</w>")
    t.train_from_iterator(corpus, bpe_trainer(700, ["<unk>"], end_of_word_suffix="</w>", continuing_subword_prefix="##", limit_alphabet=60))
    return t


def word_level(corpus):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(corpus, trainers.WordLevelTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return t


def added(corpus):
    """Added tokens with every option, a normalizer that changes the text that they are looked for in."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    t.train_from_iterator(corpus, byte_trainer(500, ["<unk>", "<s>", "</s>", "<pad>"]))
    t.add_special_tokens([special("<extra>", lstrip=True, rstrip=True), special("<strip_left>", lstrip=True), special("<|endoftext|>")])
    t.add_tokens([AddedToken("<strip_right>", rstrip=True), AddedToken("single", single_word=True), AddedToken("NORMALISÉ", normalized=True),
                  AddedToken("singles", normalized=False, single_word=True), AddedToken("   ", normalized=True), AddedToken("<|user|>", normalized=False, lstrip=True, single_word=True),
                  AddedToken("<|end|>", normalized=True, special=True), AddedToken("th", normalized=True), AddedToken("<|end|><|", normalized=False)])
    return t


TRAINED = {"llama3": llama3, "qwen2": qwen2, "bloom": bloom, "metaspace": metaspace, "gemma": gemma, "suffixed": suffixed, "word_level": word_level, "added": added}


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def with_unused_pieces(model, every):
    """The same SentencePiece model, every n-th normal piece of several letters marked as unused (type 5)."""
    out, at, index = b"", 0, 0

    def read(at):
        value = shift = 0
        while True:
            byte = model[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    while at < len(model):
        key, start = read(at)
        assert key & 7 == 2
        length, start = read(start)
        body = model[start : start + length]
        at = start + length
        if key >> 3 == 1:
            text = body[2 : 2 + body[1]]
            index += 1
            if index > 280 and len(text.decode()) > 2 and index % every == 0:
                body += bytes([0x18, 5])
        out += varint(key) + varint(len(body)) + body
    return out


def train_sentencepiece(data, corpus):
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "corpus.txt"
        text.write_text("\n".join(line for s in corpus for line in s.split("\n") if line.strip() and "\0" not in line))
        rules = pathlib.Path(folder) / "rules.tsv"
        # Full-width letters, ligatures, removed characters, a mark that becomes a space.
        pairs = [((0xFF21 + i,), (0x41 + i,)) for i in range(26)] + [((0xFB01,), (0x66, 0x69)), ((0x200B,), ()), ((0x3000,), (0x20,)), ((0xA0,), (0x20,)), ((0x9,), (0x20,)),
                 ((0x65, 0x301), (0xE9,)), ((0x65, 0x301, 0x301), (0x45,)), ((0x2026,), (0x2E, 0x2E, 0x2E)), ((0xA, 0xA), (0x20, 0x20, 0x7C)), ((0xBD,), (0x20, 0x31, 0x2F, 0x32))]
        rules.write_text("".join(" ".join(f"{c:X}" for c in a) + "\t" + " ".join(f"{c:X}" for c in b) + "\n" for a, b in pairs))
        common = dict(input=str(text), model_type="bpe", minloglevel=2, num_threads=1, character_coverage=0.98)
        settings = {
            "sp_rules": dict(vocab_size=500, normalization_rule_tsv=str(rules), user_defined_symbols=["<extra>", "<|user|>", "▁▁", "th"], control_symbols=["<|end|>"]),
            "sp_plain": dict(vocab_size=700, normalization_rule_name="identity", byte_fallback=True, remove_extra_whitespaces=False, add_dummy_prefix=False, user_defined_symbols=["<extra>", "  "],
                             split_digits=True, allow_whitespace_only_pieces=True),
            "sp_suffix": dict(vocab_size=400, normalization_rule_name="identity", treat_whitespace_as_suffix=True, unk_surface="[?]", bos_id=-1),
        }
        for name, options in settings.items():
            prefix = pathlib.Path(folder) / name
            sentencepiece.SentencePieceTrainer.train(model_prefix=str(prefix), **common, **options)
            (data / name).mkdir(parents=True, exist_ok=True)
            (data / name / "tokenizer.model").write_bytes(prefix.with_suffix(".model").read_bytes())
    (data / "sp_unused").mkdir(exist_ok=True)
    (data / "sp_unused" / "tokenizer.model").write_bytes(with_unused_pieces((data / "sp_plain" / "tokenizer.model").read_bytes(), 3))


def train(data, strings, flan):
    corpus = strings[:150] + random.Random(3).sample(flan, 500)
    for name, make in TRAINED.items():
        (data / name).mkdir(parents=True, exist_ok=True)
        t = make(corpus)
        (data / name / "tokenizer.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    train_sentencepiece(data, corpus)


def section(thing):
    return json.loads(thing.__getstate__())


def variants(data):
    """Other pipelines around the vocabularies of the trained ones: [{name, base, sections}]."""
    p, n, d = pre_tokenizers, normalizers, decoders
    out = []

    def add(name, base, **sections):
        out.append({"name": name, "base": base, "sections": {k: v if isinstance(v, (dict, list)) or v is None else section(v) for k, v in sections.items()}})

    for name, pattern in {"gpt4o": GPT4O, "deepseek": DEEPSEEK}.items():
        add(name, "llama3", pre_tokenizer=split_then_bytes(pattern))
    add("deepseek_sequence", "llama3", pre_tokenizer=p.Sequence([p.Split(Regex(r"\p{N}{1,3}"), "isolated"), p.Split(Regex(r"[一-龥぀-ゟ゠-ヿ]+"), "isolated"),
                                                                 p.Split(Regex(DEEPSEEK), "isolated"), p.ByteLevel(False, use_regex=False)]))
    add("deepseek_coder", "llama3", pre_tokenizer=p.Sequence([p.Split(Regex(r"[\r\n]"), "isolated"), p.Split(Regex(r"\s?\p{L}+"), "isolated"), p.Split(Regex(r"\s?\p{P}+"), "isolated"),
                                                              p.Split(Regex("[一-龥ࠀ-一가-퟿]+"), "isolated"), p.Digits(individual_digits=True), p.ByteLevel(False, use_regex=False)]))
    for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        for invert in [False, True]:
            add(f"split_{behavior}_{invert}", "llama3", pre_tokenizer=p.Sequence([p.Split(Regex(r"[aeiou\s]"), behavior, invert), p.ByteLevel(False, use_regex=False)]))
            add(f"split_string_{behavior}_{invert}", "llama3", pre_tokenizer=p.Sequence([p.Split("th", behavior, invert), p.ByteLevel(False, use_regex=False)]))
            add(f"split_empty_{behavior}_{invert}", "llama3", pre_tokenizer=p.Sequence([p.Split(Regex(r"x*|\d+"), behavior, invert), p.ByteLevel(False, use_regex=False)]))
        add(f"punctuation_{behavior}", "llama3", pre_tokenizer=p.Sequence([p.Punctuation(behavior), p.ByteLevel(False, use_regex=False)]))
    for name, pattern in {
        "w": r"\w+|\W", "d": r"\d+|\D", "h": r"\h+|\H", "b": r"\b", "big_b": r"\B.", "s": r"\s|\S+", "posix": r"[[:alpha:]]+|[[:digit:]]+|[[:punct:]]+|[[:space:]]", "alnum": r"[[:alnum:]]+|[[:^alnum:]]",
        "word_class": r"[[:word:]]+", "han": r"\p{Han}+|\p{Hiragana}|\p{Cyrillic}+|\p{Greek}+|\p{Arabic}+", "not_p": r"\P{L}+|\p{^N}", "long_names": r"\p{Uppercase_Letter}\p{lowercase letter}*|\p{Number}+",
        "marks": r"\p{M}+|\p{Lm}|\p{Sk}|\p{Sc}|\p{Cf}|\p{Co}|\p{Cc}", "negated_in_class": r"[a\S]|[^\W\d]+", "nested": r"[a[b-d]&&[^c]]+|[^a[^b]]", "intersection": r"[a-z&&[^aeiou]]+", "intersection_3": r"[^a-z&&a-m&&[^e]]+",
        "lines": r"^.|.$", "ends": r"\A.|.\z|.\Z", "dot_all": r"(?m:.)a", "dot": r"a.", "ignore_case": r"(?i)the|[k-l]+", "lazy": r"a+?|b{1,2}?|\s{2,}?", "possessive": r"a++|\s*+x", "interval_plus": r"(?:a{2}b?){1,2}+", "interval_lazy_n": r"a{2}?b|a{,3}",
        "repeat_repeat": r"(?:ab)+{2}|a?{3}|=+*", "brace": r"a{x}|{|}", "look": r"(?<=a)b|(?<!\s)e(?=r)|th(?!e)", "atomic": r"(?>a|ab)c?|(?>\s+)", "escapes": r"\t|\n|\r|\f|\v|\a|\e|\x41|\x{e9}|\u3042|\-|\/|\#|\ ", "class_escapes": r"[\t\n\x{41}-\x{45}\u4e00-\u9fff\-\]\[\^]+",
        "newline": r"\R|\O", "group": r"(a|b)+(c|)", "dash": r"[a-]|[-b]|[+--]",
    }.items():
        add(f"regex_{name}", "llama3", pre_tokenizer=p.Sequence([p.Split(Regex(pattern), "isolated"), p.ByteLevel(False, use_regex=False)]))
    add("digits_contiguous", "llama3", pre_tokenizer=p.Sequence([p.Digits(individual_digits=False), p.ByteLevel(False, use_regex=False)]))
    add("digits_individual", "llama3", pre_tokenizer=p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(True, use_regex=True)]))
    add("falcon", "llama3", pre_tokenizer=p.Sequence([p.Punctuation("contiguous"), p.ByteLevel(False), p.Digits(individual_digits=False), p.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))
    add("whitespace_split", "llama3", pre_tokenizer=p.Sequence([p.WhitespaceSplit(), p.ByteLevel(False, use_regex=False)]))
    add("whitespace", "llama3", pre_tokenizer=p.Sequence([p.Whitespace(), p.ByteLevel(False, use_regex=False)]))
    add("byte_level_prefix", "bloom", pre_tokenizer=p.ByteLevel(True, use_regex=False))
    add("byte_level_default", "added", pre_tokenizer=p.ByteLevel(True, use_regex=True), normalizer=None)
    for scheme in ["always", "first", "never"]:
        for split in [True, False]:
            add(f"metaspace_{scheme}_{split}", "metaspace", pre_tokenizer=p.Metaspace(prepend_scheme=scheme, split=split), decoder=d.Metaspace(prepend_scheme=scheme, split=split))
    add("metaspace_legacy", "metaspace", pre_tokenizer={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, decoder={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True})
    add("metaspace_legacy_off", "metaspace", pre_tokenizer={"type": "Metaspace", "replacement": "▁", "add_prefix_space": False, "prepend_scheme": "never"},
        decoder={"type": "Metaspace", "replacement": "▁", "add_prefix_space": False, "prepend_scheme": "never"})
    add("metaspace_after_split", "metaspace", pre_tokenizer=p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="first")]))
    for name, normalizer in {
        "nfc": n.NFC(), "nfd": n.NFD(), "nfkc": n.NFKC(), "nfkd": n.NFKD(), "lower": n.Lowercase(), "strip": n.Strip(), "strip_left": n.Strip(True, False), "strip_right": n.Strip(False, True), "strip_accents": n.StripAccents(),
        "accents": n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()]), "prepend": n.Prepend("x"), "replace": n.Replace("th", "ZZ"), "replace_regex": n.Replace(Regex(r"\s+"), " "),
        "replace_groups": n.Replace(Regex("(a)(.)"), r"$2\1"), "llama": n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]),
    }.items():
        add(f"normalizer_{name}", "llama3", normalizer=normalizer)
        if "strip" not in name:  # would leave nothing of an added token of spaces, on which the original runs out of memory
            add(f"normalizer_{name}_added", "added", normalizer=normalizer)
    add("no_decoder", "llama3", decoder=None)
    add("decoder_replace_regex", "llama3", decoder=d.Sequence([d.ByteLevel(), d.Replace(Regex("[aeiou]+"), "*"), d.Strip("T", 1, 0)]))
    add("decoder_fuse", "bloom", decoder=d.Sequence([d.Fuse(), d.Strip("Ġ", 2, 1), d.Replace("Ġ", "_")]))
    add("decoder_bpe", "suffixed", decoder=d.BPEDecoder("e"))
    llama2_decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    add("no_pre_tokenizer", "metaspace", pre_tokenizer=None, normalizer=n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), decoder=llama2_decoder)
    for fuse in [True, False]:
        for unk in ["<unk>", None]:
            model = json.loads((data / "gemma" / "tokenizer.json").read_text())["model"]
            del model["vocab"], model["merges"]
            model.update(byte_fallback=False, fuse_unk=fuse, unk_token=unk)
            out.append({"name": f"unknown_{fuse}_{unk}", "base": "gemma", "sections": {}, "model": model})
    return out
