# What trying foreign programs needs: an emulator that the kernel hands them to, checks of the file, words. Sourced after `common.sh`.
# shellcheck shell=bash

# Installs what trying a target's programs needs.
need_emulator() {
    local linker
    need readelf=binutils unshare=util-linux
    emulator=$(table "$1" emulator)
    linker=$(table "$1" linker.path)
    need "$emulator=qemu-user"
    # shellcheck disable=SC2046
    [ -z "$linker" ] || need "$linker=$(table "$1" linker.packages)"
    emulator_arguments=${linker:+-L $linker}
}

# Runs this script once more with these arguments, in a namespace of its own: what is registered with the kernel there is gone with it,
# and holds nowhere else.
in_namespace() {
    [ -z "${SMOKE_INSIDE:-}" ] || return 0
    export SMOKE_INSIDE=1
    exec unshare --user --map-root-user --mount "$BASH" "$0" "$@"
}

held=0
holds() { held=$((held + 1)) && printf '   ✓ %s\n' "$1"; }
chapter() { printf '%s\n' "$1"; }
breaks() {
    printf '   ✗ %s\n' "$1" >&2
    exit 1
}
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 1
    done
}

registered=/proc/sys/fs/binfmt_misc
# Hands each of these programs, known by the first 48 bytes that no other program has, to whatever `$work/emulator` says.
register() {
    local program magic number=0
    mount -t binfmt_misc binfmt_misc "$registered" 2>/dev/null ||
        fail "this kernel gives a namespace no binary formats of its own (Linux 6.7 does); nothing was tried"
    : >"$work/emulator"
    for program in "$@"; do
        number=$((number + 1))
        magic=$(head --bytes 48 "$program" | od -An -v -tx1 | tr -d ' \n' | sed 's/../\\x&/g')
        printf ':outpost%s:M::%s::%s:' "$number" "$magic" "$work/emulator" >"$registered/register"
    done
}
# From now on the programs run on this processor; `here` is the one that they stand on.
on() {
    local format state=1
    if [ "$1" = here ]; then state=0; else
        printf '#!/bin/sh\nexec %s -cpu %s %s "$@"\n' "$(command -v "$emulator")" "$1" "$emulator_arguments" >"$work/emulator"
        chmod 755 "$work/emulator"
    fi
    for format in "$registered"/outpost*; do echo "$state" >"$format"; done
}
# The processors of a target that `on` takes, each with the kernels that must be chosen there; `here` first, if the program runs here.
processors() {
    on here
    if "$2" --version >/dev/null 2>&1; then echo here; fi
    table "$1" processors
}

# Holds a file to what the table says of a target: for which processor, which C library, hardened, with the list of its crates.
try_file() {
    local target=$1 program=$2 machine wanted glibc libraries interpreter newest hardened crates
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
    hardened=$(readelf --wide --file-header --program-headers --dynamic "$program")
    grep --quiet 'Type:.*DYN' <<<"$hardened" || breaks "it is not position-independent: it lies at the same address each time"
    for wanted in GNU_RELRO 'FLAGS.*NOW'; do grep --quiet "$wanted" <<<"$hardened" || breaks "what the linker fills in stays writable"; done
    grep --quiet 'GNU_STACK.* RW  *0' <<<"$hardened" || breaks "its stack can be executed"
    holds "it is position-independent, read-only where the linker filled it in, and its stack is no code"
    crates=$(PYTHONPATH=cross/supply python3 -c 'import inside, sys; print(len(inside.listed(open(sys.argv[1], "rb").read())))' "$program" 2>/dev/null) ||
        breaks "it does not carry the list of its crates"
    holds "it carries the list of its $crates crates"
}
