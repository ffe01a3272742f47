"""Makes train.json, cohere.json, gpt2.json and cases.json with the Python library `tokenizers` (0.23.3 made the committed ones).

cohere.json: trained by the library on the lines of train.json: NFC, digits one by one, ByteLevel, the layout that
    `bam tokenizer train` writes; the trainer's test wants the same vocabulary and merges from the same text.
gpt2.json: no normalizer, ByteLevel alone, merges as "a b" strings, <|endoftext|> last, as GPT-2's own file has it.
cases.json: texts, their NFC where it differs, and the ids that the library gives; strings of special tokens are text.
"""
import json
import os
import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = 600

SENTENCES = [
    "All human beings are born free and equal in dignity and rights, and they're endowed with reason.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren; die Straße führt über die Brücke.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. L'été, ça dépend où l'on naît.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos; mañana será otro día.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
]
WORDS = "the lamp letter stone garden kitchen harbour tower market miller captain carried found silver broken heavy narrow when where there they've it's don't we'll I'm he'd you're".split()


def train_text():
    r = random.Random(7)
    lines = list(SENTENCES)
    for i in range(120):
        k = r.randrange(4)
        if k == 0:
            lines.append(" ".join(r.choice(WORDS) for _ in range(r.randrange(4, 14))) + ".")
        elif k == 1:
            a, b = r.randrange(1000), r.randrange(1000)
            lines.append(f"{a} + {b} = {a + b}; {a} * {b} = {a * b}.")
        elif k == 2:
            lines.append(f"def f{i}(x):\n    if x > {r.randrange(100)}:\n        return x * {r.randrange(100)}\n\n    return  x\t# {r.choice(WORDS)}")
        else:
            lines.append(r.choice(SENTENCES)[: r.randrange(10, 80)])
    return lines


def cohere(lines):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<PAD>", "<BOS>", "<EOS>"],
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return json.loads(t.to_str())


