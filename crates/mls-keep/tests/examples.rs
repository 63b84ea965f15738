//! The examples, run.

#[path = "../examples/walkthrough.rs"]
mod walkthrough;

#[test]
fn the_walkthrough_ends_well() {
    walkthrough::main().unwrap();
}
