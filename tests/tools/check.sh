#!/usr/bin/env bash
# The parts of `make test`, each with its own set-up: check.sh PART... (molecule may be followed by one scenario)
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$top/tests/tools
venv=$top/.venv
cd "$top"

title() { printf '\n=== %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The environment, and a folder in which the checkout is found as an installed collection.
prepare() {
    "$tools/bootstrap.sh" "$venv" "$top/requirements/test.txt"
    mkdir -p .cache/collections/ansible_collections/llmops
    ln -sfn ../../../.. .cache/collections/ansible_collections/llmops/fleet
    export PATH=$venv/bin:$PATH
    export ANSIBLE_COLLECTIONS_PATH=$top/.cache/collections ANSIBLE_HOME=$top/.cache/ansible
    export LC_ALL=C.UTF-8
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -E env "PATH=$PATH" "$@"
    else
        fail "'$1' needs root. Run as root, or install sudo."
    fi
}

# packages COMMAND=PACKAGE...: install the Debian packages whose commands are missing.
packages() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || [ -x "/usr/sbin/${pair%%=*}" ] || [ -x "/usr/lib/podman/${pair%%=*}" ] || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return 0
    install "${missing[@]}"
}

install() {
    command -v apt-get >/dev/null || fail "these packages are missing: $*"
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=${RUNLEVEL:-} as_root apt-get install -y -qq --no-install-recommends "$@" >.cache/apt.log 2>&1 ||
        fail "apt-get could not install $*: $(tail -n 1 .cache/apt.log)"
}

