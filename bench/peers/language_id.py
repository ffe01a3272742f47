#!/usr/bin/env python3
"""Language identification beside public packages: how many texts of FILE, whole and cut to their first characters, each finds to be in the language that FILE says.

    pip install py3langid langdetect lingua-language-detector
    language_id.py PROGRAM TEXTS FILE     PROGRAM: build/bench/bench/language_id; TEXTS: what it learns languages from; FILE: lines {"text", "lang"}

They choose among the languages of TEXTS that all of them know, bam among all that TEXTS has, and are asked about no other; pt-BR is pt. A table in Markdown.
agreement: of the texts on which the packages are of one mind, those on which bam is too.
"""
import json
import subprocess
import sys

import langdetect
import py3langid
from langdetect.detector_factory import init_factory
from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

program, texts, path = sys.argv[1:]
rows = [(r["text"], r["lang"]) for r in map(json.loads, open(path, encoding="utf-8"))]


def ours(batch):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in batch)
    out = subprocess.run([program, texts], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")
    return out[0].split(" "), [guess.split("-")[0] for guess in out[1 : len(batch) + 1]]


langdetect.DetectorFactory.seed = 1
init_factory()
known = ours([])[0]
lingua_of = {language.iso_code_639_1.name.lower(): language for language in Language.all()}
detected = {code.split("-")[0] for code in langdetect.detector_factory._factory.get_lang_list()}
py3langid.classify("")  # loads its model
languages = sorted({l.split("-")[0] for l in known} & set(lingua_of) & detected & set(py3langid.langid.IDENTIFIER.labels))
rows = [r for r in rows if r[1] in languages]
py3langid.set_languages(languages)
lingua = LanguageDetectorBuilder.from_languages(*(lingua_of[l] for l in languages)).build()


def by_lingua(text):
    found = lingua.detect_language_of(text)
    return found.iso_code_639_1.name.lower() if found else ""


def by_langdetect(text):
    try:
        return next((g.lang.split("-")[0] for g in langdetect.detect_langs(text) if g.lang.split("-")[0] in languages), "")
    except langdetect.LangDetectException:
        return ""


packages = {"py3langid": lambda t: py3langid.classify(t)[0], "langdetect": by_langdetect, "lingua": by_lingua}
print(f"{len(rows)} texts in {len({l for _, l in rows})} languages; the packages choose among {len(languages)}, bam among those that it learned: {' '.join(known)}\n")
print("| characters | language | n | bam | " + " | ".join(packages) + " | agreement |\n|--:|---|--:|" + "--:|" * (len(packages) + 2))
for cut in (None, 50, 20):
    batch = [t[:cut] for t, _ in rows]
    guesses = {"bam": ours(batch)[1], **{name: [f(t) for t in batch] for name, f in packages.items()}}
    for language in ["all"] + languages:
        at = [i for i, r in enumerate(rows) if language in ("all", r[1])]
        if not at:
            continue
        cells = [f"{100 * sum(g[i] == rows[i][1] for i in at) / len(at):.1f}" for g in guesses.values()]
        same = [i for i in at if len({guesses[p][i] for p in packages}) == 1]
        agree = sum(guesses["bam"][i] == guesses["lingua"][i] for i in same)
        print(f"| {cut or 'all'} | {language} | {len(at)} | " + " | ".join(cells) + f" | {agree} of {len(same)} |")
