#!/usr/bin/env python3
"""What an `outpost` program computes, line by line: the same lines on every machine, to the last bit.

    cross/computed.py PROGRAM        from the repository's root

Logits of the golden models, held to the independent implementation that the engine's own tests hold them to; the demo model in three
formats, the smaller two encoded by the program itself, and what each answers.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

FIXTURES = pathlib.Path("tests/fixtures")
# As in the engine's test: every kernel's rounding fits into it.
TOLERANCE = 1e-3
POSITIONS = [20, 47]
QUESTIONS = ["How does a device enrol?", "Does it work offline?", "Who are you?"]


def ask(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: `outpost {' '.join(map(str, arguments))}` ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def golden(program, family):
    """Logits of a golden model: how far from the other implementation, and which bits."""
    folder = FIXTURES / "golden"
    tokens = (folder / f"{family}.tokens").read_text().strip()
    expected = [[float(number) for number in line.split()] for line in (folder / f"{family}.logits").read_text().splitlines()]
    positions = ",".join(map(str, POSITIONS))
    text = ask(program, "model", "logits", folder / f"{family}.gguf", "--tokens", tokens, "--positions", positions, "--backend", "cpu")
    found = json.loads(text)["logits"]
    if [len(row) for row in found] != [len(row) for row in expected]:
        sys.exit(f"error: {family}: logits of other shape than expected")
    worst = max(abs(one - other) for row, other_row in zip(found, expected) for one, other in zip(row, other_row))
    if not worst <= TOLERANCE:
        sys.exit(f"error: {family}: a logit is off by {worst:.2e}, {TOLERANCE:.0e} is allowed")
    return f"{family} off by {worst:.2e} at most, bits {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def demo(program, file, name):
    """The demo model in one format: the file's bytes, and its answers."""
    yield f"demo {name} is {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    asked = [part for question in QUESTIONS for part in ("--golden", question)]
    for answer in json.loads(ask(program, "model", "inspect", file, "--json", *asked))["facts"]["golden"]:
        yield f"demo {name} continues {answer['prompt']!r} with {answer['answer']!r}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    for family in ["llama", "qwen3", "gemma3", "phi3", "bitnet"]:
        print(golden(program, family), flush=True)
    original = FIXTURES / "outpost-demo-f16.gguf"
    with tempfile.TemporaryDirectory() as folder:
        print(*demo(program, original, "F16"), sep="\n", flush=True)
        for name in ["Q8_0", "Q4_K_M"]:
            file = pathlib.Path(folder) / f"{name}.gguf"
            ask(program, "model", "quantize", original, file, "--to", name)
            print(*demo(program, file, name), sep="\n", flush=True)


if __name__ == "__main__":
    main()
