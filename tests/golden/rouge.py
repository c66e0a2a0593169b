"""Makes tests/data/rouge: pairs of texts with the scores of rouge_score, and words with NLTK's stems.

Run: /path/to/venv/bin/python tests/golden/rouge.py        (rouge_score, nltk; versions are written into the files)
"""
import importlib.metadata
import json
import os
import random
import re
import sys

sys.path.pop(0)  # beside this file lie files with names of libraries
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "rouge")
VERSIONS = {name: importlib.metadata.version(name) for name in ("rouge_score", "nltk")}

NOUNS = ("teacher children river proposal policies committee happiness relation argument neighbours running skies news flies analysis "
         "question answer sentence hypothesis premise review movie restaurant delivery service weather temperature city engine").split()
VERBS = ("entails contradicts describes running ran agreed studies studied hopping controlled generalizes believed enjoyed serving "
         "translates differs proceeding dying lying argues relates closes opened was is has been seems").split()
ADJECTIVES = ("positive negative neutral terrible wonderful conditional rational hopeful electrical formative digital happier largest "
              "22nd 3.5 quick-witted state-of-the-art impossible responsible homologous").split()
GLUE = "the a of to in and that it not with for on, about. however; because: (perhaps) \"so\" don't she's".split()
EDGES = ["", " ", "...", "!?", "a", "A", "the the the the", "yes", "Yes.", "no", "it is not possible to tell", "42", "4 2", "3.14159", "1,000,000",
         "naïve café", "Ärger über Öl", "日本語 text", "İstanbul İ", "300 \u212a and 20 \u212aelvin", "ſtrange ﬁne", "tab\tnew\nline", "under_score",
         "don't can't won't", "e-mail e mail email", "U.S.A.", "x" * 200, "yyyyyyyy yyying", "\u00a0nbsp\u00a0", "a b c d e f g", "g f e d c b a",
         "word " * 60, "emoji 😀 smile", "OptionA", "option a", "\x00zero", "ABCDEFG hIjK", "sses", "Ⅷ ² ½"]


def sentence(rng):
    words = []
    for _ in range(rng.randint(1, 5)):
        words += [rng.choice(GLUE), rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(VERBS)]
    text = " ".join(words)
    return text.capitalize() + rng.choice([".", "", "?", "!"])


def disturbed(rng, text):
    """The same text with words dropped, repeated, swapped, changed or in other case: what a model's answer looks like."""
    words = []
    for word in text.split():
        what = rng.random()
        if what < 0.1:
            continue
        words.append(word if what < 0.7 else word.upper() if what < 0.75 else rng.choice(NOUNS + VERBS) if what < 0.9 else word + " " + word)
    if rng.random() < 0.3:
        rng.shuffle(words)
    return " ".join(words)


def pairs(rng):
    result = [(a, b) for a in EDGES for b in (a, rng.choice(EDGES), rng.choice(EDGES))]
    while len(result) < 500:
        reference = sentence(rng)
        result.append((reference, rng.choice([disturbed(rng, reference), disturbed(rng, reference), sentence(rng), rng.choice(EDGES)])))
    return result[:500]


def words(rng):
    """English words from documentation of the standard library and made ones that reach every rule."""
    found = set("sky skies dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed "
                "dies died spied flies feed agreed geology geological theology apologies ies ied yes by y yy yyy".split())
    library = os.path.dirname(json.__file__)
    for root in (library, os.path.join(library, ".."), os.path.join(library, "..", "email"), os.path.join(library, "..", "idlelib")):
        for name in sorted(os.listdir(root)):
            if name.endswith((".py", ".txt")):
                with open(os.path.join(root, name), encoding="utf-8", errors="ignore") as file:
                    found.update(re.findall(r"\b[a-z]{4,20}\b", file.read().lower()))
    found = set(rng.sample(sorted(found), min(2000, len(found))))
    stems = "ab rel form oper hop controll trav electr vietnam sens dec gyroscop tr y sy w x fil fail siz tann plast radic analog appl adopt act ll ss".split()
    ends = ("sses ies ss s eed ed ing ated bling izing y ational tional enci anci izer abli bli alli entli eli ousli ization ation ator alism iveness "
            "fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent sion tion "
            "ion ou ism ate iti ous ive ize e ll lle").split()
    made = [s + e for s in stems for e in ends]
    found.update(rng.sample(made, 950))
    found.update("".join(rng.choice("aeiouybcdlsxwtz0") for _ in range(rng.randint(1, 8))) for _ in range(200))
    return sorted(found)


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = random.Random(20)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    with open(os.path.join(OUT, "pairs.jsonl"), "w") as file:
        file.write(json.dumps({"versions": VERSIONS}) + "\n")
        for reference, prediction in pairs(rng):
            scores = scorer.score(reference, prediction)
            file.write(json.dumps([reference, prediction] + [round(scores[k].fmeasure, 12) for k in ("rouge1", "rouge2", "rougeL")], ensure_ascii=False,
                                  separators=(",", ":")) + "\n")
    stemmer = PorterStemmer()
    with open(os.path.join(OUT, "stems.txt"), "w") as file:
        file.write("# word stem; " + json.dumps(VERSIONS) + "\n")
        for word in words(rng):
            file.write(f"{word} {stemmer.stem(word)}\n")


main()
