#!/usr/bin/env bash
# The life of a herd, top to bottom, against a real local HTTP herd (examples/local_herd.py: three small
# programs, one knows sums, one knows capitals, one knows either now and then).
#
#   enlist -> profile -> learn -> measure -> serve -> feed back -> learn from what was served
#
# Needs `herdwise` on the PATH (make life-cycle sees to it). Everything is written to a folder of its own.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
work="${1:-$(mktemp -d)}"
mkdir -p "$work" && cd "$work"
step() { printf '\n== %s\n' "$*"; }
free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do curl -sf "$1" >/dev/null && return; sleep 0.1; done; echo "$1 never answered"; exit 1; }
started=()
trap '[ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true' EXIT

step "A herd is running on this machine"
herd_port=$(free_port)
python "$root/examples/local_herd.py" --port "$herd_port" --items items.jsonl & started+=($!)
wait_for "http://127.0.0.1:$herd_port/v1/models"

step "1. Enlist: find its models, write a config"
herdwise init --discover --port "$herd_port" --out herdwise.yaml --force
herdwise doctor --config herdwise.yaml
herdwise candidates --config herdwise.yaml

step "2. Profile: ask every candidate every item, grade the answers"
herdwise profile --config herdwise.yaml --items items.jsonl --out outcomes --dry-run
herdwise profile --config herdwise.yaml --items items.jsonl --out outcomes
herdwise outcomes describe outcomes

step "3. Learn a router from the training split"
herdwise train --outcomes outcomes --out router

step "4. Measure it on the held-out split"
herdwise evaluate --outcomes outcomes --router router
herdwise evaluate --outcomes outcomes --router router --json > figures.json
python - <<'PY'
import json
figures = json.load(open("figures.json"))
router, single = figures["router"]["quality"], figures["best_single"]["quality"]
assert router > single + 0.1, f"the router ({router}) should beat the best single candidate ({single})"
print(f"router {router:.2f} against best single {single:.2f}")
PY
herdwise route "What is the capital of Sweden?" --router router

step "5. Serve it"
port=$(free_port)
url="http://127.0.0.1:$port"
herdwise serve --config herdwise.yaml --router router --port "$port" & started+=($!)
wait_for "$url/readyz"
ask() { # ask QUESTION: prints the decision's id, the candidate and its answer
  curl -sf "$url/v1/chat/completions" -H 'content-type: application/json' -H 'x-herdwise-explain: 1' \
    -d "{\"model\": \"auto\", \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}" |
    python -c 'import json, sys; a = json.load(sys.stdin); print(a["herdwise"]["decision_id"], a["model"], a["choices"][0]["message"]["content"])'
}
ask "How much is 17 + 25?"
ask "What is the capital of Kenya?"

step "6. Feed back: say of each answer how good it was"
# None of these is an item of the profile: what is learned from must not be measured on.
for question in "What is 130 + 12?" "Tell me the capital of Peru." "What is 140 + 41?" "Tell me the capital of Egypt."; do
  read -r decision model answer <<< "$(ask "$question")"
  echo "$question -> $model: $answer"
  curl -sf "$url/v1/feedback" -H 'content-type: application/json' \
    -d "{\"decision_id\": \"$decision\", \"thumbs\": \"up\", \"comment\": \"right\"}" > /dev/null
done

step "7. Learn again, from the profile and from what was served"
herdwise ledger export --ledger sqlite:///herdwise.db --out served
herdwise outcomes check served
herdwise train --outcomes outcomes --outcomes served --out router2
herdwise evaluate --outcomes outcomes --router router2

step "Done: everything is in $work"
