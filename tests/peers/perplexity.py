"""llama.cpp and Outpost over the same files and the same text: equal tokens, perplexities side by side.

usage: perplexity.py OUTPOST TEXT CONTEXT FILE.gguf [FILE.gguf …]

Needs `llama-cpp-python` from PyPI (LLAMA_CPP_LIB_PATH may name a folder with llama.cpp's libraries). Both score the text in
windows of CONTEXT tokens on their second half. Fails when the tokens differ or a perplexity is more than 0.5 % apart.
"""

import json
import subprocess
import sys

import llama_cpp
import numpy

ALLOWED = 0.005


def ours(program, *arguments):
    answer = subprocess.run([program, "--json", "model", *arguments], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def theirs(model, tokens, context):
    """Perplexity as `llama-perplexity` computes it."""
    losses = []
    for start in range(0, len(tokens) - context + 1, context):
        window = list(tokens[start : start + context])
        if model.metadata.get("tokenizer.ggml.add_bos_token", "false") == "true":
            window[0] = model.token_bos()
        model.reset()
        model.eval(window)
        for position in range(context // 2, context - 1):
            row = model.scores[position].astype(numpy.float64)
            row -= row.max()
            losses.append(numpy.log(numpy.exp(row).sum()) - row[window[position + 1]])
    return float(numpy.exp(numpy.mean(losses)))


def main(program, text_file, context, *files):
    context = int(context)
    with open(text_file, encoding="utf-8") as file:
        text = file.read()
    worst = 0.0
    for file in files:
        model = llama_cpp.Llama(file, n_ctx=context, logits_all=True, verbose=False)
        tokens = ours(program, "tokenize", file, "--text-file", text_file, "--special")["tokens"]
        if tokens != model.tokenize(text.encode(), add_bos=False, special=True):
            sys.exit(f"error: {file}: the tokens differ")
        arguments = ["--text-file", text_file, "--context", str(context), "--special"]
        found = ours(program, "perplexity", file, *arguments)
        expected = theirs(model, tokens, context)
        apart = found["perplexity"] / expected - 1
        worst = max(worst, abs(apart))
        print(f"{file}: {len(tokens)} equal tokens, perplexity {found['perplexity']:.4f}, theirs {expected:.4f}, {apart:+.4%}")
    if worst > ALLOWED:
        sys.exit(f"error: {worst:.4%} apart, {ALLOWED:.1%} allowed")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
