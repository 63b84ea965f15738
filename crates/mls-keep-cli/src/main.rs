//! `mls-keep`: MLS clients (RFC 9420) that survive restarts, driven from the command line.
//!
//! `cli` is what can be typed, `commands` is what it does. `store` and `key` open a keep, `files` reads and writes the
//! files that travel, `names` makes what others wrote harmless, `output` prints, `failure` says what went wrong.

// Some of what is asked of stores in general is true of all of them then.
#![cfg_attr(not(feature = "s3"), allow(irrefutable_let_patterns, unused_variables))]

mod archive_key;
mod cli;
mod commands;
mod demo;
mod failure;
mod files;
mod groups;
mod key;
mod output;
mod printed;
mod progress;
mod session;
mod signals;
mod store;
mod time;
mod typed;
mod verbose;
mod words;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures_executor::block_on;

use cli::Cli;
use failure::Failure;

fn main() -> ExitCode {
    // A panic is a defect. What it says may quote a value, so only the place is reported.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        Failure::defect(&place).print();
    }));
    let run = AssertUnwindSafe(|| {
        let cli = Cli::read();
        verbose::start(cli.global.verbose);
        block_on(commands::run(&cli))
    });
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            failure.print();
            failure.exit_code()
        }
        Err(_) => ExitCode::FAILURE,
    }
}
