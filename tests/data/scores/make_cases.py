"""Makes cases.json: texts, and what public implementations score them. The committed one is of multilingual-rouge 0.0.1, rouge_score 0.1.2, lm_eval 0.4.13, nltk 3.10.4.

rouge: F1 of ROUGE-1, -2 and -L by multilingual_rouge (XL-Sum's fork of rouge_score), without a stemmer, of scripts that set spaces between words.
    Where there are none (Han, kana, Thai) that fork asks segmenters with dictionaries. Of these the scores are those of rouge_score, whose tokenizer here takes characters, as bam does.
number: whether lm_eval's filter of GSM8K, "flexible-extract", finds the gold number, compared as its exact_match does: without "," "$" and a last ".".
match: lm_eval's exact_match without case and punctuation, on texts in one line with single spaces.
instructions: which of the answers follow, by lm_eval.tasks.ifeval, strictly and loosely. Sentences and words in capitals are left out, since they want data of nltk's that is no part of its package, and
    response_language, which asks langdetect; the checks of case, which ask it too, are told that all is English.

    pip install lm_eval==0.4.13 --no-deps; pip install multilingual-rouge==0.0.1 rouge-score==0.1.2 numpy sacrebleu nltk==3.10.4 langdetect==1.0.9 immutabledict packaging
    python make_cases.py
"""
import json
import os
import random
import re
import sys
import types

import lm_eval
import nltk

nltk.data.find = lambda *_: True  # its data is wanted at import, by checks that are left out
tasks = sys.modules["lm_eval.tasks"] = types.ModuleType("lm_eval.tasks")  # whose __init__ wants the library datasets
tasks.__path__ = [os.path.join(os.path.dirname(lm_eval.__file__), "tasks")]

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.tasks.ifeval import instructions as checks
from lm_eval.tasks.ifeval import utils
from multilingual_rouge.rouge_scorer import RougeScorer
from rouge_score import rouge_scorer

HERE = os.path.dirname(os.path.abspath(__file__))

SENTENCES = {
    "english": "All human beings are born free and equal in dignity and rights, and they have reason.",
    "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren; die Straße führt über die Brücke.",
    "french": "Tous les êtres humains naissent libres et égaux en dignité, et chacun est né où il est né.",
    "spanish": "¿Nacen libres todos los seres humanos? Sí: todos los seres humanos, mañana y siempre.",
    "russian": "Все люди рождаются свободными и равными в своём достоинстве и правах; все люди свободны.",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και στα δικαιώματα.",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। সমস্ত মানুষ সমান।",
    "tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும் சமமானவர்கள்.",
    "arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق، وقد وهبوا عقلاً وضميراً.",
    "hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם, כל בני האדם.",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 자유롭다.",
    "amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው። የሰው ልጅ ሁሉ።",
    "vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
}

UNSPACED = {
    "chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，人人自由。",
    "japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。すべての人間。",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ มนุษย์ทั้งหลาย",
    "burmese": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ လူတိုင်းသည်",
}

NUMBERS = [
    ("The answer is 18.", "18"), ("It is $1,234 in all", "1234"), ("first 18 then 19", "18"), ("first 18 then 19", "19"), ("x = -5", "-5"), ("no number", "3"), ("", "3"), ("3 + 4 = 7\n#### 7", "7"), ("70,000", "70,000"),
    ("70000", "70,000"), ("it costs 2.50", "2.50"), ("it costs 2.51", "2.50"), ("1234 apples", "234"), ("100% of 12", "12"), ("She has 1,000,000 dollars.", "1000000"), ("0.5", "0.5"), ("**42**", "42"), ("Answer: 42!", "42"), ("42 43", "42"),
    ("(7)", "7"), ("10 - 3 = 7 apples", "7"), ("$12.75 each", "12.75"),
]

MATCHES = [
    ("The cat", "the cat"), ("the cat.", "The cat!"), ("a cat", "the cat"), ("", "cat"), ("it's", "its"), ("C) three", "c three"), ("yes", "yes"), ("yes no", "no yes"), ("U.S.A.", "USA"), ("42", "42."), ("3.5", "35"), ("one-two", "onetwo"),
]

ANSWERS = [
    "", "yes", "My answer is yes.", "Sure, here it is: the garden is green", "the garden is green and the lamp is small and the lamp is red", "THE GARDEN IS GREEN", "\"the lamp is small\"", "<<A Title>>\n\nthe lamp is small",
    "* one\n* two\n* three", "- one\n- two", "*one* and **two words** and *three*", "first part\n\n***\n\nsecond part", "first part\n***\nsecond part\n***\nthird part", "one answer\n******\nanother answer", "one\n******\none",
    "The lamp.\n\nP.S. it is red", "The lamp. P. P. S. it is red", "SECTION 1\nthe lamp\nSECTION 2\nthe garden", "Dear [name], I live at [address] in [city]", "{\"lamp\": [1, 2]}", "```json\n{\"lamp\": 1}\n```", "{lamp: 1}",
    "garden gardens gardener, lamp", "lamp\n\ngarden\n\nthe tower", "Tower stands\n\nthe lamp is old\n\nlamp again", "Is there anything else I can help with?", "Write about a lamp. Here is a lamp.", "Here you are:\nthe lamp is green\nBye, now",
    "lamp lamp lamp lamp", "Lamp, LAMP and lamplight",
]

