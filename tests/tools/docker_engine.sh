#!/usr/bin/env bash
# A real Docker Engine of its own, beside any that is there: docker_engine.sh start FOLDER | stop FOLDER
# Its socket is FOLDER/docker.sock. It has the images test/runner (busybox's web server and answers of a runner, which
# are taken from recordings) and test/web (the same server with something else). Needs root, dockerd and busybox.
# Ends with 3, and says why, where an engine cannot be had.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
recordings=$tools/../fixtures/contracts/docker_model_runner
bridge=llmops-docker0

cannot() {
    printf '%s\n' "$*" >&2
    exit 3
}

# body CASE: the recorded answer of a runner.
body() {
    "${PYTHON:-python3}" - "$recordings/models.json" "$1" <<'CODE'
import json
import sys

cases = json.load(open(sys.argv[1]))["cases"]
sys.stdout.write(next(case for case in cases if case["case"] == sys.argv[2])["response"]["body"])
CODE
}

# image NAME FOLDER: a root folder becomes an image.
image() {
    tar --create --directory="$2" . | docker import --change 'CMD ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]' - "$1" >/dev/null
}

images() {
    local busybox root=$1/root
    busybox=$(command -v busybox)
    if ldd "$busybox" >/dev/null 2>&1; then cannot "busybox is not static (Debian's package busybox-static)."; fi
    mkdir -p "$root/bin" "$root/etc" "$root/www/engines"
    cp "$busybox" "$root/bin/busybox"
    printf 'Something else' >"$root/www/index.html"
    image test/web "$root"
    body root >"$root/www/index.html"
    body version >"$root/www/version"
    body 'models after tag' >"$root/www/models"
    body 'engines status' >"$root/www/engines/status"
    body 'engines ps, none' >"$root/www/engines/ps"
    body 'engines df' >"$root/www/engines/df"
    image test/runner "$root"
    rm -rf "$root"
}

start() {
    local folder=$1
    [ "$(id -u)" = 0 ] || cannot "An engine needs root."
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || cannot "There is no dockerd (Debian's package docker.io)."
    command -v docker >/dev/null || cannot "There is no docker."
    command -v ip >/dev/null || cannot "There is no ip (Debian's package iproute2)."
    command -v busybox >/dev/null || cannot "There is no busybox (Debian's package busybox-static)."
    ip link show "$bridge" >/dev/null 2>&1 && cannot "There is a bridge $bridge: another engine of this script runs."
    mkdir -p "$folder"
    export DOCKER_HOST=unix://$folder/docker.sock
    # Its bridge is its own, and the machine's packet filter stays as it is: ports are published by the proxy alone.
    ip link add name "$bridge" type bridge
    ip address add 198.18.73.1/24 dev "$bridge"
    ip link set "$bridge" up
    dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --storage-driver=vfs \
        --bridge "$bridge" --iptables=false --ip-masq=false --ip-forward=false --host "$DOCKER_HOST" >"$folder/log" 2>&1 &
    local process=$! tried
    for tried in $(seq 60); do
        kill -0 "$process" 2>/dev/null || break
        if docker info >/dev/null 2>&1; then
            images "$folder"
            return
        fi
        sleep 0.5
    done
    tried=$(tail -n 1 "$folder/log")
    stop "$folder"
    cannot "dockerd does not answer: $tried"
}

stop() {
    local folder=$1 process
    export DOCKER_HOST=unix://$folder/docker.sock
    process=$(cat "$folder/pid" 2>/dev/null || true)
    # One that was made to hang does not end either.
    if [ -n "$process" ] && kill -CONT "$process" 2>/dev/null; then
        docker ps --quiet | xargs --no-run-if-empty docker kill >/dev/null
        kill "$process"
        for _ in $(seq 60); do
            kill -0 "$process" 2>/dev/null || break
            sleep 0.25
        done
    fi
    ip link delete "$bridge" 2>/dev/null || true
    # The host's network is mounted for containers that use it.
    awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs --no-run-if-empty umount
    rm -rf "$folder"
}

case ${1:-} in
start | stop) "$1" "${2:?a folder}" ;;
*) cannot "docker_engine.sh start FOLDER | stop FOLDER" ;;
esac
