//! The examples, run.

// Each is a program of its own, and says the same things its own way.
#![allow(clippy::unwrap_used)]

#[path = "../examples/backup_and_new_phone.rs"]
mod backup_and_new_phone;
#[path = "../examples/delivery_service.rs"]
mod delivery_service;
#[path = "../examples/existing_openmls_app.rs"]
mod existing_openmls_app;
#[path = "../examples/hello.rs"]
mod hello;
#[path = "../examples/own_backend.rs"]
mod own_backend;
#[path = "../examples/server_with_many_clients.rs"]
mod server_with_many_clients;
#[path = "../examples/walkthrough.rs"]
mod walkthrough;

/// A test for each, of its name.
macro_rules! run {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            self::$name::main().unwrap();
        })*
    };
}

run!(
    backup_and_new_phone,
    delivery_service,
    existing_openmls_app,
    hello,
    own_backend,
    server_with_many_clients,
    walkthrough
);
