#!/usr/bin/env bash
# The REST API held against its own document (openapi.json) by schemathesis, on nodes of its own, for they are drained on the way: one alone, and
# one of a cluster on Redis that asks for a token. It also asks prometheus-client to read both texts of /metrics.
set -u
here=$(cd "$(dirname "$0")" && pwd)
broker=$(realpath "$MQTTD") python=$(realpath -s "$PYTHON")
bin=$(dirname "$python")
folder=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null; wait "${started[@]}" 2>/dev/null; rm -rf "$folder"' EXIT

report() { # NAME STATUS FILE
  if [ "$2" = 0 ]; then echo "ok $1"; else echo "FAIL $1: $(tail -c 1500 "$3" | tr '\n' ' ')"; fi
}

start() { # NAME ARGUMENT...
  log=$folder/$1.log
  "$broker" --listen tcp://127.0.0.1:0 --admin 127.0.0.1:0 --log-format json "${@:2}" 2>"$log" &
  node=$!
  started+=("$node")
  for _ in $(seq 100); do
    admin=$(sed -n 's/.*the administration answers on \(http:[^"]*\)".*/\1/p' "$log")
    [ -n "$admin" ] && return
    sleep 0.1
  done
}

# What is random here is random by a seed, so that a failure comes again. The stream of events has no end.
check() { # NAME EXCLUDED-CHECKS ARGUMENT...
  "$bin/schemathesis" --no-color run "$admin/api-docs/openapi.json" --url "$admin/api/v1" --exclude-path /events --exclude-path /trace \
    --checks all --exclude-checks "${2:+$2,}missing_required_header,unsupported_method,positive_data_acceptance,ensure_resource_availability" \
    --seed 1 --request-timeout 20 "${@:3}" >"$folder/$1" 2>&1
  report "schemathesis/$1" $? "$folder/$1"
  [ -n "${KEEP:-}" ] && cp "$folder/$1" "$KEEP-$1"
  kill -0 "$node" && ! grep -q panicked "$log"
  report "schemathesis/$1-lives" $? "$log"
}

cd "$folder" # schemathesis leaves a folder of its own
start alone
"$python" "$here/read_metrics.py" "$admin" >metrics 2>&1
report prometheus/metrics $? metrics
check alone ignored_auth --max-examples 30

port=$("$python" -c 'import socket; probe = socket.socket(); probe.bind(("127.0.0.1", 0)); print(probe.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >redis.log 2>&1 &
started+=($!)
for _ in $(seq 100); do
  grep -q "Ready to accept connections" redis.log && break
  sleep 0.1
done
export MQTTD_API__TOKEN=of-this-run
start cluster --store "redis://127.0.0.1:$port"
check cluster "" --max-examples 10 --header "Authorization: Bearer $MQTTD_API__TOKEN"
