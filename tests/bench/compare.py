"""Speed beside llama.cpp on the same files, the same threads and the same machine, in turn: A B A B …, ratios pair by pair.

usage: compare.py OUTPOST PEER_BIN_DIR FILE.gguf [FILE.gguf …] [--pairs 5] [--threads 2] [--prompt 512] [--generate 128]
                  [--depth 0] [--out DIR]

PEER_BIN_DIR holds llama.cpp's `llama-bench`. Each program runs once uncounted; `--prompt 0` leaves reading out. Prints a table of medians with least and most,
and with --out writes it as speed.md, draws the ratios as speed.svg and keeps every figure in speed.json. Needs nothing beside
Python.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


BARS = {"prefill": "#2a7f9e", "decode": "#d98a2b"}


def run(command):
    """What a program prints as JSON, and its peak of resident memory in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"`{' '.join(map(str, command))}` ended with {process.returncode}")
    return json.loads(output), usage.ru_maxrss * 1024


def ours(options, file, depth):
    found, memory = run(
        [options.outpost, "model", "bench", file, "--json", "--repeat", "1", "--threads", str(options.threads),
         "--prompt", str(options.prompt), "--generate", str(options.generate), "--depth", str(depth)]
    )
    speed = {"decode": found["generate_tokens_per_second"], "prefill": found["prompt_tokens_per_second"]}
    return {**{what: figure for what, figure in speed.items() if figure > 0}, "memory": memory}


def theirs(options, file, depth):
    rows, memory = run(
        [os.path.join(options.peer, "llama-bench"), "-m", file, "-t", str(options.threads), "-r", "1", "-ngl", "0", "-o", "json",
         "-p", str(options.prompt), "-n", str(options.generate), "-d", str(depth)]
    )
    speed = {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in rows}
    return {**speed, "memory": memory}


def weight_bytes(options, file):
    """Bytes of weights that one token reads: all tensors, but of a table that is only looked up one row."""
    found, _ = run([options.outpost, "model", "inspect", file, "--json"])
    tensors = found["tensors"]
    names = {tensor["name"] for tensor in tensors}
    looked_up = "token_embd.weight" if "output.weight" in names else None
    return sum(tensor["bytes"] for tensor in tensors if tensor["name"] != looked_up)


def bandwidth(options):
    """Bytes per second that this machine's cores read from memory together."""
    found, _ = run([options.outpost, "probe", "--json"])
    return found["memory_read_bytes_per_second"]


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def shown(found, digits=2):
    return f"{found['median']:.{digits}f} ({found['least']:.{digits}f}–{found['most']:.{digits}f})"


def measure(options, file, depth):
    ours(options, file, depth)
    theirs(options, file, depth)
    pairs = []
    for _ in range(options.pairs):
        pairs.append({"ours": ours(options, file, depth), "theirs": theirs(options, file, depth), "bandwidth": bandwidth(options)})
    reads = weight_bytes(options, file)
    ratio = lambda what: spread([pair["ours"][what] / pair["theirs"][what] for pair in pairs])
    used = lambda whose: spread([reads * pair[whose]["decode"] / pair["bandwidth"] for pair in pairs])
    return {
        "file": os.path.basename(file).removesuffix(".gguf"),
        "depth": depth,
        **{what: ratio(what) for what in pairs[0]["ours"]},
        "bandwidth_used": used("ours"),
        "their_bandwidth_used": used("theirs"),
        "pairs": pairs,
    }


def table(options, results):
    lines = [
        f"Outpost ÷ llama.cpp, {options.threads} threads, medians of {options.pairs} pairs (least–most). Prefill reads {options.prompt}",
        f"tokens, decode writes {options.generate}, behind `depth` tokens of context; memory is the peak of resident bytes; the last",
        "columns are weight bytes per token × tokens/s ÷ the read bandwidth that the probe measured beside each pair.",
        "",
        "| file | depth | prefill | decode | memory | bandwidth used | theirs |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        columns = [
            shown(result[what]) if what in result else "–"
            for what in ("prefill", "decode", "memory", "bandwidth_used", "their_bandwidth_used")
        ]
        lines.append(f"| {result['file']} | {result['depth']} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def picture(options, results):
    """Bars of the ratios with their spread, a line where both are equally fast."""
    left, width, row, top = 260, 520, 44, 56
    most = max(2.0, max(result[what]["most"] for result in results for what in BARS if what in result) * 1.05)
    across = lambda ratio: left + ratio / most * width
    height = top + row * len(results) + 40
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {height}" font-family="sans-serif" font-size="13">',
        "<style>text{fill:#333}.axis{stroke:#888}.spread{stroke:#333}@media(prefers-color-scheme:dark){text{fill:#ddd}.spread{stroke:#ddd}}</style>",
        f'<text x="10" y="22" font-size="15">Outpost ÷ llama.cpp, {options.threads} threads: tokens per second on the same file</text>',
        '<rect x="10" y="32" width="12" height="10" fill="#2a7f9e"/><text x="27" y="42">reading a prompt</text>',
        '<rect x="150" y="32" width="12" height="10" fill="#d98a2b"/><text x="167" y="42">generating</text>',
    ]
    for index, result in enumerate(results):
        y = top + row * index
        name = result["file"] + (f" behind {result['depth']}" if result["depth"] else "")
        shapes.append(f'<text x="{left - 10}" y="{y + 22}" text-anchor="end">{name}</text>')
        for bar, (what, colour) in enumerate(BARS.items()):
            if what not in result:
                continue
            found, at = result[what], y + 4 + 16 * bar
            shapes.append(f'<rect x="{left}" y="{at}" width="{across(found["median"]) - left:.1f}" height="13" fill="{colour}"/>')
            shapes.append(f'<line class="spread" x1="{across(found["least"]):.1f}" x2="{across(found["most"]):.1f}" y1="{at + 6.5}" y2="{at + 6.5}"/>')
            shapes.append(f'<text x="{across(found["most"]) + 5:.1f}" y="{at + 11}" font-size="11">{found["median"]:.2f}</text>')
    bottom = top + row * len(results)
    shapes.append(f'<line class="axis" x1="{across(1):.1f}" x2="{across(1):.1f}" y1="{top - 6}" y2="{bottom + 6}" stroke-dasharray="4 3"/>')
    shapes.append(f'<text x="{across(1):.1f}" y="{bottom + 22}" text-anchor="middle">equally fast</text></svg>')
    return "\n".join(shapes) + "\n"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("outpost")
    parser.add_argument("peer")
    parser.add_argument("files", nargs="+")
    for name, default in [("pairs", 5), ("threads", 2), ("prompt", 512), ("generate", 128)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--out")
    options = parser.parse_args()
    results = []
    for file in options.files:
        results.append(measure(options, file, options.depth))
        figures = [f"{what} {shown(found)}" for what, found in results[-1].items() if isinstance(found, dict)]
        print(f"{file}: {', '.join(figures)}", file=sys.stderr, flush=True)
    text = table(options, results)
    print(text, end="")
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        for name, content in [("speed.md", text), ("speed.svg", picture(options, results)), ("speed.json", json.dumps(results, indent=1))]:
            with open(os.path.join(options.out, name), "w", encoding="utf-8") as file:
                file.write(content)


main()
