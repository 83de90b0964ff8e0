#!/usr/bin/env bash
# mosquitto_pub, mosquitto_sub and mosquitto_rr (libmosquitto) against the broker on 127.0.0.1:$MQTT_PORT.
# Nothing sleeps: a subscriber is ready when its debug output says "Subscribed"; every wait is bounded by LIMIT_S.
set -uo pipefail

LIMIT_S=10
AT=(-h 127.0.0.1 -p "${MQTT_PORT:?}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
failed=0

# Every function below returns non-zero with a reason in $why when the case does not hold.
case_of() { # NAME FUNCTION ARGS...
  local name=$1
  shift
  why=""
  topic="$name" # each case has its own Topic Names
  if "$@"; then echo "ok interop/mosquitto/$name"; else
    echo "FAIL interop/mosquitto/$name: $why"
    failed=1
  fi
}

publish() { mosquitto_pub "${AT[@]}" -V "$version" "$@" 2>&1 || { why="mosquitto_pub $*: status $?"; return 1; }; }

# Starts a subscriber and waits for its SUBACK. Its messages, one a line, go to $WORK/got.
listen() { # ARGS of mosquitto_sub
  rm -f "$WORK/debug" && mkfifo "$WORK/debug"
  : >"$WORK/got"
  stdbuf -oL timeout "$LIMIT_S" mosquitto_sub "${AT[@]}" -V "$version" -d -F '=%q %r %t %p' "$@" >"$WORK/debug" 2>&1 &
  subscriber=$!
  exec 3<"$WORK/debug"
  local line
  while read -r -t "$LIMIT_S" line <&3; do
    case $line in
      "Subscribed "*) return 0 ;;
      =*) echo "${line#=}" >>"$WORK/got" ;; # a retained message may come before the SUBACK
    esac
  done
  why="no SUBACK"
  return 1
}

# Reads the listener's messages until it ends by itself (-C), then compares them with the lines given.
heard() { # LINES...
  local line
  while read -r -t "$LIMIT_S" line <&3; do
    case $line in =*) echo "${line#=}" >>"$WORK/got" ;; esac
  done
  exec 3<&-
  wait "$subscriber" || { why="mosquitto_sub ended with $? after: $(tr '\n' ';' <"$WORK/got")"; return 1; }
  printf '%s\n' "$@" >"$WORK/wanted"
  cmp -s "$WORK/wanted" "$WORK/got" || { why="got: $(head -c 300 "$WORK/got" | tr '\n' ';') expected: $(tr '\n' ';' <"$WORK/wanted")"; return 1; }
}

at_qos() { # QOS
  listen -t "$topic" -q "$1" -C 1 && publish -t "$topic" -q "$1" -m hello && heard "$1 0 $topic hello"
}

downgrade() {
  listen -t "$topic/#" -q 1 -C 3 &&
    for q in 0 1 2; do publish -t "$topic/$q" -q $q -m m || return 1; done &&
    heard "0 0 $topic/0 m" "1 0 $topic/1 m" "1 0 $topic/2 m"
}

retained() {
  publish -t "$topic/kept" -q 1 -r -m kept && publish -t "$topic/gone" -q 1 -r -m gone &&
    publish -t "$topic/gone" -q 1 -r -n && listen -t "$topic/#" -q 1 -C 2 &&
    publish -t "$topic/end" -q 1 -m end && heard "1 1 $topic/kept kept" "1 0 $topic/end end"
}

will() {
  listen -t "$topic" -q 1 -C 1 || return 1
  exec 4< <(stdbuf -oL mosquitto_sub "${AT[@]}" -V "$version" -d -t "$topic/other" \
    --will-topic "$topic" --will-payload lost --will-qos 1 2>&1 & echo "pid $!")
  local line pid=""
  while read -r -t "$LIMIT_S" line <&4; do
    case $line in
      "pid "*) pid=${line#pid } ;;
      "Subscribed "*) break ;;
    esac
  done
  kill -9 "$pid"
  exec 4<&-
  heard "1 0 $topic lost"
}