lint() {
    prepare
    packages shellcheck=shellcheck
    title "ruff"
    ruff check .
    ruff format --check .
    title "mypy"
    (cd .cache/collections && mypy --config-file "$top/pyproject.toml" -p ansible_collections.llmops.fleet.plugins)
    MYPYPATH=tests/tools:benchmarks mypy tests/tools/*.py roles/*/files/*.py benchmarks/*.py
    title "yamllint, shellcheck"
    yamllint --strict .
    shellcheck -x tests/tools/*.sh .ci/run
    title "ansible-lint"
    ansible-lint --offline -q
    title "documentation"
    python "$tools/role_readme.py" --check
    python "$tools/reasons_table.py" --check
    python "$tools/import_graph.py" --check
    antsibull-changelog lint
    antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self --skip-rstcheck .
}

unit() {
    prepare
    # llama.cpp's wheel takes the OpenMP runtime from the system.
    python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || install libgomp1
    title "unit and contract tests"
    # Many tests wait, for engines, kills and slow hubs: one more than there are processors, as a rule.
    pytest -q -n 3
}

integration() {
    prepare
    # The package would start an engine of the machine's own; these tests bring theirs.
    RUNLEVEL=1 packages dockerd=docker.io busybox=busybox-static
    title "a real Docker Engine"
    as_root "$(command -v pytest)" -q tests/integration
}

sanity() {
    prepare
    packages shellcheck=shellcheck
    title "ansible-test sanity"
    local stage home=$top/.cache/home version python
    stage=$("$tools/stage.sh")
    # A home of its own: what ansible-test keeps stays here, and it finds pip without asking the network for a script.
    mkdir -p "$home/.ansible/test/cache"
    for version in 24_2 25_2; do
        cp "$tools/get_pip.py" "$home/.ansible/test/cache/get_pip_$version.py"
    done
    python=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    (cd "$stage" && HOME=$home PATH=$(dirname "$(python -c 'import sys; print(sys._base_executable)')"):$PATH \
        ansible-test sanity --local --python "$python" --exclude tests/tools/) 2>&1 | tee .cache/sanity.log
    if grep -q 'All targets skipped' .cache/sanity.log; then
        fail "ansible-test found nothing to test"
    fi
}

build() {
    prepare
    title "build, install, read"
    rm -rf .cache/build
    ansible-galaxy collection build --output-path .cache/build
    # Only there: the checkout itself must not count as installed.
    export ANSIBLE_COLLECTIONS_PATH=$top/.cache/build/installed
    ansible-galaxy collection install --offline --collections-path "$ANSIBLE_COLLECTIONS_PATH" .cache/build/*.tar.gz
    local unwanted
    unwanted=$(tar -tzf .cache/build/*.tar.gz | grep -E '\.(gguf|safetensors|pyc)$|\.venv|\.cache|\.demo' || true)
    [ -z "$unwanted" ] || fail "the archive holds $unwanted"
    cd /
    local name shown
    shown=$(ansible-doc -t module llmops.fleet.llm_model)
    [[ $shown == *"EXAMPLES:"*"RETURN VALUES:"* ]] || fail "ansible-doc does not show llm_model"
    ansible-doc -t role llmops.fleet.llm_host >/dev/null
    for name in site switch status verify remove; do
        ansible-playbook -i "$top/inventories/example" "llmops.fleet.$name" --syntax-check >/dev/null
    done
    ansible-playbook -i "$top/inventories/example" llmops.fleet.site --list-hosts >/dev/null
    cd "$top"
}

run_molecule() {
    local scenario=$1
    title "molecule: $scenario"
    # Hosts that an interrupted run left are removed by the first step; those of a failed one stay to be looked at.
    as_root env "ANSIBLE_COLLECTIONS_PATH=$ANSIBLE_COLLECTIONS_PATH" "PATH=$PATH" ANSIBLE_FORCE_COLOR=0 NO_COLOR=1 \
        molecule --base-config molecule/config.yml test --scenario-name "$scenario" >".cache/molecule-$scenario.log" 2>&1 || {
        grep -E '\[ERROR\]|fatal:|failed:|msg:' ".cache/molecule-$scenario.log" | head -n 20 || true
        tail -n 40 ".cache/molecule-$scenario.log"
        fail "scenario $scenario failed; all of it is in .cache/molecule-$scenario.log"
    }
    grep -E 'took|second time' ".cache/molecule-$scenario.log" | head -n 2 || true
    grep -A 12 'DETAILS' ".cache/molecule-$scenario.log" || true
}

molecule_scenarios() {
    prepare
    packages podman=podman runc=runc conmon=conmon netavark=netavark aardvark-dns=aardvark-dns mmdebstrap=mmdebstrap tmux=tmux \
        ssh-keygen=openssh-client nft=nftables iptables=iptables
    as_root "$tools/image.sh" host >.cache/image-host.log 2>&1 || fail "the image of the test hosts could not be built: $(tail -n 1 .cache/image-host.log)"
    as_root "$tools/image.sh" newcomer >.cache/image-newcomer.log 2>&1 || fail "the newcomer's image could not be built: $(tail -n 1 .cache/image-newcomer.log)"
    if [ -n "${1:-}" ]; then
        run_molecule "$1"
        return
    fi
    # vLLM spends minutes on being unpacked and on starting, with one processor: the others run beside it.
    run_molecule vllm &
    beside=$!
    trap 'kill "$beside" 2>/dev/null || true; wait' EXIT
    local scenario
    for scenario in newcomer fleet process daemons; do
        run_molecule "$scenario"
    done
    wait "$beside"
    trap - EXIT
}

bench() {
    prepare
    python benchmarks/run.py
}

docs() {
    prepare
    python "$tools/role_readme.py"
    python "$tools/reasons_table.py"
    python "$tools/import_graph.py"
}

clean() {
    "$tools/demo.sh" clean
    if command -v podman >/dev/null; then
        export CONTAINERS_CONF=$tools/containers.conf
        as_root podman rm --force --time 0 --volumes --filter label=owner=llmops-molecule >/dev/null 2>&1 || true
    fi
    rm -rf .cache .venv
}

mkdir -p .cache
while [ $# -gt 0 ]; do
    case $1 in
    lint | unit | integration | sanity | build | bench | docs | clean) "$1" ;;
    molecule)
        molecule_scenarios "${2:-}"
        [ $# -gt 1 ] && shift
        ;;
    *) fail "check.sh knows lint, unit, integration, sanity, build, molecule, bench, docs and clean, not '$1'" ;;
    esac
    shift
done
title "ok"
