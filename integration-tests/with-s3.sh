#!/usr/bin/env bash
# Runs a command beside an S3 service on loopback: seaweedfs, ministack, moto, localstack or ceph, which it installs below
# target/.
#
#     integration-tests/with-s3.sh SERVICE command ...
#
# The command finds MLS_KEEP_TEST_S3, the URL of an empty bucket, and its credentials in AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY. It may call `$MLS_KEEP_TEST_S3_CALL versioning BUCKET Enabled|Suspended`, `... make BUCKET`, and
# `... restart`, which kills the service and starts it again on the same data. The service ends with the command.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$here/../target
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testsecret AWS_REGION=us-east-1

# `venv NAME PACKAGE...`: a folder of its own with packages of PyPI. A look into the folder says whether it is there.
venv() {
    venv=$target/s3-services/$1
    [ -x "$venv/bin/python" ] || "${python:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

# `start NAME COMMAND...`: a process whose id is in $dir/NAME.pid and whose output is in $dir/NAME.log.
start() {
    local name=$1
    shift
    "$@" >>"$dir/$name.log" 2>&1 &
    echo $! >"$dir/$name.pid"
}

# `stop SIGNAL`: ends all processes of the service, the last one that was started first.
stop() {
    local pid
    for file in $(ls -t "$dir"/*.pid 2>/dev/null); do
        pid=$(cat "$file")
        kill "-$1" "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]; do sleep 0.05; done
        rm -f "$file"
    done
}

ask() { python3 "$here/s3-services/s3.py" "http://127.0.0.1:$port" "$@"; }

if [ "${1:-}" = --call ]; then
    dir=$2
    # shellcheck disable=SC1091
    source "$dir/settings"
    # shellcheck disable=SC1090
    source "$here/s3-services/$service.sh"
    shift 2
    case $1 in
        restart) stop KILL && run && ask ready ;;
        *) ask "$@" ;;
    esac
    exit
fi

service=$1
shift
dir=$(mktemp -d)
# shellcheck disable=SC1090
source "$here/s3-services/$service.sh"
install
# Free ports. SeaweedFS opens one more 10000 above each, so these lie below 50000.
read -r -a ports < <(python3 -c '
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
port=${ports[0]}
trap 'stop TERM; rm -rf "$dir"' EXIT
declare -p service dir ports port >"$dir/settings"
declare -p venv >>"$dir/settings" 2>/dev/null || true
prepare
run
ask ready || { tail -n 50 "$dir"/*.log >&2; exit 1; }
ask make keep
export MLS_KEEP_TEST_S3="s3://keep/suite?endpoint=http://127.0.0.1:$port&region=us-east-1"
export MLS_KEEP_TEST_S3_CALL="$here/with-s3.sh --call $dir"
"$@"
