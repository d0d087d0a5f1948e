# What the scripts of this folder share: the table of targets, packages by name, and how they speak. Sourced, from the repository's root.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

# Installs Debian packages that are missing; each argument is `PROGRAM-OR-PATH=PACKAGE`.
need() {
    local missing=() want
    for want in "$@"; do
        command -v "${want%%=*}" >/dev/null || [ -e "${want%%=*}" ] || missing+=("${want#*=}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install them with this system's package manager"
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update --quiet=2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >&2
}

# Answers from `cross/targets.toml`, one line each: `table triples`, `table tool NAME`, `table TRIPLE FIELD`. Nothing for what is not there.
table() {
    python3 - "$@" <<'PYTHON'
import sys
try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    from pip._vendor import tomli as tomllib

with open("cross/targets.toml", "rb") as file:
    table = tomllib.load(file)
targets = {target["triple"]: target for target in table["target"]}
if sys.argv[1] == "triples":
    found = list(targets)
elif sys.argv[1] == "tool":
    found = table["tools"][sys.argv[2]]
else:
    found = targets[sys.argv[1]]
    for key in sys.argv[2].split("."):
        found = found.get(key, {}) if isinstance(found, dict) else found
for line in found if isinstance(found, list) else [found]:
    if isinstance(line, dict):
        line = " ".join(str(value) for value in line.values())
    if line != "":
        print(line)
PYTHON
}

# Ends with a message that names every target, unless this is one.
known_target() {
    local triples triple
    triples=$(table triples)
    for triple in $triples; do [ "$triple" != "${1:-}" ] || return 0; done
    say "error: no target \`${1:-}\`; there are: ${triples//$'\n'/ }"
    exit 2
}

# Where cargo puts what it builds, as an absolute path.
target_directory() {
    local directory=${CARGO_TARGET_DIR:-target}
    case $directory in /*) printf '%s' "$directory" ;; *) printf '%s' "$PWD/$directory" ;; esac
}
