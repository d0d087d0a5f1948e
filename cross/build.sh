#!/usr/bin/env bash
# Builds the release programs of a target with the versions of `cross/targets.toml`, meant to be the same bytes in whatever folder it is
# done: `cross/reproduce.sh` checks that.
#
#   cross/build.sh aarch64-unknown-linux-gnu            the programs that the table lists
#   cross/build.sh aarch64-unknown-linux-gnu outpost    one of them
#   cross/build.sh all
#
# Installs what is missing by package name; its own tools lie in the user's cache. Honours CARGO_TARGET_DIR and CARGO_HOME, and
# nothing else that would change the result: flags from elsewhere are left out. The programs lie in `TARGET/release` of the target
# directory with `SHA256SUMS` beside them. Each carries the list of its crates (`cargo auditable`).

set -euo pipefail
cd "$(dirname "$0")/.."
. cross/common.sh

chosen=${1:-}
only=${2:-}
need python3=python3 cc=build-essential
if [ "$chosen" = all ]; then mapfile -t triples < <(table triples); else
    known_target "$chosen"
    triples=("$chosen")
fi

# Installs the compilers and the tools of the table into the user's cache, a folder for each set of versions.
install_tools() {
    local zigbuild ziglang auditable
    zigbuild=$(table tool cargo-zigbuild) ziglang=$(table tool ziglang) auditable=$(table tool cargo-auditable)
    tools=${XDG_CACHE_HOME:-$HOME/.cache}/outpost/cross/$zigbuild-$ziglang-$auditable
    if [ ! -e "$tools/complete" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || need /nowhere=python3-venv
        python3 -m venv --clear "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check "cargo-zigbuild==$zigbuild" "ziglang==$ziglang"
        cargo install --quiet --locked --root "$tools" --version "$auditable" cargo-auditable
        touch "$tools/complete"
    fi
    PATH=$tools/bin:$PATH
}

# Everything that would tell two builds of the same source apart.
make_reproducible() {
    local checkout cargo_home target sysroot commit
    checkout=$(pwd -P) target=$(target_directory)
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    sysroot=$(rustc --print sysroot)
    commit=$(rustc --version --verbose | sed -n 's/^commit-hash: //p')
    # The last that matches counts, and the target directory often lies in the checkout.
    local maps=("$checkout=/outpost" "$cargo_home=/cargo" "$sysroot/lib/rustlib/src/rust=/rustc/$commit" "$target=/target")
    local rust=() c=() map
    for map in "${maps[@]}"; do
        rust+=("--remap-path-prefix=$map")
        c+=("-ffile-prefix-map=$map")
    done
    # What lies on this machine is not what others have.
    unset RUSTFLAGS CFLAGS CXXFLAGS TARGET_CFLAGS TARGET_CXXFLAGS CC CXX AR RUSTC_WRAPPER
    unset LIBSQLITE3_SYS_USE_PKG_CONFIG ZSTD_SYS_USE_PKG_CONFIG
    # Stronger than every other place that flags come from.
    CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${rust[@]}")
    export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
    c_flags=${c[*]}
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1)
    export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0
    export AWS_LC_SYS_USE_SYSTEM=0
}

# The package that a program comes from.
package_of() { case $1 in outpost) echo outpost-agent ;; *) echo "$1" ;; esac; }

build() {
    local triple=$1 glibc program under=${1//-/_} folder
    glibc=$(table "$triple" glibc)
    # zig passes over what rustc asks for here, `-static-pie`, and takes this: a static program, too, lies at another address each time.
    local separator=$'\x1f'
    local -x CARGO_ENCODED_RUSTFLAGS=$CARGO_ENCODED_RUSTFLAGS
    [ -n "$glibc" ] || CARGO_ENCODED_RUSTFLAGS+="${separator}-Clink-arg=-pie"
    folder=$(target_directory)/$triple/release
    rustup target list --installed | grep --quiet --line-regexp "$triple" || rustup target add "$triple"
    export "CFLAGS_$under=$c_flags" "CXXFLAGS_$under=$c_flags"
    for program in $(table "$triple" programs); do
        [ -z "$only" ] || [ "$only" = "$program" ] || continue
        # One package at a time: together they would get each other's features.
        cargo auditable zigbuild --locked --release --target "$triple${glibc:+.$glibc}" \
            --package "$(package_of "$program")" --bin "$program"
        built+=("$folder/$program")
    done
    (cd "$folder" && for program in outpost outpost-control; do [ ! -e "$program" ] || sha256sum "$program"; done >SHA256SUMS)
}

install_tools
make_reproducible
built=()
for triple in "${triples[@]}"; do build "$triple"; done
[ "${#built[@]}" -gt 0 ] || fail "\`$chosen\` has no program \`$only\`"
say "$(rustc --version), zig $(table tool ziglang)"
for program in "${built[@]}"; do
    printf '%s %s bytes, SHA-256 %s\n' "$program" "$(stat --format=%s "$program")" "$(sha256sum "$program" | cut -d' ' -f1)"
done
