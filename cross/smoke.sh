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
. cross/emulated.sh

target=${1:-}
need python3=python3
known_target "$target"
program=$(realpath --canonicalize-missing "${2:-$(target_directory)/$target/release/outpost}")
[ -e "$program" ] || fail "there is no \`$program\`; build it: cross/build.sh $target outpost"
need_emulator "$target"
in_namespace "$target" "$program"

work=$(mktemp -d)
agent=
finish() {
    [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
outpost() { "$program" --state "$work/state" "$@"; }

chapter "1. The file: $(stat --format=%s "$program") bytes"
try_file "$target" "$program"
if ! file_says=$("$program" --version 2>&1); then
    holds "another machine says: ${file_says##*: }"
fi

register "$program"
mapfile -t processors < <(processors "$target" "$program")

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
