#!/usr/bin/env bash
# The REST API held against its own document (openapi.json) by schemathesis: a node of its own, for it is drained on the way.
# It also asks prometheus-client to read both texts of /metrics.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=$PYTHON bin=$(dirname "$PYTHON")
folder=$(mktemp -d)
trap 'kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; rm -rf "$folder"' EXIT
"$MQTTD" --listen tcp://127.0.0.1:0 --admin 127.0.0.1:0 --log-format json 2>"$folder/log" &
node=$!
for _ in $(seq 100); do
  admin=$(sed -n 's/.*the administration answers on \(http:[^"]*\)".*/\1/p' "$folder/log")
  [ -n "$admin" ] && break
  sleep 0.1
done

report() { # NAME STATUS FILE
  if [ "$2" = 0 ]; then echo "ok $1"; else echo "FAIL $1: $(tail -c 1500 "$3" | tr '\n' ' ')"; fi
}

"$python" "$here/read_metrics.py" "$admin" >"$folder/metrics" 2>&1
report prometheus/metrics $? "$folder/metrics"

# The stream of events has no end. What is random here is random by a seed, so that a failure comes again.
cd "$folder" # it leaves a folder of its own
"$bin/schemathesis" --no-color run "$admin/api-docs/openapi.json" --url "$admin/api/v1" --exclude-path /events --exclude-path /trace \
  --checks all --exclude-checks ignored_auth,missing_required_header,unsupported_method,positive_data_acceptance,ensure_resource_availability \
  --max-examples 30 --seed 1 --request-timeout 20 >"$folder/api" 2>&1
report schemathesis/api $? "$folder/api"
[ -n "${KEEP:-}" ] && cp "$folder/api" "$KEEP"

kill -0 "$node" && ! grep -q panicked "$folder/log"
report schemathesis/the-node-lives $? "$folder/log"
