"""The strings of tests/data/text/strings.json: text of many kinds, the same on every run. Used by tokenizers.py."""

import random

HAND_WRITTEN = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "a", " a", "a ", " a ", "Hello world", "Hello  world", "Hello   world!",
    "Hello, y'all! How are you 😁 ?", "I'm sure they've said we'll go; he'd know, it's that you're RIGHT. I'M SURE THEY'VE SAID WE'LL GO",
    "it’s ‘quoted’ “text” — dashes – and … dots", "''s 't 're'll'd ''''", "don'T Can'T he'S I'Ll", "O’'sS'", "'ſ 'S 's K kelvin K",
    "def f(x):\n    if x > 1:\n\t\treturn x ** 2  # square\n\n\n    return [i for i in range(10)]\n",
    "int main(void) { printf(\"%d\\n\", 0xFF); return a->b[3] << 2; }  // comment\n",
    "{\"key\": [1, 2.5, -3e10, null, true], \"nested\": {\"a\": \"b\\u00e9\"}}", "SELECT * FROM t WHERE x_1 <> 'a''b' AND y >= 10.00;",
    "<html><body class=\"x\">&amp;&nbsp;</body></html>", "https://example.org/path?q=1&r=a%20b#frag user@example.com", "$ cd ~/src && ls -la | grep '^d'",
    "for(;;){++i;--j;}", "#include <vector>\r\n#define X(a) a##b\r\n", "x = y = z == 1 != 2 <= 3 >= 4 && 5 || !6", "C:\\Users\\me\\file.txt",
    "0 1 12 123 1234 12345 123456 1234567 1,234,567.89 1e-9 0x1F 3.14159", "①②③ ½ ¼ ² ³ ¹ Ⅳ ⅷ ٠١٢٣ १२३ 一二三 ௧", "2024-01-31T23:59:59Z +49 (0)30 1234-567",
    "Zażółć gęślą jaźń", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg", "À l'aube, l'élève naïf mangeait où ça ?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "こんにちは世界。これはテストです。ｶﾀｶﾅ ﾊﾟﾋﾟ", "我能吞下玻璃而不伤身体。「你好」，世界！", "한국어 문장입니다. 각각 한글 자모 ㅎㅏㄴ",
    "한글", "السلام عليكم؟ هذا نص، للتجربة۔", "שלום עולם, זה מבחן", "नमस्ते दुनिया। यह एक परीक्षण है", "สวัสดีชาวโลก นี่คือการทดสอบ", "வணக்கம் உலகம்", "ជំរាបសួរពិភពលោក", "გამარჯობა მსოფლიო",
    "Բարև աշխարհ", "ሰላም ልዑል", "မင်္ဂလာပါ", "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ", "ᎣᏏᏲ", "𐍈𐌰𐌹 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚 𠜎𠜱", "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇯🇵 ❤️ ☺ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🤷🏿‍♀️", "😀😃😄😁😆😅🤣😂", "👨‍💻", "e\u0301 é e\u0301\u0301 \u0301a a\u0323\u0307 a\u0307\u0323",
    "ﬁ ﬂ ﬃ ſt ﬆ Å Å Å Ω Ω", "ǅ Ǆ ǆ İ ı ß ẞ SS ŉ", "\u200bzero\u200bwidth\u200c\u200djoin\ufeff", "\u00a0nbsp\u00a0\u2003em\u3000ideographic\u2009thin\u202f\u205f\u1680\u180e\u2028ls\u2029ps\u0085nel",
    "\x00", "a\x00b", "\x01\x02\x03\x1b[31mred\x1b[0m\x7f", "tab\tsep\tvals\n", "\v\f\r", "a\u0085b\x1cc\x1fd", "\ufffd", "\ufffe\uffff\U0010ffff", "\ue000\uf8ff\U000f0000", "\u0378\u0530\U0001fbff\U000e0fff",
    "a b\u00adc soft", "▁▁ ▁a▁ ▁", "▁", "a▁b", "Ġ Ċ ĉ Ā ł", "Ġhello", "<0x0A><0xE4>", "<0x41>", "<s>", "</s>", "<unk>", "<s>hello</s>", " <s> hello </s> ", "a<s>b", "hello<s>", "<s><s>", "< s>", "<S>",
    "<|endoftext|>", "Hello<|endoftext|>world <|endoftext|> x", "<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n", "<|user|>   hi   <|end|>   there", "  <|system|>\t x", "<|start_story|>Once upon a time<|end_story|>", " <|start_story|>",
    "x <|start_story|> y", ">>TITLE<<a>>ABSTRACT<< b", ">>QUESTION<<>>ANSWER<<", "[INST] <<SYS>> hi [/INST]", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "<|im_start|>user\nhi<|im_end|>\n",
    "<extra> x <extra>", "a<extra>b <extra>  c", "word<strip_left> b  <strip_left>c", "a <strip_right>   b<strip_right>", "single only singles single. -single- single_ singleé single", "NORMALISÉ normalisé Normalisé NORMALISE\u0301", "<pad><pad>",
    "[TOOL_CALLS] [{\"name\": \"f\"}] [AVAILABLE_TOOLS]", "▁<s>", " " * 2 + "two", " " * 3 + "three", " " * 7 + "seven", " " * 31 + "x", " " * 64, "\n" * 5 + "x", "\t" * 9 + "x", " \t \t x", "x" + " " * 17 + "y" + " " * 5, "\n \n  \n   \n", "   \n", "\n   ",
    "a" * 100, "ab" * 80, "aaaaab" * 20, "!" * 50, "=" * 33, "-" * 80, ". . . . .", "?!?!...,,,;;;:::", "((()))[[[]]]{{{}}}", "~`@#$%^&*_+|\\/\"<>", "€£¥¢₹₿ ©®™ °C ±×÷ ≤≥≠≈ ∑∏∫√∞ ←↑→↓ ■□▲▼ ♠♥♦♣ ♪♫", "§¶†‡•‰′″‹›«»¿¡",
    "ThisIsCamelCase and snake_case_name and kebab-case-name and SCREAMING_SNAKE", "supercalifragilisticexpialidocious antidisestablishmentarianism", "qwertyuiopasdfghjklzxcvbnm QWERTYUIOPASDFGHJKLZXCVBNM",
    "### Instruction:\nName three colours.\n\n### Response:\nRed, green, blue.", "### Instruction:\nTranslate.\n\n### Input:\nBonjour\n\n### Response:\nHello", "Q: 2+2=?\nA: 4\n\nQ: 3+3=?\nA:", "OPTIONS:\n- yes\n- no\n- it's impossible to say",
    "The quick brown fox jumps over the lazy dog.", "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.", "1st 2nd 3rd 4th 10% $5.00 #1 @home", "e.g. i.e. etc. Mr. Dr. U.S.A.", "a.b.c,d;e:f!g?h", "\u0130stanbul \u0131", "ΑΣ ΑΣΑ ς", "Ǆ ǅ",
    "\u1c89\u1c8a \ua7cb\ua7dc", "\U0002ebf0\U00031350 \U00010d40\U00010d50\U00010d70 \U00016ea0", "\u32ff \ua7f2 \U00010781 \U00011938", "\u1100\u1161\u11a8\uac00\u11a8", "\u0f71\u0f72\u0f74\u0f80", "\u0344 \u0340\u0341 \u0374 \u037e \u0387", "\U0001d15e\U0001d1c0", "\u212b\u2126\u2000\u2001",
    "가각갂 \u3131\u314f", "ÀÁÂ\u0300\u0301\u0302", "q\u0307\u0323 q\u0323\u0307", "\u0958\u0929\u0931", "\ufb2a\ufb4f", "x\u20e3 1\ufe0f\u20e3 #\ufe0f\u20e3",
]

