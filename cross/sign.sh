#!/usr/bin/env bash
# Says what was built, in a list of checksums that nobody can change unnoticed.
#
#   cross/sign.sh KEY FOLDER      writes FOLDER/SHA256SUMS and FOLDER/SHA256SUMS.sig
#
# KEY is the private half of a release key, `ssh-keygen -t ed25519 -C outpost -f release`; its public half becomes the line of a file
# `outpost.signers` that users have from somewhere else than the download:
#
#   echo "outpost namespaces=\"outpost-release\" $(cut -d' ' -f1,2 release.pub)" >outpost.signers
#
# Whoever has OpenSSH, 8.1 or newer, checks a download with one command:
#
#   ssh-keygen -Y verify -f outpost.signers -I outpost -n outpost-release -s SHA256SUMS.sig <SHA256SUMS &&
#       sha256sum --check --strict --ignore-missing SHA256SUMS

set -euo pipefail

if [ "$#" != 2 ] || [ ! -f "$1" ] || [ ! -d "$2" ]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
key=$(realpath "$1")
cd "$2"

# Beside and then renamed: a list of half of the files is never there.
find . -type f ! -name 'SHA256SUMS*' -printf '%P\0' | LC_ALL=C sort --zero-terminated | xargs --null --no-run-if-empty sha256sum >SHA256SUMS.new
if [ ! -s SHA256SUMS.new ]; then
    rm SHA256SUMS.new
    echo "error: there is nothing in \`$2\` to sign" >&2
    exit 1
fi
rm -f SHA256SUMS.new.sig
ssh-keygen -q -Y sign -f "$key" -n outpost-release SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
mv SHA256SUMS.new.sig SHA256SUMS.sig
echo "$(wc -l <SHA256SUMS) files of \`$2\` are in SHA256SUMS, which is signed"
