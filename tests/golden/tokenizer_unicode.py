"""Sets of characters as the original library sees them. Used by tokenizers.py: the tables of src/text/unicode_tables.h, and hashes of
the sets that patterns match (tests/data/text/golden/characters.json)."""

import hashlib
import struct
import subprocess
import tempfile

from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()

PATTERNS = [r"\s", r"\S", r"\d", r"\D", r"\w", r"\W", r"\h", r"\H", ".", r"\R", r"\O", r"[\s\d]", r"[^\s\p{L}\p{N}]", r"[^\S]", r"[\W]", r"[^\W\d_]", r"\p{L}", r"\P{L}", r"\p{^L}", r"\p{N}", r"\p{M}", r"\p{P}",
            r"\p{S}", r"\p{Z}", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"\p{Nd}", r"\p{Nl}", r"\p{No}", r"\p{Mn}", r"\p{Sc}", r"\p{So}", r"\p{Cf}", r"\p{Cc}", r"\p{Co}", r"\p{Uppercase_Letter}",
            r"\p{Han}", r"\p{Hiragana}", r"\p{Katakana}", r"\p{Hangul}", r"\p{Thai}", r"\p{Hebrew}", r"[[:alpha:]]", r"[[:alnum:]]", r"[[:digit:]]", r"[[:punct:]]", r"[[:space:]]", r"[[:word:]]",
            r"[[:xdigit:]]", r"[[:cntrl:]]", r"[[:blank:]]", r"[[:ascii:]]", r"[[:^space:]]", r"(?i)s", r"(?i)k", r"(?i)[a-z]", r"(?i)é", r"(?i)σ", r"(?i:'s|x)", r"[^(\s|[.,!?…。，、।۔،])]", r"[a-z&&[^aeiou]]", r"[\x{41}-\u00ff]"]


def matched_by(pattern):
    normalizer = normalizers.Replace(Regex(pattern), "")
    return [c for c in CODE_POINTS if normalizer.normalize_str(chr(c)) == ""]


def pieces(pre_tokenizer, c):
    return [piece for piece, _ in pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")]


def functions():
    """Name -> set of code points."""
    strip_accents = normalizers.StripAccents()
    return {
        "numeric": [c for c in CODE_POINTS if len(pieces(pre_tokenizers.Digits(True), c)) == 3],
        "punctuation": [c for c in CODE_POINTS if len(pieces(pre_tokenizers.Punctuation(), c)) == 3],
        "whitespace": [c for c in CODE_POINTS if len(pieces(pre_tokenizers.WhitespaceSplit(), c)) == 2],
        "word": [c for c in CODE_POINTS if len(pieces(pre_tokenizers.Whitespace(), c)) == 1],
        "combining_mark": [c for c in CODE_POINTS if strip_accents.normalize_str(chr(c)) == ""],
    }


def golden():
    def of_set(code_points):
        return hashlib.sha256(struct.pack(f"<{len(code_points)}I", *code_points)).hexdigest()

    def of_map(normalizer):
        digest = hashlib.sha256()
        for c in CODE_POINTS:
            text = normalizer.normalize_str(chr(c))
            if text != chr(c):
                digest.update(chr(c).encode() + text.encode())
        return digest.hexdigest()

    maps = {"nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(), "lower": normalizers.Lowercase()}
    return {
        "patterns": {p: of_set(matched_by(p)) for p in PATTERNS},
        "functions": {name: of_set(s) for name, s in functions().items()},
        "maps": {name: of_map(n) for name, n in maps.items()},
    }


PCRE = r"""
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <cstdio>
int main(int, char** argv) {
  int error; PCRE2_SIZE offset;
  auto* code = pcre2_compile((PCRE2_SPTR)argv[1], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  auto* match = pcre2_match_data_create(1, nullptr);
  for (int c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    unsigned char b[4]; int n = 0;
    if (c < 0x80) b[n++] = c; else { int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
      b[n++] = ((0xFF00 >> (more + 1)) & 0xFF) | (c >> (6 * more)); while (more--) b[n++] = 0x80 | ((c >> (6 * more)) & 0x3F); }
    if (pcre2_match(code, b, n, 0, 0, match, nullptr) >= 0) std::printf("%d\n", c);
  }
}
"""


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) > 130:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join(lines + [line])


def write(path):
    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        open(f"{folder}/pcre.cc", "w").write(PCRE)
        subprocess.run(["c++", "-O1", "-o", f"{folder}/pcre", f"{folder}/pcre.cc", "-lpcre2-8"], check=True)

        def pcre(pattern):
            return set(map(int, subprocess.run([f"{folder}/pcre", pattern], check=True, capture_output=True, text=True).stdout.split()))

        added = {c: set(matched_by(rf"\p{{{c}}}")) - pcre(rf"\p{{{c}}}") for c in CATEGORIES}
        added["Al"] = set(matched_by(r"\p{Alpha}")) - pcre(r"\p{Alphabetic}")
    sets = functions()
    out = f"""// Made by tests/golden/tokenizers.py --unicode-tables from the answers of the original library; do not edit.
// tokenizers {tokenizers.__version__}, compared with PCRE2 10.42 (Unicode 14).
#pragma once

#include <cstdint>

namespace fedalt::unicode {{

struct Range {{
  uint32_t first, last;
}};
struct CategoryRange {{
  uint32_t first, last;
  char category[3];
}};

// clang-format off
"""
    for name, key, doc in [("kNumeric", "numeric", "General category N (Rust char::is_numeric)."), ("kPunctuation", "punctuation", "ASCII punctuation and general category P (pre-tokenizer Punctuation)."),
                           ("kCombiningMark", "combining_mark", "Marks that StripAccents removes."), ("kWord", "word", r"\w of the Rust regex crate.")]:
        items = table(" {0x%x, 0x%x}," % (a, b) for a, b in ranges(sets[key]))
        out += f"/// {doc}\ninline constexpr Range {name}[] = {{\n{items}\n}};\n\n"
    items = table(" {0x%x, 0x%x, \"%s\"}," % item for item in sorted((a, b, c) for c, s in added.items() for a, b in ranges(s)))
    out += f"/// Characters that Oniguruma knows (Unicode 16) and PCRE2 with Unicode 14 does not; \"Al\" is the property Alphabetic.\ninline constexpr CategoryRange kAddedCategories[] = {{\n{items}\n}};\n// clang-format on\n\n}}  // namespace fedalt::unicode\n"
    path.write_text(out)
