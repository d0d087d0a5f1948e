#!/usr/bin/env bash
# Tries the control plane that was built for a target with the agent that was: a fleet of one, on this processor if they fit, and on the
# first of the target's processors under emulation.
#
#   cross/fleet.sh aarch64-unknown-linux-gnu                    what `cross/build.sh` has left in the target directory
#   cross/fleet.sh x86_64-unknown-linux-musl FOLDER             other programs, `outpost` and `outpost-control`
#   cross/fleet.sh x86_64-unknown-linux-musl FOLDER NEWER       and this later version of the agent, to which the fleet moves
#
# A fleet is made, its catalogue signed, both programs serve; the device enrols, gets its model over MQTT, answers, and its record is
# mirrored and verified. With a later version, a rollout brings the device to it, and what is damaged is refused. Real programs and TLS,
# on loopback alone. Installs what is missing by package name. Ends with the first
# thing that does not hold.

set -euo pipefail
cd "$(dirname "$0")/.."
. cross/common.sh
. cross/emulated.sh

target=${1:-}
need python3=python3
known_target "$target"
folder=$(realpath --canonicalize-missing "${2:-$(target_directory)/$target/release}")
agent=$folder/outpost control=$folder/outpost-control newer=${3:+$(realpath "$3")}
for program in "$agent" "$control" $newer; do
    [ -e "$program" ] || fail "there is no \`$program\`; build it: cross/build.sh $target"
done
need_emulator "$target"
in_namespace "$target" "$folder" $newer

work=$(mktemp -d)
running=()
finish() {
    [ "${#running[@]}" = 0 ] || kill "${running[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
outpost() { "$agent" --state "$state/device" "$@"; }
control() { "$control" --state "$state/fleet" "$@"; }
# What the control plane knows of the device, if the Python expression holds of it.
device_is() {
    control device show box-1 --json >"$state/shown"
    python3 -c "import json, sys; device = json.load(open(sys.argv[1])); sys.exit(not ($1))" "$state/shown"
}
# Ends a program that serves, in good order.
ends() {
    kill -TERM "$1" 2>/dev/null || breaks "$2 ended by itself: $(tail -n 5 "$state/$2.log")"
    wait "$1" || breaks "$2 does not end in good order: $(tail -n 5 "$state/$2.log")"
}

chapter "1. The file: $(stat --format=%s "$control") bytes"
try_file "$target" "$control"

register "$agent" "$control" $newer
mapfile -t all < <(processors "$target" "$control")
chosen=("${all[0]%% *}")
[ "${chosen[0]}" != here ] || chosen+=("${all[1]%% *}")

number=1
for name in "${chosen[@]}"; do
    number=$((number + 1))
    chapter "$number. A fleet on $([ "$name" = here ] && echo "this processor" || echo "$emulator -cpu $name")"
    on "$name"
    state=$work/$name
    mkdir "$state"
    control init >"$state/said" || breaks "no fleet is made"
    control keys create --keys "$state/stick" >>"$state/said" || breaks "no offline keys are made"
    outpost model inspect tests/fixtures/outpost-demo-f16.gguf --json --golden "How does a device enrol?" >"$state/model.json"
    control catalogue release --keys "$state/stick" --model "$state/model.json" --default-policy >>"$state/said" || breaks "no catalogue is signed"
    holds "init, keys create, catalogue release"

    "$control" --state "$state/fleet" serve >"$state/control.log" 2>&1 &
    serving=$!
    running=("$serving")
    authority=$(find "$state/fleet" -name ca.pem)
    code=$(control device code box-1 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["code"])') || breaks "no code is made"
    enrol() { outpost enroll --server https://localhost:8790 --code - --ca "$authority" <<<"$code"; }
    within 120 enrol || breaks "the device does not enrol: $(tail -n 5 "$state/control.log")"
    holds "the device enrols over TLS, with a one-time code"

    "$agent" --state "$state/device" run >"$state/device.log" 2>&1 &
    device=$!
    running+=("$device")
    control device assign box-1 --model outpost-demo >>"$state/said" || breaks "nothing is assigned"
    within 300 device_is 'device["online"]' || breaks "it is not online: $(cat "$state/shown")"
    asked() { outpost chat "How does a device enrol?" >"$state/answer"; }
    within 300 asked || breaks "it does not answer: $(tail -n 3 "$state/device.log")"
    answer=$(<"$state/answer")
    grep --quiet "one-time code" <<<"$answer" || breaks "it answers: $answer"
    holds "its model comes over MQTT, and it answers: $answer"

    if [ -n "$newer" ]; then
        version=$("$newer" --version | cut -d' ' -f2)
        moves() {
            control build publish "$1" --version "$2" --target "$target" --keys "$state/stick" >>"$state/said" || breaks "$2 is not published"
            control rollout start "to-${2//./-}" --build "$2" --for 'name=box-1' --waves 100 >>"$state/said" || breaks "no rollout to $2 starts"
        }
        moves "$newer" "$version"
        build='(device["reported"].get("build") or {})'
        within 600 device_is "$build.get('version') == '$version' and not $build.get('trial')" ||
            breaks "$version is not confirmed: $(outpost update show)"
        within 300 asked || breaks "$version does not answer"
        holds "a rollout brings it to version $version, which proves itself and answers"
        head --bytes $(($(stat --format=%s "$newer") / 2)) "$newer" >"$state/half"
        moves "$state/half" 99.0.0
        went_back() { control rollout show to-99-0-0 | grep --quiet "ended: rolled back"; }
        within 300 went_back || breaks "half a program is not refused: $(control rollout show to-99-0-0)"
        within 300 asked || breaks "it does not answer after that"
        device_is "$build.get('version') == '$version'" || breaks "another version runs: $(outpost update show)"
        holds "half a program as the version after it is refused, the rollout goes back by itself, and $version answers on"
    fi

    verified() { control audit verify box-1 >"$state/verified"; }
    within 120 verified || breaks "its mirror does not verify: $(cat "$state/verified")"
    holds "audit verify: $(head -n 1 "$state/verified")"
    ends "$device" device
    ends "$serving" control
    running=()
    holds "both end in good order"
done
printf '%s: %s checks held\n' "$target" "$held"
