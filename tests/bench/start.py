"""From the start of the program to the first token, beside llama.cpp, on the same files, in turn: A B A B …, ratios pair by pair.

usage: start.py OUTPOST PEER_BIN_DIR FILE.gguf [FILE.gguf …] [--pairs 7] [--threads 2]

Both programs load the file, compute one token and end: `outpost model logits` and `llama-bench`. The file is read once before,
so that neither waits for the disk. Needs nothing beside Python.
"""

import argparse
import os
import statistics
import subprocess
import time


def seconds(command):
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("outpost")
    parser.add_argument("peer")
    parser.add_argument("files", nargs="+")
    for name, default in [("pairs", 7), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for file in options.files:
        ours = [options.outpost, "model", "logits", file, "--tokens", "1"]
        theirs = [os.path.join(options.peer, "llama-bench"), "-m", file, "-t", str(options.threads), "-ngl", "0", "-r", "1",
                  "-p", "1", "-n", "0", "--no-warmup"]
        seconds(ours), seconds(theirs)
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(options.pairs)]
        ratios = [mine / peer for mine, peer in pairs]
        mine, peer = (statistics.median(pair[index] for pair in pairs) for index in (0, 1))
        print(f"{os.path.basename(file)}: {mine:.2f} s against {peer:.2f} s, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


main()
