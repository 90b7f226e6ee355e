#!/usr/bin/env bash
# Make a Python environment from a requirements file, once: bootstrap.sh FOLDER REQUIREMENTS
# A mark is written last, so that an environment whose making was cut short is made again.
set -euo pipefail

folder=$1
requirements=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/tools/python.sh
. "$here/python.sh"

python=$(find_python)
wanted=$(cat "$(dirname "$requirements")"/*.txt | sha256sum | cut -d' ' -f1)-$("$python" -V)
if [ -x "$folder/bin/python" ] && [ "$(cat "$folder/.made" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -rf "$folder"
"$python" -m venv "$folder" >"$folder.log" 2>&1 || {
    rm -rf "$folder"
    echo "error: $python cannot make environments. Install its venv package: apt-get install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2
    exit 1
}
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" >"$folder.log" 2>&1 || {
    rm -rf "$folder"
    echo "error: the packages of $requirements could not be installed: $(tail -n 1 "$folder.log")" >&2
    exit 1
}
rm -f "$folder.log"
printf '%s' "$wanted" >"$folder/.made"
