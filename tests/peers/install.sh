# What the peers need, by pinned version, in a cache outside the checkout. Sourced by `run`.

OUTPOST_PEERS_CACHE=${OUTPOST_PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outpost-peers}
export OUTPOST_PEERS_CACHE
python=$OUTPOST_PEERS_CACHE/python/bin/python
mkdir -p "$OUTPOST_PEERS_CACHE"

# An environment of Python is as it should be when it was made from the same list by the same Python.
install_python() {
    local name=$1 list=$2 folder=$OUTPOST_PEERS_CACHE/$1 wanted
    wanted=$(python3 --version; sha256sum <"$list")
    if [ "$(cat "$folder/made-from" 2>/dev/null)" = "$wanted" ]; then return; fi
    # What is never imported need not be compiled.
    rm -rf "$folder" &&
        python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --no-compile --disable-pip-version-check --requirement "$list" &&
        printf '%s\n' "$wanted" >"$folder/made-from" &&
        echo "installed: $name"
}

# Node looks for packages beside the file that it runs, so the files are copied there.
install_js() {
    local folder=$OUTPOST_PEERS_CACHE/js wanted
    command -v npm >/dev/null || install_debian nodejs npm || return
    if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
        echo "error: Node $(node --version) is too old for these clients; install 20 or newer" >&2
        return 1
    fi
    wanted=$(node --version; sha256sum <"$here/js/package-lock.json")
    if [ "$(cat "$folder/made-from" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$folder" &&
            mkdir "$folder" &&
            cp "$here"/js/package*.json "$folder" &&
            npm ci --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts &&
            printf '%s\n' "$wanted" >"$folder/made-from" &&
            echo "installed: js" || return
    fi
    cp "$here"/js/*.mjs "$here"/browser/*.mjs "$folder"
}

install_browser() {
    command -v chromium >/dev/null || install_debian chromium
}

install_debian() {
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update --quiet=2 &&
        DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "$@" >/dev/null
}
