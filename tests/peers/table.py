"""Every client times every cell, against the agent that the environment names.

    table.py [--markdown FILE] [CLIENT …]        a client's name as the table has it; all of them unless some are named

Each client is a program of its own that tells its cells as lines of JSON (python/cells.py). Exit code 1 if a cell failed, or if a
client did not tell all of its cells. `–` stands where a client has no such call; its file says why.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ["list", "chat", "stream", "tools", "schema", "embeddings", "errors", "denied"]
MARKS = {"passed": "✓", "failed": "FAIL", "absent": "–"}
# Seconds for one client. The slowest takes a tenth of it.
LIMIT_S = 180


def python(file, environment="python"):
    return lambda cache: [cache / environment / "bin/python", HERE / "python" / file]


def node(file):
    return lambda cache: ["node", cache / "js" / file]


CLIENTS = {
    "openai (Python)": python("openai_client.py"),
    "openai (JS)": node("openai.mjs"),
    "ollama (Python)": python("ollama_client.py"),
    "ollama (JS)": node("ollama.mjs"),
    "@ai-sdk/openai-compatible": node("ai_sdk.mjs"),
    "litellm": python("litellm_client.py"),
    "langchain-openai": python("langchain_client.py"),
    "instructor": python("instructor_client.py", "instructor"),
    "@anthropic-ai/sdk": node("anthropic.mjs"),
}


def row(command):
    """What one client told, by column; a cell that it did not tell failed with the end of its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = (late.stdout or b"").decode(), f"not done after {LIMIT_S} s"
    told = {}
    for line in output.splitlines():
        if line.startswith('{"cell"'):
            cell = json.loads(line)
            told[cell["cell"]] = (cell["outcome"], cell["because"])
    silent = ("failed", "told nothing: " + " ".join(errors.split())[-600:])
    return {column: told.get(column, silent) for column in COLUMNS}


def lines(rows):
    widths = [max(map(len, ["client", *rows]))] + [max(len(column), 4) for column in COLUMNS]
    table = [["client", *COLUMNS], ["-" * width for width in widths]]
    table += [[name, *(MARKS[cells[column][0]] for column in COLUMNS)] for name, cells in rows.items()]
    return ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in table]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table here as well")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="; ".join(CLIENTS))
    arguments = parser.parse_args()
    unknown = set(arguments.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"no client {', '.join(sorted(unknown))}; there are: {'; '.join(CLIENTS)}")
    cache = pathlib.Path(os.environ["OUTPOST_PEERS_CACHE"])

    rows = {}
    for name in arguments.clients or CLIENTS:
        rows[name] = row(CLIENTS[name](cache))
        for column, (outcome, because) in rows[name].items():
            if outcome == "failed":
                print(f"FAIL {name}, {column}: {because}", flush=True)
    table = lines(rows)
    print("\n".join(table))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table) + "\n", encoding="utf-8")
    outcomes = [outcome for cells in rows.values() for outcome, _ in cells.values()]
    passed, failed, absent = (outcomes.count(outcome) for outcome in ("passed", "failed", "absent"))
    print(f"clients: {passed} passed, {failed} failed, {absent} skipped")
    sys.exit(failed > 0)


main()
