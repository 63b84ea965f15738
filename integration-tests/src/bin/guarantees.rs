//! Prints `docs/guarantees.md`: `cargo run -p integration-tests --bin guarantees > docs/guarantees.md`.

fn main() {
    print!("{}", integration_tests::guarantees::page());
}
