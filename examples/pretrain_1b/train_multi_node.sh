#!/usr/bin/env bash
# Pretrains steel_1b on several nodes: give the same command on every node. They find one another at
# MASTER_ADDR:MASTER_PORT, and the same commands go on after a stop. Under Slurm use train.sbatch, which calls this.
#
#   NNODES=4 MASTER_ADDR=node0 DATA=… TOKENIZER=… SAVE=/shared/run \
#     bash examples/pretrain_1b/train_multi_node.sh [FLAGS OF steel train]
#
#   NNODES            nodes, all alike
#   MASTER_ADDR       name or address of one of them, which the others reach
#   MASTER_PORT=29500 a free port there
#   RUN_ID=steel      the same on all nodes; another one for another run at the same address
#   LOCAL_ADDR        this node's address, where its name does not lead to it
#   GPUS=8            processes on each node, one per GPU
#   SAVE_SECONDS, MAX_RESTARTS as in train_8xa100.sh
#   TP=1              ranks that share each layer's matrices; they stay inside a node, so TP divides GPUS
#   DATA, PHASES, TOKENIZER, SAVE as in train_8xa100.sh; all nodes see the same files under the same names
#   SMOKE=1           two such nodes of two CPU processes each on this machine, tensor parallel inside each, data
#                     parallel between them: a small model, data that it makes up
#
# For another machine change GPUS, and behind the script's name --micro-batch-size (memory of a card). If the nodes have
# several networks, NCCL_SOCKET_IFNAME names the interface that NCCL takes, GLOO_SOCKET_IFNAME that of messages from host
# memory, which is else the one that leads to MASTER_ADDR.
set -euo pipefail
source "$(dirname "$0")/common.sh"

if [ "${SMOKE:-0}" = 1 ]; then
  NNODES=2 GPUS=2 TP=2
  smoke_inputs
  RUN_FLAGS+=(--sequence-parallel)
  if [ -z "${MASTER_ADDR:-}" ]; then # not yet one of the two nodes
    MASTER_PORT=$(free_port)
    export MASTER_ADDR=127.0.0.1 LOCAL_ADDR=127.0.0.1 MASTER_PORT
    on_nodes "$NNODES" bash "$SCRIPTS/train_multi_node.sh" "$@"
    echo "done: $SAVE"
    exit
  fi
else
  GPUS=${GPUS:-8} TP=${TP:-1} MASTER_PORT=${MASTER_PORT:-29500}
  need NNODES "how many nodes take part"
  need MASTER_ADDR "a node that all others reach by this name"
  whole_number NNODES 1
  whole_number MASTER_PORT 1
  whole_number TP 1
  whole_number GPUS 1
  [ $((GPUS % TP)) = 0 ] || stop "TP=$TP does not divide GPUS=$GPUS: tensor parallel stays inside a node"
  python -c 'import socket, sys; socket.getaddrinfo(sys.argv[1], None)' "$MASTER_ADDR" 2> /dev/null ||
    stop "MASTER_ADDR=$MASTER_ADDR: this node knows no such name"
  check_inputs "$@"
fi

# A node whose own name leads nowhere gives the address from which it reaches the others.
LOCAL_ADDR=${LOCAL_ADDR:-$(python -c '
import socket, sys
from steel_megatron.parallel.torchrun import local_address
print(local_address(socket.getfqdn(), sys.argv[1]) or "")' "$MASTER_ADDR:$MASTER_PORT")}

start_training --nnodes "$NNODES" --nproc-per-node "$GPUS" \
  --rdzv-backend c10d --rdzv-endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv-id "${RUN_ID:-steel}" \
  ${LOCAL_ADDR:+--local-addr "$LOCAL_ADDR"} \
  -m steel_megatron train --config "$SCRIPTS/steel_1b.yaml" \
  --tensor-model-parallel-size "$TP" "${RUN_FLAGS[@]}" "$@"
