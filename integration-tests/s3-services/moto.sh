# moto, an emulator in memory.
install() { venv moto 'moto[server,s3]==5.2.5'; }

prepare() { :; }

run() { start moto "$venv/bin/moto_server" -H 127.0.0.1 -p "$port"; }
