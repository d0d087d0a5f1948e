"""A crowd of clients that come, ask, and often leave in the middle: does memory stay, is nobody stuck, does everybody get a share?

    load.py [--seconds 20] [--clients 64] [--leave 0.3] [--seed 1]

Reads OUTPOST_URL, OUTPOST_TENANTS (keys, with commas between), OUTPOST_MODEL and OUTPOST_PID from the environment. The tenants have
very unequal numbers of clients, so a server that answers in order of arrival fails. A refusal with Retry-After is obeyed; one
without it is a failure, like every status but 200, 429 and 503. Exit code 1 if anything did not hold.
"""

import argparse
import asyncio
import collections
import dataclasses
import json
import os
import pathlib
import random
import re
import statistics
import sys
import time
import urllib.parse
import urllib.request

URL = urllib.parse.urlsplit(os.environ["OUTPOST_URL"])
TENANTS = os.environ["OUTPOST_TENANTS"].split(",")
MODEL = os.environ["OUTPOST_MODEL"]
PID = os.environ["OUTPOST_PID"]
# Clients of the first tenant, the second and so on, out of 16. In order of arrival Jain's index would be 0.76.
SHARES = [7, 5, 3, 1]
LEAST_FAIRNESS = 0.9
MOST_GROWTH = 0.05
SAMPLE_S = 0.25
# Before memory is looked at: buffers and caches fill. A quarter of a long run.
WARM_UP_S = 10
QUESTIONS = [
    "How does a device enrol?", "Does it work offline?", "What is in the audit log?", "Who may read the record?",
    "How is a model chosen?", "What happens when the network is gone?", "What is a permit?", "How large is the model?",
]
COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclasses.dataclass
class Crowd:
    """What happened so far."""

    ends: float
    leave: float
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    tokens: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    left: int = 0
    problems: collections.Counter = dataclasses.field(default_factory=collections.Counter)


def request(key, chance):
    messages = [{"role": "user", "content": chance.choice(QUESTIONS)}]
    body = json.dumps({
        "model": MODEL, "messages": messages, "max_tokens": chance.randint(16, 96), "temperature": 1,
        "seed": chance.randint(0, 999), "stream": True, "stream_options": {"include_usage": True},
    }).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {URL.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def ask(crowd, tenant, chance):
    """One request. Answers how long to wait before the next."""
    leaves_after = chance.choice([0, 1, 4, 16]) if chance.random() < crowd.leave else None
    reader, writer = await asyncio.open_connection(URL.hostname, URL.port)
    try:
        writer.write(request(TENANTS[tenant], chance))
        if leaves_after == 0:
            # Gone before the first word, perhaps while waiting in the queue.
            await asyncio.sleep(chance.random() * 0.2)
            crowd.left += 1
            return 0
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        crowd.statuses[status] += 1
        if status != 200:
            return refusal(crowd, status, head)
        pieces, tail = 0, b""
        while data := await asyncio.wait_for(reader.read(65536), 60):
            pieces += data.count(b"data: {")
            tail = (tail + data)[-4096:]
            if leaves_after is not None and pieces > leaves_after:
                crowd.left += 1
                crowd.tokens[tenant] += pieces
                return 0
        counted = COMPLETION_TOKENS.findall(tail)
        if b"data: [DONE]" in tail and counted:
            crowd.tokens[tenant] += int(counted[-1])
        else:
            crowd.problems["a stream broke off before its end"] += 1
        return 0
    except asyncio.TimeoutError:
        crowd.problems["no answer within a minute or two"] += 1
        return 0
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        crowd.problems[f"the connection broke: {type(error).__name__}"] += 1
        return 0.1
    finally:
        if chance.random() < 0.5:
            writer.transport.abort()  # as a client that dies
        else:
            writer.close()


def refusal(crowd, status, head):
    after = re.search(r"\r\nretry-after: *(\d+)\r\n", head)
    if status not in (429, 503):
        crowd.problems[f"status {status}"] += 1
    elif not after:
        crowd.problems[f"{status} without Retry-After"] += 1
    return int(after[1]) if after else 1


async def client(crowd, tenant, chance):
    while (left := crowd.ends - time.monotonic()) > 0:
        wait = await ask(crowd, tenant, chance)
        await asyncio.sleep(min(wait, max(left, 0)))


def resident_kib():
    """Of the agent and the processes that it started."""
    children = pathlib.Path(f"/proc/{PID}/task/{PID}/children").read_text().split()
    found = 0
    for pid in [PID, *children]:
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            continue  # a child that has just ended
        found += int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
    return found


async def watch(crowd, samples):
    while time.monotonic() < crowd.ends:
        samples.append(resident_kib())
        await asyncio.sleep(SAMPLE_S)


def get(path):
    call = urllib.request.Request(URL._replace(path=path).geturl(), headers={"Authorization": f"Bearer {TENANTS[0]}"})
    with urllib.request.urlopen(call, timeout=30) as answer:
        return json.load(answer)


async def calm(crowd, chance):
    """After the crowd: nothing runs any more, and whoever asks is answered."""
    for _ in range(100):
        status = get("/outpost/status")
        running = status["generating"] + status.get("waiting", 0)
        if running == 0:
            break
        await asyncio.sleep(0.1)
    else:
        crowd.problems[f"{running} answers still run or wait ten seconds after everybody left"] += 1
    crowd.leave = 0
    for tenant in range(len(TENANTS)):
        before = crowd.tokens[tenant]
        for _ in range(3):
            wait = await ask(crowd, tenant, chance)
            if crowd.tokens[tenant] > before:
                break
            await asyncio.sleep(min(wait, 60))
        else:
            crowd.problems["a tenant is not answered after the crowd has gone"] += 1


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values)) if any(values) else 0.0


