#!/usr/bin/env bash
# Find a Python that Ansible's controller can run with: find_python prints its path, or says in one line what to do.
find_python() {
    local name path
    for name in python3.13 python3.12 python3.11 python3 python3.14; do
        # A shim of a version manager can be there without the version: ask the interpreter itself where it is. That of
        # an environment names the one it was made with: the environment may be the one that is to be made anew.
        path=$("$name" -c 'import sys; print(sys._base_executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
        if [ -n "$path" ]; then
            echo "$path"
            return 0
        fi
    done
    echo "error: no Python 3.11 or newer was found. Install one: apt-get install python3.11 python3.11-venv" >&2
    return 1
}
