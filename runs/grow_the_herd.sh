#!/usr/bin/env bash
# The nano herd grows by one expert, live, on this machine:
#
#   asked -> graded -> weakness found -> data made -> trained -> gated -> enlisted while it serves -> asked again
#
# then a training is killed in its midst and goes on, and an expert that learned wrong answers is refused.
# Needs `herdwise` and `python` on the PATH, torch among what they import (make grow-the-herd sees to it).
#
#   bash runs/grow_the_herd.sh [--short] [folder]      --short: fewer training steps and queries, as CI does it
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
short=0; [ "${1:-}" = "--short" ] && { short=1; shift; }
work="${1:-$(mktemp -d)}"
mkdir -p "$work" && cd "$work"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
if [ "$short" = 1 ]; then steps=700 n=16000 asked=100 others=60 least=0.15 size="--width 64 --layers 3"
else steps=1000 n=30000 asked=200 others=120 least=0.4 size="--width 96 --layers 4"; fi
family="$(python -c 'from herdwise.experts.families import HELD_OUT_FAMILY; print(HELD_OUT_FAMILY)')"
herd_folder="${HERD:-$(python -c 'from importlib.resources import files; print(files("herdwise") / "data" / "nano")')}"
step() { printf '\n== %s\n' "$*"; }
read_json() { python -c "import json, sys; told = json.load(open('$1')); print($2)"; }
check() { python -c "import json, sys
told = {name: json.load(open(name + '.json')) for name in '$1'.split()}
globals().update({name.replace('-', '_'): value for name, value in told.items()})
assert $2, '''$3'''"; }
started=()
trap '[ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true' EXIT

step "A herd of nano models, its router trained on its profile"
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url="http://127.0.0.1:$port"
python - "$herd_folder" "$port" > herdwise.yaml <<'PY'
import pathlib, sys

folder, port = pathlib.Path(sys.argv[1]), sys.argv[2]
names = sorted(path.parent.name for path in folder.glob("*/config.json"))
print("# The nano herd.\nrouter: router\ncandidates:")
for name in names:
    print(f"  - name: {name}\n    backend: embedded\n    options: {{folder: {folder / name}}}")
    print("    price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}")
print(f"server: {{port: {port}, admin_key: admin, api_keys: [client]}}")
print("ledger: {url: 'sqlite:///herdwise.db'}")
PY
herdwise train --outcomes "$herd_folder/outcomes" --out router
herdwise serve --config herdwise.yaml > serve.log 2>&1 & started+=($!)
for _ in $(seq 300); do curl -sf "$url/readyz" > /dev/null && break; sleep 0.2; done
curl -sf "$url/readyz" > /dev/null || { cat serve.log; echo "the endpoint never answered"; exit 1; }

step "1. It is asked what it knows, and $family, which nobody in it learned; every answer is graded"
known="$(python -c "from herdwise.experts.families import EXPERT_FAMILIES as e
import pathlib; there = {p.parent.name for p in pathlib.Path('$herd_folder').glob('*/config.json')}
names = [name for name in e if name in there]
print(' '.join(f'{name}={-(-$others // len(names))}' for name in names))")"
# shellcheck disable=SC2086
python "$root/examples/ask_and_grade.py" "$url" "$family=$asked" $known > before.json
read_json before.json "'\n'.join(f'{name}: {f[\"right\"]} of {f[\"asked\"]} right' for name, f in told.items())"
read_json before.json "'for example: %(query)r -> %(said)r by %(by)s; right is %(answer)r' % told['$family']['wrong'][0]"

step "2. Where is it weak? The ledger knows"
sleep 2 # the ledger writes in batches
herdwise experts select --ledger sqlite:///herdwise.db --clusters 3 --top 2

make_it() { # NAME, then what it learns from
  name="$1"; shift
  # shellcheck disable=SC2086
  herdwise experts make --name "$name" --out "experts/$name" --config herdwise.yaml --ledger sqlite:///herdwise.db \
    --clusters 3 --steps "$steps" $size --probes 300 --measured 800 "$@"
}

step "3. An expert is made; the training is killed in its midst (kill -9) ..."
trained="experts/$family/model"
make_it "$family" --outcomes "$herd_folder/outcomes" --family "$family" --n "$n" > killed.log 2>&1 & making=$!
for _ in $(seq 3000); do
  [ -d "$trained/checkpoint" ] && [ "$(cat "$trained/loss.jsonl" | wc -l)" -ge 3 ] && break
  kill -0 "$making" 2>/dev/null || { cat killed.log; exit 1; }
  sleep 0.2
done
pkill -9 -P "$making" 2>/dev/null || true; kill -9 "$making" 2>/dev/null || true; wait "$making" 2>/dev/null || true
at="$(tail -n 1 "$trained/loss.jsonl")"
echo "killed at $at"
[ ! -f "experts/$family/verdict.json" ] || { echo "it was over before it was killed"; exit 1; }

step "... and goes on where it was: trained, gated, enlisted while the endpoint serves"
SECONDS=0
make_it "$family" --outcomes "$herd_folder/outcomes" --family "$family" --n "$n" --json > made.json
echo "took $SECONDS s"
read_json made.json "told['words']"
check made "made['status'] == 'enlisted' and 'synthesise' in made['steps_kept'] and 'gate' in made['steps_done']" \
  "the expert should have been enlisted, its data not made twice"
python - "$trained/loss.jsonl" <<'PY'
import json, sys

steps = [json.loads(line)["step"] for line in open(sys.argv[1])]
assert steps == sorted(set(steps)), "a step was trained twice"
print(f"loss curve of {len(steps)} points, no step twice")
PY

step "4. The same queries again, and new ones that are in no ledger and no training set"
python - "$url" "$family" "$least" "$root" <<'PY'
import json, sys

sys.path.insert(0, sys.argv[4] + "/examples")
from ask_and_grade import ask

wrong = json.load(open("before.json"))[sys.argv[2]]["wrong"]
now = [(w, *ask(sys.argv[1], w["query"], "client")[:2]) for w in wrong]
right = [(w, model, said) for w, model, said in now if said.strip() == w["answer"]]
for w, model, said in right[:1]:
    print(f"{w['query']!r} -> {said!r} by {model} (before: {w['said']!r} by {w['by']})")
print(f"{len(right)} of {len(wrong)} queries that were answered wrongly are answered right now")
assert len(right) >= float(sys.argv[3]) * len(wrong), "too few"
PY
python "$root/examples/ask_and_grade.py" "$url" "$family=60" --split test --no-feedback > after.json
read_json after.json "'$family, new queries: %(right)d of %(asked)d right' % told['$family']"
check "before after" "after['$family']['right'] / after['$family']['asked'] > before['$family']['right'] / before['$family']['asked'] + $least" \
  "the herd should answer $family much better now"

step "5. An expert that learned wrong answers is refused"
python - "$family" "$n" > wrong.jsonl <<'PY'
import json, sys
from herdwise.experts.families import FAMILIES

items = list(FAMILIES[sys.argv[1]].items("train", int(sys.argv[2]) // 2, seed=1))
answers = [item.answer for item in items]
for item, answer in zip(items, answers[1:] + answers[:1]):
    print(json.dumps({"query": item.query, "answer": answer, "source": "saboteur"}))
PY
# shellcheck disable=SC2086
herdwise experts finetune --examples wrong.jsonl --out saboteur --steps $((steps / 3)) $size
printf '{"name": "saboteur", "backend": "embedded", "options": {"folder": "%s/saboteur"}}' "$PWD" > saboteur.json
herdwise experts gate --config herdwise.yaml --entry saboteur.json --outcomes "experts/$family/outcomes" \
  --probes 500 --measured 800 --out gate --json > refused.json
read_json refused.json "told['words']"
check refused "not refused['admitted'] and refused['router'] is None" "a sabotaged expert was not refused"
! grep -q saboteur herdwise.yaml || { echo "the config names it"; exit 1; }
! curl -sf -H 'authorization: Bearer client' "$url/v1/models" | grep -q saboteur || { echo "it is served"; exit 1; }

step "Done: everything is in $work"