async def run(arguments):
    chance = random.Random(arguments.seed)
    crowd = Crowd(ends=time.monotonic() + arguments.seconds, leave=arguments.leave)
    tenants = [tenant for tenant, share in enumerate(SHARES) for _ in range(share)]
    clients = [client(crowd, tenants[number % len(tenants)], random.Random(chance.random())) for number in range(arguments.clients)]
    samples = []
    await asyncio.gather(watch(crowd, samples), *clients)
    served = [crowd.tokens[tenant] for tenant in range(len(SHARES))]
    during = dict(crowd.statuses)
    await calm(crowd, chance)

    settled = samples[max(len(samples) // 4, round(WARM_UP_S / SAMPLE_S)) :]
    tenth = max(1, len(settled) // 10)
    begin, end = statistics.median(settled[:tenth]), statistics.median(settled[-tenth:])
    growth, fairness = end / begin - 1, jain(served)
    if growth > MOST_GROWTH:
        crowd.problems[f"memory grew by {growth:.1%}"] += 1
    if fairness < LEAST_FAIRNESS:
        crowd.problems[f"the shares are unfair: Jain's index {fairness:.3f}"] += 1

    print(f"{arguments.clients} clients of {len(SHARES)} tenants for {arguments.seconds} s, {crowd.left} left in the middle")
    print(f"  answered {', '.join(f'{count} × {status}' for status, count in sorted(during.items()))}")
    print(f"  tokens per tenant {served}, {sum(served) / arguments.seconds:.0f} per second, Jain's index {fairness:.3f}")
    print(f"  resident {begin / 1024:.1f} MiB when warm, {end / 1024:.1f} MiB at the end ({growth:+.1%}), "
          f"least {min(settled) / 1024:.1f}, most {max(settled) / 1024:.1f}")
    for problem, count in crowd.problems.items():
        print(f"FAIL {problem} ({count} ×)")
    print(f"load: {'0 passed, 1 failed' if crowd.problems else '1 passed, 0 failed'}")
    return bool(crowd.problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--leave", type=float, default=0.3, help="the share of requests whose client leaves in the middle")
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(asyncio.run(run(parser.parse_args())))


main()
