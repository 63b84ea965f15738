//! `docs/adding-a-backend.md` shows the code of `tutorial.rs`, which is compiled and run, and no other.

use std::path::Path;

#[test]
fn the_page_has_the_code_that_is_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/adding-a-backend.md");
    let page = std::fs::read_to_string(page).expect("the page can be read");
    let code = format!("```rust\n{}```\n", include_str!("tutorial.rs"));
    assert!(page.contains(&code), "copy tests/tutorial.rs into docs/adding-a-backend.md");
}

#[test]
fn the_backend_of_the_page_is_short() {
    let backend = include_str!("tutorial.rs").lines().take_while(|line| *line != "struct Mine(tempfile::TempDir);");
    assert!(backend.count() < 150);
}
