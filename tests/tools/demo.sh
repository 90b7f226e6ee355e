#!/usr/bin/env bash
# The main job on this machine, without root, container, systemd or hub. Everything it makes is below .demo/.
#   demo.sh          run it; what serves goes on serving
#   demo.sh clean    stop it and remove what it made
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
demo=$top/.demo
log=$demo/log
port=${LLM_LOCAL_PORT:-8080}
url=http://127.0.0.1:$port
needed_mb=1000

export LLM_PREFIX=$demo/host LLM_LOCAL_MODELS=$demo/models LLM_LOCAL_PORT=$port
export ANSIBLE_CONFIG=$demo/ansible.cfg ANSIBLE_HOME=$demo/ansible ANSIBLE_COLLECTIONS_PATH=$demo/collections
export ANSIBLE_NOCOLOR=1 ANSIBLE_DEPRECATION_WARNINGS=0
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

# step TITLE COMMAND...: run it out of sight, show one line with its seconds; on failure, why.
step() {
    local title=$1 started=$SECONDS name
    shift
    name=$log/$(printf '%s' "$title" | tr -c 'a-z0-9\n' '-').log
    printf '  %-46s' "$title"
    if "$@" >"$name" 2>&1; then
        printf '%3d s\n' $((SECONDS - started))
    else
        printf 'failed\n'
        stop_what_was_started
        fail "$title: $(reason "$name") (whole output: ${name#"$top"/})"
    fi
}

# The one line of an Ansible run that says why it failed.
reason() {
    local line
    line=$(sed -n 's/^\[ERROR\]: \(Task failed: \)\{0,1\}\(Module failed: \)\{0,1\}//p' "$1" | head -n 1)
    printf '%s' "${line:-$(grep -v '^[[:space:]]*$' "$1" | tail -n 1)}"
}

playbook() {
    "$demo/venv/bin/ansible-playbook" -i "$top/inventories/local" "$@"
}

listening() {
    "$demo/venv/bin/python" "$top/tests/tools/ask.py" --quiet "$url" >/dev/null 2>&1
}

port_taken() {
    ! "$1" -c 'import socket,sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1])))' "$port" 2>/dev/null
}

serves_already() {
    [ -e "$demo/host/run/llm/chat.pid" ] && [ -x "$demo/venv/bin/python" ] && listening
}

stop_what_was_started() {
    [ -x "$demo/venv/bin/ansible-playbook" ] && [ -d "$demo/host" ] || return 0
    playbook llmops.fleet.remove -e llm_remove_all=true >"$log/clean.log" 2>&1 || {
        say "  could not stop everything: $(reason "$log/clean.log")" >&2
        return 1
    }
}

clean() {
    mkdir -p "$log"
    if [ -d "$demo/host" ]; then
        [ -x "$demo/venv/bin/ansible-playbook" ] || make_venv
        [ -d "$demo/collections/ansible_collections/llmops" ] || install_collection
        stop_what_was_started || exit 1
    fi
    rm -rf "$demo"
    say "demo-clean: ok"
}

make_venv() { "$top/tests/tools/bootstrap.sh" "$demo/venv" "$top/requirements/controller.txt"; }

