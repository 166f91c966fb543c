#!/bin/sh
# Ask the server for one text: sh predict.sh "a good film"
set -eu
server=${SERVER:-http://127.0.0.1:8000}
# --data-urlencode and the like would not make JSON; --json needs curl 7.82.
body=$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')
# --retry follows Retry-After when the server is full.
curl --silent --show-error --fail-with-body --retry 3 \
    --header "Authorization: Bearer ${TRAINER_EXT_API_KEY:-}" \
    --header "Content-Type: application/json" \
    --data "{\"text\": \"$body\"}" \
    "$server/predict"
echo