resume() {
  local id=${topic//\//-}
  mosquitto_sub "${AT[@]}" -V "$version" -c -i "$id" -q 2 -t "$topic" -E || { why="first connection: $?"; return 1; }
  publish -t "$topic" -q 1 -m one && publish -t "$topic" -q 1 -m two && publish -t "$topic" -q 2 -m three || return 1
  timeout "$LIMIT_S" mosquitto_sub "${AT[@]}" -V "$version" -c -i "$id" -q 2 -t "$topic" -C 3 -F '%q %p' >"$WORK/got" 2>&1
  printf '1 one\n1 two\n2 three\n' >"$WORK/wanted"
  cmp -s "$WORK/wanted" "$WORK/got" || { why="got: $(tr '\n' ';' <"$WORK/got")"; return 1; }
}

stream() { # COUNT of QoS 2 messages from one client, exactly once and in order
  listen -t "$topic" -q 2 -C "$1" || return 1
  seq "$1" | mosquitto_pub "${AT[@]}" -V "$version" -t "$topic" -q 2 -l || { why="mosquitto_pub -l: $?"; return 1; }
  seq "$1" | sed "s|^|2 0 $topic |" >"$WORK/lines"
  mapfile -t lines <"$WORK/lines"
  heard "${lines[@]}"
}

large() { # BYTES
  head -c "$1" /dev/urandom >"$WORK/file"
  publish -t "$topic" -q 1 -r -f "$WORK/file" || return 1
  timeout "$LIMIT_S" mosquitto_sub "${AT[@]}" -V "$version" -t "$topic" -q 1 -C 1 -N >"$WORK/back" || { why="mosquitto_sub: $?"; return 1; }
  cmp -s "$WORK/file" "$WORK/back" || { why="$(stat -c %s "$WORK/back") bytes came back, or others"; return 1; }
}

request() { # mosquitto_rr asks; a subscriber answers on the Response Topic it was given
  local properties=() back
  [ "$version" = mqttv5 ] && properties=(-D publish correlation-data c-1)
  { listen -t "$topic/ask" -q 1 -C 1 -F '=%R %D %p' && heard_request; } &
  local answerer=$!
  # The asker may come before the answerer's SUBACK: then nobody hears it, so it asks again.
  local deadline=$((SECONDS + LIMIT_S))
  while [ $SECONDS -lt $deadline ]; do
    back=$(timeout "$LIMIT_S" mosquitto_rr "${AT[@]}" -V "$version" -q 1 -t "$topic/ask" -e "$topic/answer" -m ping \
      -W 1 "${properties[@]}" -F '%D %p' 2>/dev/null) && break
  done
  wait "$answerer"
  case $version in
    mqttv5) [ "$back" = "c-1 pong" ] ;;
    *) [ "$back" = " pong" ] ;;
  esac || { why="mosquitto_rr printed: $back"; return 1; }
}

heard_request() {
  local line response correlation
  while read -r -t "$LIMIT_S" line <&3; do
    case $line in
      =*)
        if [ "$version" = mqttv5 ]; then
          read -r response correlation _ <<<"${line#=}"
          publish -t "$response" -q 1 -m pong -D publish correlation-data "$correlation"
        else publish -t "$topic/answer" -q 1 -m pong; fi
        ;;
    esac
  done
}

properties() {
  publish -t "$topic" -q 1 -r -m p -D publish user-property b 1 -D publish user-property a 2 -D publish user-property b 3 \
    -D publish content-type text/x -D publish response-topic "$topic/r" -D publish correlation-data c-9 \
    -D publish payload-format-indicator 1 -D publish message-expiry-interval 100 || return 1
  local got
  got=$(timeout "$LIMIT_S" mosquitto_sub "${AT[@]}" -V mqttv5 -t "$topic" -q 1 -C 1 -D subscribe subscription-identifier 77 -F '%C|%R|%D|%F|%E|%S|%P')
  case $got in
    "text/x|$topic/r|c-9|1|100|77|b:1 a:2 b:3" | "text/x|$topic/r|c-9|1|9"[5-9]"|77|b:1 a:2 b:3") ;;
    *) why="got: $got"; return 1 ;;
  esac
}

assigned_id() { # an empty Client Identifier is given a name and the session still works
  listen -i "" -t "$topic" -q 1 -C 1 && publish -i "" -t "$topic" -q 1 -m hello && heard "1 0 $topic hello"
}

as_published() {
  listen -t "$topic" -q 1 -C 1 --retain-as-published && publish -t "$topic" -q 1 -r -m r && heard "1 1 $topic r"
}

for version in mqttv31 mqttv311 mqttv5; do
  for q in 0 1 2; do case_of "$version/qos$q" at_qos $q; done
  case_of "$version/downgrade" downgrade
  case_of "$version/retained" retained
  case_of "$version/will" will
  case_of "$version/resume" resume
  case_of "$version/stream" stream 500
  case_of "$version/large" large 900000
  [ $version = mqttv31 ] || case_of "$version/request" request
done
case_of mqttv5/properties properties
case_of mqttv5/retain-as-published as_published
exit $failed
