# Shared by the scripts of this folder, which source it: checks of what was given, how training is started, and what
# SMOKE=1 uses. Reads DATA, PHASES, TOKENIZER, SAVE, GPUS; sets RUN_FLAGS, the flags of `steel train`, and SCRIPTS, this
# folder. Paths are relative to the folder that the script is called from.

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$SCRIPTS/../..${PYTHONPATH:+:$PYTHONPATH}" # where the package is not installed

stop() {
  echo "error: $1" >&2
  exit 2
}

# need NAME WHAT: the variable is set.
need() {
  [ -n "${!1:-}" ] || stop "$1 is not set: $2"
}

# whole_number NAME SMALLEST: the variable holds a whole number, not below the smallest.
whole_number() {
  [[ "${!1:-}" =~ ^[0-9]+$ ]] && [ "${!1}" -ge "$2" ] || stop "$1=${!1:-} is not a whole number of $2 or more"
}

# check_inputs FLAGS…: everything that a run with these flags needs, checked before anything starts.
check_inputs() {
  whole_number GPUS 1
  [ -n "${DATA:-}${PHASES:-}" ] || stop "DATA is not set: prefix of a tokenised dataset, see the head of this script"
  need TOKENIZER "the one that the data was tokenised with"
  need SAVE "folder of the run"
  [ -e "$TOKENIZER" ] || stop "no tokenizer at $TOKENIZER"
  RUN_FLAGS=(--tokenizer-model "$TOKENIZER" --save "$SAVE")
  add_sources
  local found
  found=$(python -c 'import torch; print(torch.cuda.device_count())') || stop "python finds no torch: activate its environment"
  [[ " $* " =~ \ --device[\ =]cpu\  ]] || [ "$found" -ge "$GPUS" ] ||
    stop "$GPUS GPUs wanted, torch sees $found: set GPUS, or see what steel doctor tells"
  mkdir -p "$SAVE" || stop "cannot make the folder $SAVE"
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
}

# DATA or PHASES as flags, with the check that every dataset is there.
add_sources() {
  if [ -n "${PHASES:-}" ]; then
    [ -f "$PHASES" ] || stop "no file of phases at $PHASES"
    RUN_FLAGS+=(--phases "$PHASES")
    return
  fi
  local sources word suffix
  split_sources
  for word in "${sources[@]}"; do
    is_weight "$word" && continue
    for suffix in bin idx; do
      [ -f "$word.$suffix" ] || stop "no $word.$suffix: DATA takes prefixes without .bin, made by steel tokenize"
    done
  done
  RUN_FLAGS+=(--data-path "${sources[@]}")
}

# A number or a fraction, as 0.7, 2e-1 or 1/3.
is_weight() {
  [[ "$1" =~ ^[0-9.]+(e[-+]?[0-9]+)?(/[0-9.]+)?$ ]]
}

# DATA as the words of sources: one prefix; prefixes; or weights, each before a prefix. Between weights, and where there is
# one prefix, blanks are part of it.
split_sources() {
  local words word
  sources=("$DATA")
  [ ! -f "$DATA.bin" ] || return 0
  read -ra words <<< "$DATA"
  sources=("${words[@]}")
  is_weight "${words[0]}" || return 0
  sources=()
  for word in "${words[@]}"; do
    if [ "${#sources[@]}" -gt 0 ] && ! is_weight "$word" && ! is_weight "${sources[-1]}"; then
      sources[-1]+=" $word"
    else
      sources+=("$word")
    fi
  done
}

# start_training FLAGS…: torchrun with these flags, in place of this shell, so that signals reach it. It passes them on to
# the processes, which save and leave, and gives them SAVE_SECONDS for that (torch 2.12 and later; 2.11 kills after 30 s).
# A run that fails goes on from its last checkpoint up to MAX_RESTARTS times.
start_training() {
  local MAX_RESTARTS=${MAX_RESTARTS:-3} SAVE_SECONDS=${SAVE_SECONDS:-600}
  whole_number MAX_RESTARTS 0
  whole_number SAVE_SECONDS 1
  export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=$SAVE_SECONDS
  local signals=SIGTERM,SIGINT,SIGQUIT,SIGUSR1
  [[ "$(trap -p HUP)" == *"''"* ]] || signals+=,SIGHUP # nohup has it ignored
  local command=(torchrun --signals-to-handle "$signals" --max-restarts "$MAX_RESTARTS" "$@")
  [ -z "${SMOKE_FOLDER:-}" ] || { "${command[@]}"; return; } # this shell has data to remove
  exec "${command[@]}"
}

# A dataset in SMOKE_DATA, unless it was made before: documents in which each number follows from the one before, so
# that there is something to learn. It goes away when the script ends.
make_smoke_data() {
  [ -z "${SMOKE_DATA:-}" ] || return 0
  SMOKE_FOLDER=$(mktemp -d)
  trap 'rm -rf "$SMOKE_FOLDER"' EXIT
  python - > "$SMOKE_FOLDER/numbers.jsonl" << 'END'
import json, random
random.seed(0)
for _ in range(400):
    numbers = [random.randrange(1000)]
    for _ in range(300):
        numbers.append((numbers[-1] * 7 + random.randrange(3)) % 1000)
    print(json.dumps({"text": " ".join(map(str, numbers))}))
END
  python -m steel_megatron tokenize --input "$SMOKE_FOLDER/numbers.jsonl" --output-prefix "$SMOKE_FOLDER/numbers" \
    --tokenizer-type NullTokenizer --vocab-size 1000
  export SMOKE_DATA=$SMOKE_FOLDER/numbers_text_document
}

# The inputs of SMOKE=1: that dataset, a model of 0.16 M parameters, 60 steps on the CPU.
smoke_inputs() {
  whole_number GPUS 1
  make_smoke_data
  SAVE=${SAVE:-$(mktemp -d)/run}
  export SAVE OMP_NUM_THREADS=1 MAX_RESTARTS=${MAX_RESTARTS:-0}
  RUN_FLAGS=(
    --data-path "$SMOKE_DATA" --tokenizer-type NullTokenizer --vocab-size 1000 --save "$SAVE"
    --num-layers 2 --hidden-size 64 --ffn-hidden-size 176 --num-attention-heads 4 --num-query-groups 2 --kv-channels 16
    --seq-length 64 --micro-batch-size 4 --global-batch-size 16 --train-iters 60 --lr-warmup-iters 2 --lr 3e-3
    --eval-interval 20 --eval-iters 2 --save-interval 20 --split 90,10 --device cpu
  )
}

# on_nodes NNODES COMMAND…: the command once per node. In a Slurm job on its nodes; otherwise as so many processes of
# this machine, all stopped when one of them fails.
on_nodes() {
  local nodes=$1 node pids=() failed=0
  shift
  if [ -n "${SLURM_JOB_ID:-}" ]; then
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 "$@"
    return
  fi
  for ((node = 0; node < nodes; node++)); do
    "$@" &
    pids+=($!)
  done
  trap 'kill "${pids[@]}" 2> /dev/null' INT TERM HUP USR1
  while [ "${#pids[@]}" -gt 0 ] && [ "$failed" = 0 ]; do
    sleep 0.2
    for node in "${!pids[@]}"; do
      kill -0 "${pids[node]}" 2> /dev/null && continue
      wait "${pids[node]}" || failed=$?
      unset "pids[node]"
    done
  done
  [ "${#pids[@]}" = 0 ] || kill "${pids[@]}" 2> /dev/null || true
  wait
  trap - INT TERM HUP USR1
  return "$failed"
}

free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
