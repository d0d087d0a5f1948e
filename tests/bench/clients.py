"""Several clients at once beside llama-server, on the same file and the same machine, in turn: A B A B …, ratios pair by pair.

usage: clients.py OUTPOST PEER_BIN_DIR FILE.gguf [--clients 8] [--prompt 128] [--generate 64] [--prefix 0] [--pairs 5]
                  [--threads 2]

Every client streams one chat answer to a prompt of its own of about PROMPT tokens, after PREFIX tokens that all share. Figures:
tokens of all answers per second of the whole round, and the time to the first token, median and 95th percentile. llama-server
runs with 1, 2, 4 and 8 slots once, and then with the number that gave most tokens per second. Answers may end early (weights may
be random): tokens are counted as the server's own usage says. Needs nothing beside Python.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

WORDS = "till shelf store night light paper truck stock price order bread water green staff early queue scale crate floor count".split()


def text(seed, tokens):
    """About so many tokens: common words are one each, with the space before them."""
    choice = random.Random(repr(seed))
    return " ".join(choice.choice(WORDS) for _ in range(tokens))


def wait(port, path, headers):
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path, headers=headers)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"nothing answers on port {port}")


def ask(port, headers, prompt, generate, extra, found):
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": generate,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
    }
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    if response.status != 200:
        found.append({"error": f"{response.status} {response.read(500)!r}"})
        return
    first, tokens = None, 0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        choices = chunk.get("choices") or []
        if first is None and choices and choices[0]["delta"].get("content"):
            first = time.monotonic() - began
        if chunk.get("usage"):
            tokens = chunk["usage"]["completion_tokens"]
    found.append({"first": first if first is not None else time.monotonic() - began, "tokens": tokens})


def round_of(port, headers, options, seed, extra):
    """One round of all clients at once."""
    shared = text("shared", options.prefix)
    found = []
    prompts = [f"{shared} {text((seed, client), options.prompt)}" for client in range(options.clients)]
    threads = [
        threading.Thread(target=ask, args=(port, headers, prompt, options.generate, extra, found)) for prompt in prompts
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    errors = [answer["error"] for answer in found if "error" in answer]
    if errors or len(found) != options.clients:
        sys.exit(f"a request failed: {errors[:1]}")
    firsts = sorted(answer["first"] for answer in found)
    tokens = sum(answer["tokens"] for answer in found)
    return {
        "tokens_per_second": tokens / took,
        "tokens": tokens,
        "first_median": statistics.median(firsts),
        "first_p95": firsts[min(len(firsts) - 1, int(len(firsts) * 0.95))],
    }


class Server:
    """A program that serves while the block runs."""

    def __init__(self, command, port, path, headers, **more):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        wait(port, path, headers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def context(options):
    return options.prefix + options.prompt + options.generate + 96


def ours(options, state, key, seed):
    headers = {"Authorization": f"Bearer {key}"}
    command = [options.outpost, "run", "--state", state, "--model", options.file, "--listen", "127.0.0.1:18780"]
    with Server(command, 18780, "/v1/models", headers):
        for _ in range(600):
            connection = http.client.HTTPConnection("127.0.0.1", 18780, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                break
            time.sleep(0.1)
        round_of(18780, headers, argparse.Namespace(**{**vars(options), "clients": 1}), ("warm", seed), {})
        return round_of(18780, headers, options, seed, {})


def theirs(options, slots, seed):
    command = [os.path.join(options.peer, "llama-server"), "-m", options.file, "--port", "18781", "-t", str(options.threads),
               "-ngl", "0", "--parallel", str(slots), "-c", str(slots * context(options)), "--no-webui"]
    with Server(command, 18781, "/health", {}):
        extra = {"ignore_eos": True, "cache_prompt": True}
        round_of(18781, {}, argparse.Namespace(**{**vars(options), "clients": 1}), ("warm", seed), extra)
        return round_of(18781, {}, options, seed, extra)


def prepare(options, state):
    """A state directory of ours with a key in it, and the settings that both sides share."""
    with open(os.path.join(state, "outpost.toml"), "w", encoding="utf-8") as file:
        file.write(f"[model]\ncontext_tokens = {context(options)}\nslots = {options.clients}\nthreads = {options.threads}\n")
    made = subprocess.run(
        [options.outpost, "key", "create", "--state", state, "--name", "bench", "--role", "operator", "--json"],
        capture_output=True, text=True, check=True,
    )
    return json.loads(made.stdout)["key"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("outpost", "peer", "file"):
        parser.add_argument(name)
    for name, default in [("clients", 8), ("prompt", 128), ("generate", 64), ("prefix", 0), ("pairs", 5), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        key = prepare(options, state)
        tried = {slots: theirs(options, slots, "try")["tokens_per_second"] for slots in (1, 2, 4, 8)}
        slots = max(tried, key=tried.get)
        print("llama-server, tokens/s by slots: " + ", ".join(f"{slots}: {speed:.1f}" for slots, speed in tried.items()))
        pairs = [(ours(options, state, key, pair), theirs(options, slots, pair)) for pair in range(options.pairs)]
    for index, name in enumerate(["outpost", f"llama-server, {slots} slots"]):
        figures = {what: statistics.median(pair[index][what] for pair in pairs) for what in pairs[0][index]}
        print(f"{name}: {figures['tokens_per_second']:.1f} tokens/s, first token {figures['first_median']:.2f} s, "
              f"p95 {figures['first_p95']:.2f} s, {figures['tokens']:.0f} tokens a round")
    for what in ("tokens_per_second", "first_median", "first_p95"):
        ratios = [mine[what] / peer[what] for mine, peer in pairs]
        print(f"ratio of {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


main()
