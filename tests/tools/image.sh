#!/usr/bin/env bash
# Build the image of the test hosts, once for each version of this file: image.sh host|newcomer
# It is made with mmdebstrap from Debian's packages, so no image registry is needed. Needs root.
# shellcheck disable=SC2016,SC2054 # Hooks are expanded by the shell that mmdebstrap starts; packages are one word.
set -euo pipefail

kind=$1
suite=bookworm
tag=localhost/llmops-$kind:$suite
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CONTAINERS_CONF=$here/containers.conf
recipe=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)

if [ "$(podman image inspect --format '{{index .Labels "recipe"}}' "$tag" 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

options=(
    --variant=minbase
    --aptopt='Acquire::Languages "none"'
    --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*'
)
case $kind in
host)
    # Credentials of units need shared mounts, which a container runtime does not set up.
    cat >"$work/rshared.service" <<'U'
[Unit]
Description=Shared mounts, as on a real host
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/mount --make-rshared /
[Install]
WantedBy=sysinit.target
U
    options+=(
        --include=systemd,systemd-sysv,dbus,python3,python3-venv,openssh-server,iproute2,procps,sudo,ca-certificates,curl,libgomp1
        --customize-hook="copy-in $work/rshared.service /etc/systemd/system"
        --customize-hook='chroot "$1" systemctl enable rshared.service'
        --customize-hook='chroot "$1" systemctl enable ssh.service'
        --customize-hook='chroot "$1" systemctl mask getty.target console-getty.service systemd-udevd.service systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer'
        --customize-hook='rm -f "$1"/etc/machine-id && touch "$1"/etc/machine-id'
    )
    command='CMD ["/sbin/init"]'
    ;;
newcomer)
    # Just what the README asks for.
    options+=(--include=git,make,python3,python3-venv,ca-certificates)
    command='CMD ["sleep", "infinity"]'
    ;;
*)
    echo "error: image.sh knows host and newcomer, not '$kind'" >&2
    exit 2
    ;;
esac
TMPDIR=$work mmdebstrap "${options[@]}" "$suite" "$work/root.tar"
podman import --change "$command" --change 'STOPSIGNAL SIGRTMIN+3' --change "LABEL recipe=$recipe" "$work/root.tar" "$tag" >/dev/null
