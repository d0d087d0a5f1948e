"""Models in an S3-compatible store: what one server releases, another one serves, and what was changed in the store nobody gets.

    blobs.py PROGRAMS MODEL.gguf

The store is moto's server (PyPI), on loopback. The second server has the keys and the database of the first, and no blobs of its own.
"""

import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import boto3

PATIENCE_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, what):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"error: {what} does not listen")


def run(*command, fails=None):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if fails is not None:
        assert done.returncode != 0 and fails in done.stderr, f"{command}: {done.returncode} {done.stderr}"
    elif done.returncode != 0:
        sys.exit(f"error: {command}: {done.stderr}")
    return done.stdout


def main(programs, model):
    work = pathlib.Path(tempfile.mkdtemp())
    running = []
    try:
        story(programs, model, work, running)
    finally:
        for process in running:
            process.kill()
            process.wait()
        shutil.rmtree(work)


def story(programs, model, work, running):
    control, agent = programs / "outpost-control", programs / "outpost"
    store_port, http, mqtt = free_port(), free_port(), free_port()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
    moto = pathlib.Path(sys.executable).parent / "moto_server"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running.append(subprocess.Popen([moto, "-H", "127.0.0.1", "-p", str(store_port)], **quiet))
    wait_for(store_port, "moto")
    endpoint = f"http://127.0.0.1:{store_port}"
    bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="outpost")

    first, second = work / "first", work / "second"
    first.mkdir()
    (first / "outpost-control.toml").write_text(
        f'http_listen = "127.0.0.1:{http}"\nmqtt_listen = "127.0.0.1:{mqtt}"\n'
        f'[blobs]\nbucket = "outpost"\nendpoint = "{endpoint}"\nregion = "us-east-1"\nprefix = "fleet/"\n'
    )
    run(control, "--state", first, "init")
    run(control, "--state", first, "keys", "create", "--keys", work / "keys")
    facts = work / "model.json"
    facts.write_text(run(agent, "model", "inspect", model, "--json"))
    released = json.loads(facts.read_text())["facts"]["model"]["model"]
    run(control, "--state", first, "catalogue", "release", "--keys", work / "keys", "--model", facts, "--default-policy")
    names = {item.key for item in bucket.objects.all()}
    assert names and all(name.startswith("fleet/") for name in names), names
    sizes = {item.size for item in bucket.objects.all()}
    assert model.stat().st_size in sizes, "the model lies in the store"

    serving = subprocess.Popen([control, "--state", first, "serve"], **quiet)
    running.append(serving)
    wait_for(http, "the control plane")
    code = json.loads(run(control, "--state", first, "--json", "device", "code", "till-7"))["code"]
    authority = first / "tls/ca.pem"
    device = work / "device"
    run(agent, "--state", device, "enroll", "--server", f"https://localhost:{http}", "--code", code, "--ca", authority)
    run(control, "--state", first, "device", "assign", "till-7", "--model", released)
    serving.terminate()
    assert serving.wait(PATIENCE_S) == 0

    # One more server: everything but the blobs.
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("blobs", "*.lock"))
    stick = work / "stick"
    run(control, "--state", second, "bundle", "export", stick)
    chunks = list((stick / "chunks").iterdir())
    whole = sum(chunk.stat().st_size for chunk in chunks)
    assert whole >= model.stat().st_size, f"{whole} bytes of chunks"
    print(f"   {len(names)} objects; {len(chunks)} chunks, {whole} bytes, came out of the store by a server that had none")

    # One byte of the model is changed in the store: whoever asks gets nothing, and the answer names it.
    digest = hashlib.sha256(model.read_bytes()).digest()
    stored = next(item for item in bucket.objects.all() if hashlib.sha256(item.get()["Body"].read()).digest() == digest)
    bytes_ = bytearray(stored.get()["Body"].read())
    bytes_[len(bytes_) // 2] ^= 1
    stored.put(Body=bytes(bytes_))
    run(control, "--state", second, "bundle", "export", work / "other", fails="is not what it was")
    # Who has it serves it.
    run(control, "--state", first, "bundle", "export", work / "third")

    # The store is gone.
    running[0].kill()
    running[0].wait()
    run(control, "--state", second, "bundle", "export", work / "fourth", fails="the blobs' store failed")
    print("   a changed byte and a store that is gone are named; the server that has the blobs serves on")


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