def gpt2(lines):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=VOCAB - 1, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    j = json.loads(t.to_str())
    j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
    j["model"]["vocab"]["<|endoftext|>"] = VOCAB - 1
    j["added_tokens"] = [{"id": VOCAB - 1, "special": True, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}]
    j["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    return j


def texts():
    r = random.Random(11)
    out = ["", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", " a ", "\u0000", "\ufeffx", "<BOS>a<EOS><|endoftext|><PAD>"]
    out += SENTENCES
    # Digits of many scripts, other numeric characters, digits beside letters and signs.
    out += ["0123456789", "1 2  3   4", "a1b22c333", "3.14159e-10", "١٢٣٤٥ ٦٧", "۰۱۲۳", "०१२३४५६", "０１２３", "一二三四", "Ⅳ ⅷ ½ ¾ ² ³ ¹ ① ⑩ ㊿", "𝟘𝟙𝟚 𝟬𝟭", "৪৫ ௧௨ ๓๔ ༣༤ ၅၆ ៧៨", "༳ 〇 〡〢 ᛮ 𐌠𐌡", "1st 2nd x² y₁"]
    # Combining marks: composed, decomposed, reordered, singletons, Hangul jamo, exclusions.
    out += ["é", "e\u0301", "a\u0323\u0302", "a\u0302\u0323", "q\u0307\u0323", "\u212b \u2126 \u212a", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\uac00\u11a8", "\u0958 \u0915\u093c", "\u0344", "\u1e9b\u0323",
            "\u0301a", "x\u0301\u0301\u0301\u0301y", "\u0f71\u0f72\u0f74", "\u09c7\u09be", "\u1025\u102e", "\ufb1d \u05d9\u05b4", "\u2f81a \ufa10 \u2adc", "\U0001d15e \U0001d157\U0001d165", "\u0041\u030a\u0301", "ﬁ ﬀ ŉ ǆ", "\u0340\u0341\u0343"]
    # Emoji, flags, joiners, variation selectors, private use, noncharacters.
    out += ["😀😃", "👩‍👩‍👧‍👦 👍🏽", "🇩🇪🇫🇷", "❤️ ☎︎", "🏴\U000e0067\U000e0062\U000e007f", "\ue000\uf8ff", "\ufffe\uffff", "\U0010ffff", "\ufffd"]
    # White space of every kind, alone and in runs.
    spaces = "\t\n\u000b\u000c\r \u0085\u00a0\u1680\u2000\u2003\u2007\u200a\u2028\u2029\u202f\u205f\u3000"
    near = "\u180e\u200b\u200c\u200d\u2060\ufeff\u001c\u001d\u001e\u001f"
    out += ["x" + c + "y" for c in spaces + near] + ["x" + c * 3 + "y" for c in spaces[5:8] + near[:2]]
    out += ["x  y", "x   y", "x    ", "   x", "a\n\nb", "a\n \nb", "a \n b", "a\t\tb", "a \u00a0 b", "    if x:\n        y  =  1\n\n\n", " \n \n ", "\u3000\u3000字", "a\u0085b", "\u180e\u180e", " \u180e x"]
    # Contractions and apostrophes.
    out += ["it's don't they're we've I'm you'll he'd", "IT'S DON'T THEY'RE", "'s't're've'm'll'd", "''s 's '' '", "o'clock rock'n'roll", "it’s", "'S 'sa'sb", "a'ssss", "x' s"]
    # Signs and mixtures.
    out += ["!?", "a,b.c;d", "((([[[{{{", "foo_bar-baz", "$1,234.56", "a+b=c", "http://x.y/z?q=1&r=2#s", "C++20 <vector>", "--- ### ***", "“quoted” — dash…", "a  !  b", "№5 §7 ©2020 ™", "a/b\\c", "\\u0041", "{\"k\": [1, null]}"]
    # Long words.
    out += ["a" * 64, "a" * 65, "a" * 200, "ab" * 150, "return" * 40, "é" * 100, "字" * 60, "!" * 130, " " * 100, "\n" * 70, "1" * 80, "x" * 63 + "é" + "y" * 80, "freeandequalindignityandrights" * 8]
    # Random bytes as Latin-1, random code points, random mixtures.
    out += ["".join(chr(r.randrange(256)) for _ in range(r.randrange(1, 60))) for _ in range(15)]
    pool = [c for c in range(0x300, 0x2fa20) if not 0xd800 <= c < 0xe000]
    stable = [chr(c) for c in pool if is_old(chr(c))]
    out += ["".join(r.choice(stable) for _ in range(r.randrange(1, 30))) for _ in range(15)]
    atoms = list(spaces) + list("ab1'.é") + ["e\u0301", "字", "٣", " the", "'re", "\u0323", "\u180e"]
    out += ["".join(r.choice(atoms) for _ in range(r.randrange(1, 30))) for _ in range(25)]
    return out


def is_old(c):
    """Assigned in Unicode 3.2: the same in every library's tables."""
    import unicodedata
    return unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Co", "Cs")


def main():
    lines = train_text()
    files = {"cohere": cohere(lines), "gpt2": gpt2(lines)}
    write("train.json", lines)
    loaded = {}
    for name, j in files.items():
        write(name + ".json", j)
        loaded[name] = Tokenizer.from_str(json.dumps(j))
        loaded[name].encode_special_tokens = True
    cases = []
    for t in texts():
        case = {"text": t}
        if (nfc := loaded["cohere"].normalizer.normalize_str(t)) != t:
            case["nfc"] = nfc
        cases.append(case | {n: k.encode(t, add_special_tokens=False).ids for n, k in loaded.items()})
    with open(os.path.join(HERE, "cases.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(len(cases), "cases;", {n: len(j["model"]["vocab"]) for n, j in files.items()})


def write(name, value):
    with open(os.path.join(HERE, name), "w") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")


main()
