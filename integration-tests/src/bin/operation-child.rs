//! Does one operation on the store of "alice", and writes nothing else: `operation-child ADAPTER STORE OPERATION SCENARIO`.
//! `create` as the operation makes the keep and the client. The exit code says how it ended: 0 is an acknowledgement, 3 an
//! error, whose kind is on standard error.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use integration_tests::adapter::Adapter;
use integration_tests::operation::{Operation, Scenario};
use integration_tests::store::{load, open_shared};
use integration_tests::wait::block_on;
use mls_keep::Result;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, store, operation, scenario] = arguments.as_slice() else {
        eprintln!("operation-child ADAPTER STORE OPERATION SCENARIO");
        return ExitCode::from(2);
    };
    let adapter: Adapter = match adapter.parse() {
        Ok(adapter) => adapter,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(adapter, Path::new(store), operation, Path::new(scenario)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // This is a write as well, and may be the one that fails.
            drop(writeln!(std::io::stderr(), "{}: {error}", error.kind()));
            ExitCode::from(3)
        }
    }
}

fn run(adapter: Adapter, store: &Path, operation: &str, scenario: &Path) -> Result<()> {
    let manager = open_shared(adapter.open(store)?)?;
    if operation == "create" {
        block_on(manager.client_builder("alice").create())?;
    } else {
        let wanted = Operation::ALL.into_iter().find(|wanted| format!("{wanted:?}") == operation);
        let mut alice = load(&manager, "alice")?;
        block_on(wanted.expect("the operation is known").run(&mut alice, &Scenario::read_from(scenario)))?;
    }
    // What was acknowledged is durable, whatever closing says.
    drop(block_on(manager.close()));
    Ok(())
}
