"""Schemathesis over the agent's own OpenAPI: what no client would send, and whether the answers are those that were promised.

    openapi.py [--long]        reads OUTPOST_URL, OUTPOST_TOKEN and OUTPOST_ADMIN_TOKEN from the environment

No answer of 500 and above, no status, type, header or body that the description does not have, no method that it does not have,
nothing without a key. First as an operator over everything, then as an admin over what an admin may do. The long form has ten
times the cases and no limit of time.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

URL, TOKEN, ADMIN_TOKEN = (os.environ[f"OUTPOST_{name}"] for name in ("URL", "TOKEN", "ADMIN_TOKEN"))
DESCRIPTION = f"{URL}/openapi.json"
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth",
]
# What changes which models there are; an operator is refused there.
ADMINS = "^/(api/(create|copy|delete|pull|blobs)|models/|openai/)"


def described():
    """The description, which is for those who have a key."""
    try:
        urllib.request.urlopen(DESCRIPTION, timeout=30)
        sys.exit(f"FAIL {DESCRIPTION} is shown without a key")
    except urllib.error.HTTPError as refused:
        if refused.code != 401:
            sys.exit(f"FAIL {DESCRIPTION} without a key is answered {refused.code}, not 401")
    call = urllib.request.Request(DESCRIPTION, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(call, timeout=30) as answer:
        return json.load(answer)


def fuzz(folder, token, *options):
    # The key is in a file and not among the arguments, which everybody on the machine can see.
    config = folder / "schemathesis.toml"
    # One key: a second one made up beside it would be two callers, whom nobody believes.
    config.write_text(
        'headers = { Authorization = "Bearer ${PEER_TOKEN}" }\n[generation]\nwith-security-parameters = false\n'
    )
    command = [
        pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", config, "--no-color", "run",
        folder / "openapi.json", "--url", URL, "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "60", "--seed", "1", "--suppress-health-check", "all", *options,
    ]
    done = subprocess.run(command, env={**os.environ, "PEER_TOKEN": token}, cwd=folder, capture_output=True, text=True)
    words = done.stdout.strip() or done.stderr.strip()
    print(words if done.returncode else "\n".join(words.splitlines()[-14:]), flush=True)
    return done.returncode == 0


def main():
    long = sys.argv[1:] == ["--long"]
    description = described()
    operations = sum(len({"get", "post", "put", "patch", "delete", "head"} & set(path)) for path in description["paths"].values())
    print(f"{operations} operations on {len(description['paths'])} paths")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "openapi.json").write_text(json.dumps(description))
        everything = ["--max-examples", "200"] if long else ["--max-examples", "15", "--max-time", "30"]
        admins = ["--max-examples", "200"] if long else ["--max-examples", "15", "--max-time", "10"]
        held = fuzz(folder, TOKEN, *everything)
        held &= fuzz(folder, ADMIN_TOKEN, "--include-path-regex", ADMINS, *admins)
    print(f"openapi: {'1 passed, 0 failed' if held else '0 passed, 1 failed'}")
    sys.exit(not held)


main()
