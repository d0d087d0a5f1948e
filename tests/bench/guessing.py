"""What guessing ahead gains on a text that repeats its prompt, and what it costs on one that repeats nothing.

usage: guessing.py OUTPOST FILE.gguf [--repeat 5] [--threads 2] [--draft FILE.gguf]

Two answers of about 300 words are dictated to the model, so that any weights do: a text of the prompt with every twelfth
word changed, as somebody would write who was asked to correct it, and words drawn at random. Each is said with and without
guessing in turn, and the ratio of each pair counts. The file needs a real vocabulary: with single letters for tokens
everything repeats itself. Needs nothing beside Python.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile

TEXT = pathlib.Path(__file__).parent / "../../LICENSE"
WORDS = 300


def measure(options, folder, name, prompt, answer):
    paths = []
    for part, text in (("prompt", prompt), ("answer", answer)):
        paths.append(os.path.join(folder, f"{name}.{part}"))
        pathlib.Path(paths[-1]).write_text(text, encoding="utf-8")
    command = [options.outpost, "model", "bench", options.file, "--json", "--threads", str(options.threads),
               "--repeat", str(options.repeat), "--after", paths[0], "--answer", paths[1]]
    if options.draft:
        command += ["--draft", options.draft]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    least, most = found["speed_up_range"]
    print(f"{name}: {found['answer_tokens']} tokens behind {found['prompt_tokens']}, {found['speed_up']:.2f} times as fast "
          f"({least:.2f}–{most:.2f}), {found['right_tokens']} of {found['guessed_tokens']} guesses right")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("outpost")
    parser.add_argument("file")
    parser.add_argument("--draft")
    for name, default in [("repeat", 5), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    words = TEXT.read_text(encoding="utf-8").split()
    text = words[200:200 + WORDS]
    changed = [word.upper() if index % 12 == 5 else word for index, word in enumerate(text)]
    choice = random.Random(1)
    drawn = lambda: " ".join(choice.choice(words) for _ in range(WORDS))
    with tempfile.TemporaryDirectory() as folder:
        measure(options, folder, "rewritten", "Correct this text:\n" + " ".join(text) + "\n", " ".join(changed))
        measure(options, folder, "random", drawn(), drawn())


main()
