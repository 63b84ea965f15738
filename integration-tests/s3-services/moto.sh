# moto, an emulator in memory. As it starts by itself it compares first and writes later: the suite finds two winners in a round.
# One request at a time it is sound.
install() { venv moto 'moto[server,s3]==5.2.5'; }

prepare() { :; }

run() {
    start moto "$venv/bin/python" -c '
import sys, threading
from moto import server

lock, run_simple = threading.Lock(), server.run_simple


def one_at_a_time(host, port, application, **named):
    def call(environ, start_response):
        with lock:
            return application(environ, start_response)

    run_simple(host, port, call, **named)


server.run_simple = one_at_a_time
server.main(sys.argv[1:])' -H 127.0.0.1 -p "$port"
}
