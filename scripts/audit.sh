#!/usr/bin/env bash
# Known vulnerabilities in anything that the lock names, all extras and development tools among them.
# Ends with 1 where one is known, with $UNREACHED (1 unless set) where the advisories cannot be reached.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
list=$(mktemp)
trap 'rm -f "$list"' EXIT

"$bin/uv" export --quiet --frozen --all-extras --no-emit-project --format requirements-txt > "$list" || exit 1
# --strict: what cannot be looked up must not pass for sound.
told=$("$bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off -r "$list" 2>&1)
status=$?
tail -n 40 <<< "$told"
if [ $status != 0 ] && grep -Eq 'could not be audited|ConnectionError|Failed to resolve|timed out|ServiceError' <<< "$told"; then
  echo "Nothing was audited: PyPI's advisories cannot be reached from here."
  exit "${UNREACHED:-1}"
fi
exit $status