ALPHABETS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218F), (0x2190, 0x23FF), (0x2500, 0x27BF), (0x3000, 0x30FF), (0x3200, 0x33FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF), (0x0, 0x1F), (0x80, 0x9F), (0xA000, 0xABFF), (0x10000, 0x1FFFF),
]

ATOMS = [
    " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "a", "the", "The", "THE", " the", "ing", "s", "'s", "'t", "'re", "'LL", "’s", "1", "12", "2024", "3.14", ",", ".", "!", "?!", "...", "-", "--", "_", "(", ")", "\"", "é",
    "e\u0301", "ß", "ñ", "日本", "語", "の", "한", "да", "ა", "😀", "👍🏽", "\u200d", "\u00a0", "\u3000", "▁", "Ġ", "<s>", "</s>", "<unk>", "<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<extra>", "<strip_left>", "<strip_right>",
    "single", "NORMALISÉ", "<|start_story|>", ">>TITLE<<", "<0x0A>", "\x00", "\x07", "²", "½", "٣", "[", "]", "{", "}", "=", "+", "\\", "/", "token", "izer", "federated", "learning", "function", "return", "int", "0x1F", "ﬁ", "Å", "İ", "\u0301", "۔", "،", "。", "…",
]


def make_strings():
    rng = random.Random(20240501)
    strings = list(HAND_WRITTEN)
    for i in range(220):  # mixtures of atoms
        strings.append("".join(rng.choice(ATOMS) for _ in range(rng.randint(2, 24))))
    for i in range(160):  # runs of characters of a few blocks
        text = ""
        for _ in range(rng.randint(1, 5)):
            low, high = rng.choice(ALPHABETS)
            text += "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))
            text += rng.choice(["", "", " ", "\n", "  "])
        strings.append("".join(c for c in text if not 0xD800 <= ord(c) < 0xE000))
    for i in range(60):  # anything
        text = "".join(chr(rng.randint(0, 0x10FFFF)) for _ in range(rng.randint(1, 12)))
        strings.append("".join(c for c in text if not 0xD800 <= ord(c) < 0xE000))
    for i in range(40):  # spaces between words
        text = ""
        for _ in range(rng.randint(2, 8)):
            text += rng.choice(["x", "word", "42", ".", "é"]) + rng.choice([" ", "\n", "\t", "\u00a0", "\u3000"]) * rng.randint(0, 6)
        strings.append(text)
    strings.append(" ".join(rng.choice(HAND_WRITTEN) for _ in range(60)))  # one long text
    return strings
