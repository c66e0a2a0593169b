"""Makes tests/data/rouge/scripts.jsonl: texts in many scripts with their words and ROUGE scores.

Words are found by Unicode properties (the package regex), scores are those of rouge_score with these words.
Run: /path/to/venv/bin/python tests/golden/rouge_scripts.py        (rouge_score, regex; versions are written into the file)
"""
import importlib.metadata
import json
import os
import random
import sys

sys.path.pop(0)  # beside this file lie files with names of libraries
import regex
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "rouge", "scripts.jsonl")
VERSIONS = {name: importlib.metadata.version(name) for name in ("rouge_score", "nltk", "regex")}

WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
LETTER = rf"[[\p{{L}}\p{{Nd}}]--[\p{{Latin}}0-9\u00b5{WITHOUT_SPACES}]]"
WORDS = regex.compile(rf"[a-z0-9]+|[[{WITHOUT_SPACES}]&&[\p{{L}}\p{{N}}]][\p{{M}}\u200c\u200d]*|{LETTER}(?:{LETTER}|[\p{{M}}\u200c\u200d])*",
                      regex.V1)
STEMMER = PorterStemmer()


class Words:
    """What RougeScorer takes as a tokenizer."""

    def tokenize(self, text):
        found = WORDS.findall(text.lower().replace("ς", "σ"))
        return [STEMMER.stem(word) if word.isascii() and len(word) > 3 else word for word in found]


TEXTS = {
    "Russian": "Москва — столица России, в ней живёт около 13 миллионов человек.",
    "Ukrainian": "Найбільше місто України стоїть на берегах Дніпра; його заснували понад 1500 років тому.",
    "Greek": "Η ΑΘΉΝΑ είναι η πρωτεύουσα της Ελλάδας και ο σοφός Σωκράτης ζούσε εδώ.",
    "Armenian": "Երևանը Հայաստանի մայրաքաղաքն է։",
    "Georgian": "თბილისი საქართველოს დედაქალაქია, მდინარე მტკვარზე.",
    "Hebrew": "ירושלים היא עיר עתיקה; שָׁלוֹם לכולם.",
    "Arabic": "القاهرة هي عاصمة مصر، وعدد سكانها ٢٠ مليون تقريبًا.",
    "Persian": "کتاب‌ها را به خانه می‌برم و می‌خوانم.",
    "Hindi": "दिल्ली भारत की राजधानी है और यहाँ बहुत लोग रहते हैं।",
    "Bengali": "ঢাকা বাংলাদেশের রাজধানী, জনসংখ্যা ২ কোটির বেশি।",
    "Tamil": "சென்னை தமிழ்நாட்டின் தலைநகரம் ஆகும்.",
    "Amharic": "አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት።",
    "Korean": "서울은 대한민국의 수도이며 한강이 도시를 가로지른다.",
    "Japanese": "東京は日本の首都で、コーヒーが好きな人が2023年に増えました。",
    "Chinese": "北京是中华人民共和国的首都，人口超过2000万。",
    "Thai": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย ที่นี่มีคนมาก",
    "Lao": "ວຽງຈັນ ເປັນນະຄອນຫຼວງຂອງລາວ",
    "Khmer": "ភ្នំពេញជារាជធានីនៃប្រទេសកម្ពុជា",
    "Burmese": "ရန်ကုန်သည် မြန်မာနိုင်ငံ၏ အကြီးဆုံးမြို့ ဖြစ်သည်။",
    "mixed": "The Москва-Tower 東京 café Straße α-Strahlung Windows用 T34 Т34",
    "digits": "１２３ ٤٥٦ 789 ２０２４年",
    "short": "Да",
}


def disturbed(rng, text):
    """What a model's answer looks like: parts dropped, repeated, in other order or case."""
    parts = text.split() if " " in text else list(text)
    kept = [part for part in parts if rng.random() > 0.15] or parts
    if rng.random() < 0.4:
        rng.shuffle(kept)
    if rng.random() < 0.3:
        kept = [part.upper() for part in kept]
    kept += [rng.choice(kept)] * rng.randint(0, 2)
    return (" " if " " in text else "").join(kept)


def main():
    rng = random.Random(7)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Words())
    with open(OUT, "w", encoding="utf-8") as file:
        file.write(json.dumps({"versions": VERSIONS}) + "\n")
        for name, text in TEXTS.items():
            answers = [text] + [disturbed(rng, text) for _ in range(6)] + [rng.choice(list(TEXTS.values()))]
            for answer in answers:
                scores = scorer.score(text, answer)
                row = {"language": name, "reference": text, "answer": answer, "words": Words().tokenize(answer)}
                row["scores"] = [scores[metric].fmeasure for metric in ("rouge1", "rouge2", "rougeL")]
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
