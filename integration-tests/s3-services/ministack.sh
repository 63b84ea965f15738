# ministack, an emulator in memory.
install() { venv ministack ministack==1.5.33; }

prepare() { :; }

run() {
    # Without BIND_HOST it listens to everybody.
    start ministack env BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 GATEWAY_PORT="$port" SERVICES=s3 "$venv/bin/ministack"
}
