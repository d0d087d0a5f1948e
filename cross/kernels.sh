#!/usr/bin/env bash
# Tests another processor's vector kernels against their scalar twin, bit for bit, under emulation.
#
#   cross/kernels.sh                                   the engine's kernels, graph and batching on 64-bit Arm
#   cross/kernels.sh aarch64-unknown-linux-gnu cpu::   only the tests whose names contain this
#
# Installs the target, its C compiler and the emulator by name. Honours CARGO_TARGET_DIR. Emulation is slow: all of
# it takes about twenty minutes, `cpu::` alone a few seconds once built.

set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-aarch64-unknown-linux-gnu}
tests=("${@:2}")
# What computes with vectors, and what must not depend on which.
[ "${#tests[@]}" -gt 0 ] || tests=(cpu:: ops:: blocks:: model::tests:: batch::tests::)

case $target in
aarch64-unknown-linux-gnu)
    compiler=aarch64-linux-gnu-gcc
    emulator=qemu-aarch64
    packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
    # Every instruction that the emulator knows, dot products and matrix products of bytes among them.
    runner="$emulator -cpu max -L /usr/aarch64-linux-gnu"
    ;;
*)
    echo "error: no kernels are tested for \`$target\`; there is: aarch64-unknown-linux-gnu" >&2
    exit 2
    ;;
esac

if ! command -v "$compiler" >/dev/null || ! command -v "$emulator" >/dev/null; then
    command -v apt-get >/dev/null || { echo "error: install ${packages[*]} with this system's package manager" >&2; exit 1; }
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "${packages[@]}"
fi
rustup target add "$target"

variable=${target^^}
variable=CARGO_TARGET_${variable//-/_}
export "${variable}_LINKER=$compiler" "${variable}_RUNNER=$runner"
exec cargo test --package outpost-engine --lib --target "$target" -- "${tests[@]}"
