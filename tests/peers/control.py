"""A real control plane, met by schemathesis and by the Python client that is generated from its own description.

    control.py PROGRAMS [--long]       PROGRAMS holds `outpost-control` and `outpost`

With a valid token: no answer of 500 and above, no status, type, header or body that the description does not have. Without one:
nothing but 401, whatever is sent. Then `openapi-python-client` writes a client, which enrols a device, assigns a model to it and
lists it. The long form has ten times the cases and no limit of time.
"""

import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
PROGRAMS = pathlib.Path(sys.argv[1])
LONG = sys.argv[2:] == ["--long"]
PEERS = pathlib.Path(os.environ["OUTPOST_PEERS_CACHE"])
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Control:
    """A control plane with a catalogue of one small model, in a folder that is thrown away."""

    def __init__(self, folder):
        self.state, self.folder = folder / "state", folder
        made = json.loads(self.run("init", "--json"))
        self.token, self.authority = made["admin_token"], made["authority"]
        port = free_port()
        self.url = f"https://localhost:{port}"
        settings = f'http_listen = "127.0.0.1:{port}"\nmqtt_listen = "127.0.0.1:{free_port()}"\n'
        (self.state / "outpost-control.toml").write_text(settings)
        self.run("keys", "create", "--keys", folder / "keys")
        inspected = subprocess.run(
            [PROGRAMS / "outpost", "--json", "model", "inspect", HERE / "../fixtures/outpost-demo-f16.gguf"],
            check=True, capture_output=True, text=True,
        ).stdout
        (folder / "model.json").write_text(inspected)
        self.run("catalogue", "release", "--keys", folder / "keys", "--model", folder / "model.json", "--default-policy")
        self.log = (folder / "serve.log").open("w")
        self.server = subprocess.Popen([PROGRAMS / "outpost-control", "--state", self.state, "serve"], stderr=self.log)
        self.trust = ssl.create_default_context(cafile=self.authority)
        for _ in range(300):
            try:
                return self.get("/health") and None
            except OSError:
                time.sleep(0.1)
        sys.exit("FAIL the control plane does not answer")

    def run(self, *arguments):
        command = [PROGRAMS / "outpost-control", "--state", self.state, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"FAIL {arguments}: {done.stderr}")
        return done.stdout

    def get(self, path, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        call = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(call, timeout=30, context=self.trust) as answer:
            return json.load(answer)

    def stop(self):
        self.server.terminate()
        self.server.wait(30)
        self.log.close()


def described(control):
    """The description, which is for those who have an identity."""
    try:
        control.get("/v1/openapi.json")
        sys.exit("FAIL the description is shown without a token")
    except urllib.error.HTTPError as refused:
        if refused.code != 401:
            sys.exit(f"FAIL the description without a token is answered {refused.code}, not 401")
    return control.get("/v1/openapi.json", control.token)


def for_strangers(description):
    """The same description of what needs an identity, in which nothing is answered but 401."""
    paths = {}
    for path, item in description["paths"].items():
        needing = {method: operation for method, operation in item.items() if operation.get("security") != []}
        for method, operation in needing.items():
            needing[method] = {**operation, "responses": {"401": operation["responses"]["401"]}}
        if needing:
            paths[path] = needing
    return {**description, "paths": paths}


def closed_to_strangers(control, description):
    """Asks for everything once without a token and once with a wrong one; true if nothing was answered."""
    held = True
    for path, item in for_strangers(description)["paths"].items():
        for method in item:
            filled = re.sub(r"{[^}]*}", "a" * 64, path)
            for token in (None, "opc_" + "0" * 64):
                headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
                body = None if method == "get" else b"{}"
                call = urllib.request.Request(control.url + filled, body, headers, method=method.upper())
                try:
                    status = urllib.request.urlopen(call, timeout=30, context=control.trust).status
                except urllib.error.HTTPError as refused:
                    status = refused.code
                if status != 401:
                    print(f"FAIL {method} {path} is answered {status} to a stranger")
                    held = False
    return held


def fuzz(control, name, description, token, checks, *options):
    """Lets schemathesis loose; true if it found nothing."""
    folder = control.folder / name
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(description))
    # The token is in a file and not among the arguments, which everybody on the machine can see.
    config = folder / "schemathesis.toml"
    headers = 'headers = { Authorization = "Bearer ${PEER_TOKEN}" }\n' if token else ""
    config.write_text(headers + "[generation]\nwith-security-parameters = false\n")
    command = [
        pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", config, "--no-color", "run",
        folder / "openapi.json", "--url", control.url, "--checks", ",".join(checks), "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "60", "--seed", "1", "--suppress-health-check", "all", "--tls-verify", control.authority, *options,
    ]
    environment = {"PEER_TOKEN": token or "none", "SCHEMATHESIS_HOOKS": "control_hooks", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True)
    words = done.stdout.strip() or done.stderr.strip()
    print(f"{name}:", words if done.returncode else "\n".join(words.splitlines()[-8:]), flush=True)
    return done.returncode == 0


def generated(control, description):
    """Writes the client and lets it work, in a process of its own."""
    tools = PEERS / "client/bin"
    (control.folder / "openapi.json").write_text(json.dumps(description))
    (control.folder / "client.yaml").write_text("package_name_override: outpost_control_client\n")
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    written = subprocess.run(
        [tools / "openapi-python-client", "generate", "--path", control.folder / "openapi.json", "--meta", "none", "--overwrite",
         "--output-path", control.folder / "outpost_control_client", "--config", control.folder / "client.yaml"],
        env=environment, cwd=control.folder, capture_output=True, text=True,
    )
    if written.returncode:
        print("FAIL no client is generated:", written.stdout, written.stderr)
        return False
    # What is no JSON is left out, with a word about it.
    print("\n".join(line for line in written.stdout.splitlines() if line.startswith("WARNING")) or "no warnings", flush=True)
    worked = subprocess.run(
        [tools / "python", HERE / "control_client.py"],
        env={**environment, "PYTHONPATH": str(control.folder), "OUTPOST_URL": control.url, "OUTPOST_TOKEN": control.token,
             "OUTPOST_AUTHORITY": control.authority},
    )
    return worked.returncode == 0


def main():
    with tempfile.TemporaryDirectory() as folder:
        control = Control(pathlib.Path(folder))
        try:
            description = described(control)
            operations = sum(len(item) for item in description["paths"].values())
            print(f"{operations} operations on {len(description['paths'])} paths", flush=True)
            held = [generated(control, description), closed_to_strangers(control, description)]
            ours, strangers = (["--max-examples", "200"],) * 2 if LONG else (
                ["--max-examples", "8", "--max-time", "20"], ["--max-examples", "3", "--max-time", "8"])
            held.append(fuzz(control, "with-token", description, control.token, CHECKS, *ours))
            stranger_checks = ["not_a_server_error", "status_code_conformance", "response_schema_conformance"]
            held.append(fuzz(control, "without-token", for_strangers(description), None, stranger_checks, *strangers))
            print(f"control: {sum(held)} passed, {len(held) - sum(held)} failed")
        finally:
            control.stop()
        if not all(held):
            print((pathlib.Path(folder) / "serve.log").read_text()[-4000:])
    sys.exit(not all(held))


main()
