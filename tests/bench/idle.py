#!/usr/bin/env python3
"""What an agent without a model takes of a box: how soon it answers, and what it holds while nobody asks.

usage: idle.py OUTPOST [OUTPOST …] [--starts 11] [--idle-seconds 10] [--under EMULATOR…]

Each program is started on a new state directory and then, again and again, on the same one. `ready` is the time from just before
the program is started to the notice that a supervisor gets, `answers` to the first whole answer over the local socket, which is
asked for without a pause. Then it is left alone, and counted. Exit code 1 if a bar is missed. Needs nothing beside Python.

The program's file leaves the page cache before it is measured, as if the box had been started: of a file that was just written, the
kernel maps more around each page that is used, a tenth of all that is resident here.
"""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

READY_MS, RESIDENT_MIB = 300, 40
PATIENCE_S = 60


def ask(place):
    """One whole answer of the local API; None while nobody listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(str(place))
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
            return None
    # Without a model it may say that it cannot serve: that is an answer.
    return answer if answer.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in answer else None


class Agent:
    """A running agent, and how soon it was there."""

    def __init__(self, command, folder):
        state, notices = folder / "state", folder / "notices"
        notices.unlink(missing_ok=True)
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(str(notices))
        heard.settimeout(0.2)
        environment = {**os.environ, "NOTIFY_SOCKET": str(notices), "OUTPOST_LOG": "error"}
        environment.pop("WATCHDOG_USEC", None)
        answered = []

        def keep_asking():
            while time.monotonic() - began < PATIENCE_S and self.process.poll() is None:
                if ask(state / "outpost.sock"):
                    answered.append(time.monotonic())
                    return
                time.sleep(0.001)

        began = time.monotonic()
        self.process = subprocess.Popen([*command, "run", "--state", str(state), "--listen", "127.0.0.1:0"],
                                        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        asking = threading.Thread(target=keep_asking)
        asking.start()
        ready = None
        while ready is None:
            try:
                if b"READY=1" in heard.recv(4096).split(b"\n"):
                    ready = time.monotonic()
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                    self.process.kill()
                    sys.exit(f"error: `{command[-1]}` does not get ready")
        asking.join()
        heard.close()
        if not answered:
            sys.exit(f"error: `{command[-1]}` says that it is ready and does not answer")
        self.ready_ms, self.answers_ms = (1000 * (moment - began) for moment in (ready, answered[0]))

    def held(self):
        """What the process holds now, by the kernel's own words."""
        place = pathlib.Path("/proc") / str(self.process.pid)
        said = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        kib = {name: int(said[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile")}
        pss = next(int(line.split()[1]) for line in (place / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        return {**kib, "Pss": pss, "threads": int(said["Threads"]), "files": len(list((place / "fd").iterdir()))}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(PATIENCE_S) != 0:
            sys.exit("error: it does not end well")


def forget(program):
    """Has the kernel read the file anew; it keeps what is in use."""
    with open(program, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(program, under, starts, idle_s):
    """The row of one program."""
    forget(program)
    command = [*under, str(program)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        first = Agent(command, folder)
        first.stop()
        ready, answers = [], []
        for number in range(starts):
            agent = Agent(command, folder)
            ready.append(agent.ready_ms)
            answers.append(agent.answers_ms)
            if number + 1 < starts:
                agent.stop()
        time.sleep(idle_s)
        held = agent.held()
        agent.stop()
    return {"size": program.stat().st_size / 2**20, "first": first.answers_ms, "ready": statistics.median(ready),
            "answers": statistics.median(answers), "slowest": max(answers), **held}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("programs", nargs="+", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--starts", type=int, default=11)
    parser.add_argument("--idle-seconds", type=float, default=10)
    parser.add_argument("--under", nargs="*", default=[])
    options = parser.parse_args()
    missed = []
    print("| program | size MiB | first start ms | ready ms | answers ms (slowest) | resident MiB | of it own | of it files | threads | open files |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for program in options.programs:
        row = measure(program, options.under, options.starts, options.idle_seconds)
        mib = {name: row[name] / 1024 for name in ("VmRSS", "RssAnon", "RssFile")}
        print(f"| `{program}` | {row['size']:.1f} | {row['first']:.0f} | {row['ready']:.0f} | {row['answers']:.0f} ({row['slowest']:.0f}) | "
              f"{mib['VmRSS']:.1f} | {mib['RssAnon']:.1f} | {mib['RssFile']:.1f} | {row['threads']} | {row['files']} |", flush=True)
        missed += [f"{program}: {mib['VmRSS']:.1f} MiB, more than {RESIDENT_MIB}"] if mib["VmRSS"] > RESIDENT_MIB else []
        missed += [f"{program}: {row['answers']:.0f} ms, more than {READY_MS}"] if row["answers"] > READY_MS else []
    for bar in missed:
        print(f"error: {bar}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
