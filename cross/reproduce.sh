#!/usr/bin/env bash
# Builds a target's programs twice, in two folders with two target directories and two names of cargo's home, and compares them.
#
#   cross/reproduce.sh                                       the agent for x86_64-unknown-linux-gnu
#   cross/reproduce.sh aarch64-unknown-linux-gnu outpost
#
# Works on copies of the last commit in a new folder of TMPDIR and removes them afterwards; needs about four gigabytes there. FIRST
# names a program that was built before from the same commit with `cross/build.sh`: then only the second one is built.

set -euo pipefail
cd "$(dirname "$0")/.."
. cross/common.sh

triple=${1:-x86_64-unknown-linux-gnu}
program=${2:-outpost}
known_target "$triple"
[ -z "$(git status --porcelain)" ] || say "note: what is not committed is not built"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Builds the last commit in a folder of this name, and prints where the program lies.
build_in() {
    local folder=$work/$1
    mkdir -p "$folder"
    git clone --quiet --no-hardlinks . "$folder/checkout"
    # The same packages under another path: only the path must not matter.
    mkdir "$folder/cargo"
    for part in registry git; do
        [ ! -e "${CARGO_HOME:-$HOME/.cargo}/$part" ] || ln -s "$(realpath "${CARGO_HOME:-$HOME/.cargo}/$part")" "$folder/cargo/$part"
    done
    (cd "$folder/checkout" && CARGO_HOME=$folder/cargo CARGO_TARGET_DIR=$folder/built cross/build.sh "$triple" "$program" >&2)
    mv "$folder/built/$triple/release/$program" "$work/$1.program"
    # One of them at a time on the disk.
    rm -rf "$folder"
}

if [ -n "${FIRST:-}" ]; then cp "$FIRST" "$work/one.program"; else build_in one; fi
build_in a-folder-with-a-longer-name
sha256sum "$work/one.program" "$work/a-folder-with-a-longer-name.program" | sed "s#$work/##"
if ! cmp "$work/one.program" "$work/a-folder-with-a-longer-name.program"; then
    fail "two builds of \`$program\` for $triple differ; the first difference is above"
fi
say "equal: $program for $triple, built twice"
