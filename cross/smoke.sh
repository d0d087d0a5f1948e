#!/usr/bin/env bash
# Tries the agent that was built for a target, on each processor of `cross/targets.toml` under emulation, and on this one if it fits.
#
#   cross/smoke.sh aarch64-unknown-linux-gnu             what `cross/build.sh` has left in the target directory
#   cross/smoke.sh aarch64-unknown-linux-gnu FILE        another program
#   OUTPOST_WRITE=1 cross/smoke.sh x86_64-unknown-linux-gnu     also takes down what every machine must answer
#
# The real program, real files, its own child processes: a user namespace in which the kernel hands exactly this program to the
# emulator (Linux 6.7). What is computed must be `cross/smoke.expected` to the last digit, on every processor. Installs what is
# missing by package name. Ends with the first thing that does not hold.

set -euo pipefail
cd "$(dirname "$0")/.."
. cross/common.sh

target=${1:-}
need python3=python3
known_target "$target"
program=$(realpath --canonicalize-missing "${2:-$(target_directory)/$target/release/outpost}")
[ -e "$program" ] || fail "there is no \`$program\`; build it: cross/build.sh $target outpost"
need readelf=binutils unshare=util-linux
emulator=$(table "$target" emulator)
linker=$(table "$target" linker.path)
need "$emulator=qemu-user"
# shellcheck disable=SC2046
[ -z "$linker" ] || need "$linker=$(table "$target" linker.packages)"

# Once more, in a namespace of its own: what is registered with the kernel there is gone with it, and holds nowhere else.
if [ -z "${SMOKE_INSIDE:-}" ]; then
    export SMOKE_INSIDE=1
    exec unshare --user --map-root-user --mount "$BASH" "$0" "$target" "$program"
fi