CHECKS = [
    ("keywords:existence", {"keywords": ["lamp", "garden"]}), ("keywords:frequency", {"keyword": "lamp", "frequency": 2, "relation": "at least"}), ("keywords:frequency", {"keyword": "lamp", "frequency": 2, "relation": "less than"}),
    ("keywords:forbidden_words", {"forbidden_words": ["lamp", "tower"]}), ("keywords:letter_frequency", {"letter": "a", "let_frequency": 3, "let_relation": "at least"}), ("keywords:letter_frequency", {"letter": "e", "let_frequency": 4, "let_relation": "less than"}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}), ("length_constraints:number_words", {"num_words": 5, "relation": "at least"}), ("length_constraints:number_words", {"num_words": 5, "relation": "less than"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "garden"}), ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 3, "first_word": "lamp"}),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}), ("detectable_content:postscript", {"postscript_marker": "P.S."}), ("detectable_content:postscript", {"postscript_marker": "P.P.S"}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}), ("detectable_format:number_bullet_lists", {"num_bullets": 3}), ("detectable_format:constrained_response", {}), ("detectable_format:number_highlighted_sections", {"num_highlights": 2}),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}), ("detectable_format:json_format", {}), ("detectable_format:title", {}), ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Write about a lamp."}), ("startend:end_checker", {"end_phrase": "Is there anything else I can help with?"}), ("startend:end_checker", {"end_phrase": "lamp is red"}),
    ("change_case:english_capital", {}), ("change_case:english_lowercase", {}), ("punctuation:no_comma", {}), ("startend:quotation", {}),
]


def rouge():
    r = random.Random(11)
    cases = []
    for lang, sentence in SENTENCES.items():
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False, lang=lang)
        words = sentence.split(" ")
        for kind in range(5):
            other = list(words)
            if kind == 1:
                del other[r.randrange(len(other))]
            if kind == 2:
                r.shuffle(other)
            if kind == 3:
                other = [w for w in other if r.random() < 0.6] + [r.choice(words)]
            if kind == 4:
                other = [w.upper() for w in other[: len(other) // 2]] + ["…", r.choice(list(SENTENCES.values())).split(" ")[0]]
            prediction = " ".join(other)
            scores = scorer.score(sentence, prediction)
            cases.append({"lang": lang, "prediction": prediction, "reference": sentence, "f1": [scores[k].fmeasure for k in ("rouge1", "rouge2", "rougeL")]})
    return cases


class Characters:
    def tokenize(self, text):  # letters with their marks; nothing else
        return re.findall(r"\w[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u102b-\u103e]*", text)


def rouge_of_characters():
    r = random.Random(12)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Characters())
    cases = []
    for lang, sentence in UNSPACED.items():
        tokens = Characters().tokenize(sentence)
        for kind in range(4):
            other = list(tokens)
            if kind == 1:
                del other[2 : len(other) // 3]
            if kind == 2:
                r.shuffle(other)
            if kind == 3:
                other = [t for t in other if r.random() < 0.6] + ["。"] + [r.choice(tokens)]
            prediction = "".join(other)
            scores = scorer.score(sentence, prediction)
            cases.append({"lang": lang, "prediction": prediction, "reference": sentence, "f1": [scores[k].fmeasure for k in ("rouge1", "rouge2", "rougeL")]})
    return cases


def number():
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    cases = []
    for text, gold in NUMBERS:
        found = re.findall("(-?[$0-9.,]{2,})|(-?[0-9]+)", text)  # the filter's pattern; group_select is -1
        last = [m for m in found[-1] if m][0] if found else "[invalid]"
        cases.append({"text": text, "gold": gold, "right": bool(exact_match_hf_evaluate([last], [gold], regexes_to_ignore=ignored)["exact_match"])})
    return cases


def match():
    return [{"text": t, "gold": g, "right": bool(exact_match_hf_evaluate([t], [g], ignore_case=True, ignore_punctuation=True)["exact_match"])} for t, g in MATCHES]


def instructions():
    checks.langdetect.detect = lambda text: "en"
    cases = []
    for name, kwargs in CHECKS:
        item = utils.InputExample(key=0, instruction_id_list=[name], prompt="", kwargs=[kwargs])
        follows = lambda test: [i for i, text in enumerate(ANSWERS) if test(item, text).follow_all_instructions]
        cases.append({"id": name, "kwargs": kwargs, "strict": follows(utils.test_instruction_following_strict), "loose": follows(utils.test_instruction_following_loose)})
    return cases


def main():
    out = {"rouge": rouge() + rouge_of_characters(), "number": number(), "match": match(), "answers": ANSWERS, "instructions": instructions()}
    with open(os.path.join(HERE, "cases.json"), "w", encoding="utf-8") as f:
        f.write("{\n")
        for k, (name, cases) in enumerate(out.items()):
            f.write(json.dumps(name) + ": [\n" + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases) + "\n]" + (",\n" if k + 1 < len(out) else "\n"))
        f.write("}\n")


main()
