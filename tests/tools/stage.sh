#!/usr/bin/env bash
# Copy the working tree to a path that ansible-test accepts, and print it.
# The copy is a repository of its own: otherwise ansible-test finds the outer one, sees an ignored folder, skips
# every target and still ends well.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
stage=$top/.cache/stage/ansible_collections/llmops/fleet
rm -rf "$stage"
mkdir -p "$stage"
cd "$top"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' path; do
    [ -e "$path" ] && printf '%s\0' "$path"
done | tar --create --null --files-from=- | tar --extract --directory="$stage"
git -C "$stage" init --quiet --initial-branch stage
printf '%s\n' "$stage"