work=$(mktemp -d)
agent=
finish() {
    [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
held=0
holds() { held=$((held + 1)) && printf '   ✓ %s\n' "$1"; }
chapter() { printf '%s\n' "$1"; }
breaks() {
    printf '   ✗ %s\n' "$1" >&2
    exit 1
}

registered=/proc/sys/fs/binfmt_misc
# Hands this program, known by the first 48 bytes that no other program has, to whatever `$work/emulator` says.
register() {
    local magic
    mount -t binfmt_misc binfmt_misc "$registered" 2>/dev/null ||
        fail "this kernel gives a namespace no binary formats of its own (Linux 6.7 does); nothing was tried"
    magic=$(head --bytes 48 "$program" | od -An -v -tx1 | tr -d ' \n' | sed 's/../\\x&/g')
    printf ':outpost:M::%s::%s:' "$magic" "$work/emulator" >"$registered/register"
}
# From now on the program runs on this processor; `here` is the one that it stands on.
on() {
    if [ "$1" = here ]; then echo 0 >"$registered/outpost"; else
        printf '#!/bin/sh\nexec %s -cpu %s %s "$@"\n' "$(command -v "$emulator")" "$1" "${linker:+-L $linker}" >"$work/emulator"
        chmod 755 "$work/emulator"
        echo 1 >"$registered/outpost"
    fi
}
outpost() { "$program" --state "$work/state" "$@"; }
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 1
    done
}

chapter "1. The file: $(stat --format=%s "$program") bytes"
machine=$(readelf --file-header "$program" 2>/dev/null | sed -n 's/^ *Machine: *//p') || true
wanted=$(table "$target" machine)
[ "$machine" = "$wanted" ] || breaks "\`$program\` is for \`${machine:-no processor at all}\`, and $target is for \`$wanted\`"
holds "it is for \`$machine\`"
glibc=$(table "$target" glibc)
libraries=$(readelf --dynamic "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | paste --serial --delimiters=' ')
if [ -z "$glibc" ]; then
    interpreter=$(readelf --program-headers "$program" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
    [ -z "$libraries$interpreter" ] || breaks "it is not static: it needs $libraries $interpreter"
    holds "it is static: it needs no library and no dynamic linker"
else
    newest=$(readelf --version-info "$program" | grep --only-matching 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort --version-sort | tail -n 1)
    [ "$(printf '%s\n%s\n' "$newest" "$glibc" | sort --version-sort | tail -n 1)" = "$glibc" ] || breaks "it asks for glibc $newest, $glibc is promised"
    holds "it needs $libraries, glibc $newest or later"
fi
crates=$(python3 - "$program" <<'PYTHON'
import json, subprocess, sys, zlib

sections = subprocess.run(["readelf", "--wide", "--sections", sys.argv[1]], capture_output=True, text=True, check=True).stdout
rows = [line.split("]", 1)[1].split() for line in sections.splitlines() if " .dep-v0 " in line]
if not rows:
    sys.exit(1)
offset, size = (int(number, 16) for number in rows[0][3:5])
with open(sys.argv[1], "rb") as file:
    file.seek(offset)
    print(len(json.loads(zlib.decompress(file.read(size)))["packages"]))
PYTHON
) || breaks "it does not carry the list of its crates"
holds "it carries the list of its $crates crates"
if ! file_says=$("$program" --version 2>&1); then
    holds "another machine says: ${file_says##*: }"
fi

: >"$work/emulator"
register
on here
processors=()
if "$program" --version >/dev/null 2>&1; then processors+=("here"); fi
mapfile -t -O "${#processors[@]}" processors < <(table "$target" processors)

number=1
for processor in "${processors[@]}"; do
    number=$((number + 1))
    name=${processor%% *} kernels=${processor#* }
    chapter "$number. $([ "$name" = here ] && echo "This processor" || echo "$emulator -cpu $name")"
    on "$name"
    found=$(outpost probe --quick | sed -n 's/^kernels *//p')
    if [ "$name" = here ]; then holds "probe: $found"; else
        case $found in "cpu ($kernels kernels)"*) holds "probe: $found" ;; *) breaks "probe names other kernels than $kernels: $found" ;; esac
    fi
    began=$SECONDS
    cross/computed.py "$program" >"$work/computed" || breaks "it does not compute what it must"
    if [ "${OUTPOST_WRITE:-}" = 1 ] && [ "$number" = 2 ]; then cp "$work/computed" cross/smoke.expected; fi
    diff cross/smoke.expected "$work/computed" >&2 || breaks "it computes something else than cross/smoke.expected"
    holds "golden logits, encoded files and answers are those of every other machine: $(wc -l <"$work/computed") lines in $((SECONDS - began)) s"
done

# On one that is emulated, and on the machine itself: limits that the C library asks the kernel for are the emulator's there.
serving=()
for processor in "${processors[@]}"; do
    serving+=("${processor%% *}")
    [ "$processor" = here ] || break
done
# It answers before its model is there; then it says so.
asked() { outpost chat "How does a device enrol?" >"$work/answer"; }
for name in "${serving[@]}"; do
    number=$((number + 1))
    chapter "$number. The agent serves on $([ "$name" = here ] && echo "this processor" || echo "$emulator -cpu $name")"
    on "$name"
    "$program" --state "$work/state" run --model tests/fixtures/outpost-demo-f16.gguf >"$work/log" 2>&1 &
    agent=$!
    # Asked sooner, a question is answered without an agent, from the state that it needs.
    within 300 outpost status || breaks "it does not start: $(tail -n 3 "$work/log")"
    within 300 asked || breaks "it does not answer: $(tail -n 3 "$work/log")"
    answer=$(<"$work/answer")
    grep --quiet "one-time code" <<<"$answer" || breaks "it answers: $answer"
    holds "How does a device enrol? $answer"
    kill -TERM "$agent" 2>/dev/null || breaks "it ended by itself: $(tail -n 5 "$work/log")"
    wait "$agent" || breaks "it does not end in good order"
    agent=
    verified=$(outpost audit verify 2>&1) || breaks "its record does not verify: $verified"
    holds "audit verify: $(head -n 1 <<<"$verified")"
done
printf '%s: %s checks held\n' "$target" "$held"