# Built from this checkout as a release is, and installed from the archive.
install_collection() {
    local sum
    sum=$(cd "$top" && find galaxy.yml README.md LICENSE meta plugins roles playbooks inventories -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    if [ "$(cat "$demo/collections/.sum" 2>/dev/null)" = "$sum" ]; then
        return 0
    fi
    rm -rf "$demo/collections" "$demo/build"
    "$demo/venv/bin/ansible-galaxy" collection build --output-path "$demo/build" "$top"
    "$demo/venv/bin/ansible-galaxy" collection install --offline --collections-path "$demo/collections" "$demo"/build/*.tar.gz
    printf '%s' "$sum" >"$demo/collections/.sum"
}

write_models() {
    local name
    for name in alpha beta; do
        [ -e "$demo/models/$name.gguf" ] || "$demo/venv/bin/python" "$top/tests/tools/reciter.py" --name "$name" --gguf "$demo/models/$name.gguf"
    done
}

has_openmp() { "$demo/venv/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; }

# llama.cpp's wheel needs the OpenMP runtime. Without root it is taken out of the distribution's own package.
fetch_openmp() {
    local apt=(apt-get -qq -o "Dir::State::lists=$demo/apt/lists" -o "Dir::Cache=$demo/apt/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=)
    mkdir -p "$demo/apt/lists/partial" "$demo/apt/cache/archives/partial" "$demo/libraries"
    if command -v apt-get >/dev/null && "${apt[@]}" update && (cd "$demo/apt" && "${apt[@]}" download libgomp1) &&
        dpkg-deb -x "$demo"/apt/libgomp1_*.deb "$demo/apt/root"; then
        find "$demo/apt/root" -name 'libgomp.so.1*' -exec cp -P {} "$demo/libraries/" \;
        rm -rf "$demo/apt"
    else
        echo "the library libgomp.so.1 is missing and could not be fetched: apt-get install libgomp1" >&2
        return 1
    fi
}

# show MODEL: ask as a client does, and hold the reply against what this model says.
show() {
    local reply
    reply=$("$demo/venv/bin/python" "$top/tests/tools/ask.py" "$url") || fail "$url does not answer"
    say ""
    say "    > Who are you?"
    say "    $reply"
    say ""
    [ "$reply" = "Model $1 speaking from this host." ] || fail "the reply is not that of model $1"
}

if [ "${1:-}" = clean ]; then
    clean
    exit 0
fi

# --- before anything is made ---
# shellcheck source=tests/tools/python.sh
. "$top/tests/tools/python.sh"
python=$(find_python)
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python cannot make environments: apt-get install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
if ! serves_already && port_taken "$python"; then
    fail "port $port is taken by another program. Stop it, or choose one: make demo LLM_LOCAL_PORT=18080"
fi
free_mb=$(df -Pm "$top" | awk 'NR == 2 {print $4}')
if [ ! -d "$demo/venv" ] && [ "$free_mb" -lt "$needed_mb" ]; then
    fail "$free_mb MB are free at $top, $needed_mb MB are needed"
fi

mkdir -p "$log" "$demo/models"
printf '[defaults]\nmodule_compression = ZIP_STORED\n[connection]\npipelining = true\n' >"$ANSIBLE_CONFIG"
# For whoever goes on by hand.
{
    for name in LLM_PREFIX LLM_LOCAL_MODELS LLM_LOCAL_PORT ANSIBLE_CONFIG ANSIBLE_HOME ANSIBLE_COLLECTIONS_PATH LC_ALL; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'export PATH=%q\n' "$demo/venv/bin:$PATH"
} >"$demo/environment"
# The signal can come while a step's output goes to its log: the terminal is kept under a number of its own.
exec 3>&2
interrupted() {
    printf '\n%s\n' "demo: interrupted. Run 'make demo' again to go on, or 'make demo-clean' to remove what is there." >&3
    exit 130
}
trap interrupted INT TERM

say "llmops.fleet: serve a model on this machine, prove it, switch it"
step "make Ansible's environment" make_venv
step "build and install the collection" install_collection
step "write two tiny models" write_models
if [ -e "$demo/libraries/libgomp.so.1" ] || ! has_openmp; then
    [ -e "$demo/libraries/libgomp.so.1" ] || step "fetch the OpenMP library" fetch_openmp
    export LLM_LOCAL_LIBRARIES=$demo/libraries LD_LIBRARY_PATH=$demo/libraries
    printf 'export LLM_LOCAL_LIBRARIES=%q LD_LIBRARY_PATH=%q\n' "$demo/libraries" "$demo/libraries" >>"$demo/environment"
fi
if serves_already; then
    step "go back to model alpha" playbook llmops.fleet.switch -e llm_switch_runtime=chat -e llm_switch_model=alpha
else
    step "llmops.fleet.site" playbook llmops.fleet.site
    # An earlier demo may have left the other model active.
    if ! "$demo/venv/bin/python" "$top/tests/tools/ask.py" "$url" | grep -q alpha; then
        step "go back to model alpha" playbook llmops.fleet.switch -e llm_switch_runtime=chat -e llm_switch_model=alpha
    fi
fi
show alpha
step "llmops.fleet.switch to model beta" playbook llmops.fleet.switch -e llm_switch_runtime=chat -e llm_switch_model=beta
show beta
step "llmops.fleet.site once more" playbook llmops.fleet.site
recap=$(grep '^localhost' "$log/llmops-fleet-site-once-more.log")
say "    $(printf '%s' "$recap" | tr -s ' ')"
printf '%s' "$recap" | grep -q 'changed=0 ' || fail "the second run of site changed something (see ${log#"$top"/}/llmops-fleet-site-once-more.log)"
step "llmops.fleet.status" playbook llmops.fleet.status
say ""
# The table as the playbook shows it, without the quotes of Ansible's list.
sed -n 's/^ *"\(.*\)",\{0,1\}$/    \1/p' "$log/llmops-fleet-status.log"
say ""
say "Try next:"
say "    curl $url/v1/chat/completions -H 'Content-Type: application/json' \\"
say "      -d '{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}]}'"
say "    . .demo/environment && ansible-playbook -i inventories/local llmops.fleet.status"
say "    make demo-clean    stops it and removes what it made"
say ""
say "demo: ok"
