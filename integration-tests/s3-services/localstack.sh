# LocalStack, an emulator. Needs Python 3.13 or later: as `python3.13`, or where MLS_KEEP_PYTHON says.
install() {
    local python=${MLS_KEEP_PYTHON:-python3.13}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' || { echo "localstack needs Python 3.13" >&2; exit 1; }
    # Later versions of the other two lack what it calls.
    venv localstack 'localstack-core[base-runtime]==2026.3.0' cbor2==5.6.5 pyopenssl==24.3.0
}

prepare() { mkdir "$dir/home"; }

run() {
    # Its own choice of a server listens to everybody, whatever GATEWAY_LISTEN says; this one does as it is told.
    start localstack env HOME="$dir/home" OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$dir/home" GATEWAY_SERVER=hypercorn GATEWAY_LISTEN="127.0.0.1:$port" \
        DNS_ADDRESS=0 SERVICES=s3 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 "$venv/bin/python" -m localstack.runtime.main
}
