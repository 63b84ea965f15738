//! A second process that uses alice while the first one is suspended: `extension-child ADAPTER PATH`.
//!
//! Opens the store at PATH, receives the message that the first line of standard input has in hex, sends an answer, closes
//! the store, and says the answer in hex.

use std::path::Path;

use data_encoding::HEXLOWER;
use integration_tests::adapter::Adapter;
use integration_tests::store::{load, open_shared};
use integration_tests::wait::block_on;
use mls_keep::Received;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, path] = arguments.as_slice() else { return Err("extension-child ADAPTER PATH".into()) };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let message = HEXLOWER.decode(line.trim().as_bytes())?;
    let manager = open_shared(adapter.parse::<Adapter>()?.open(Path::new(path))?)?;
    let mut alice = load(&manager, "alice")?;
    let received = block_on(alice.receive(&message))?;
    let Received::Message(message) = received else { return Err(format!("{received:?}").into()) };
    let answer = block_on(alice.send(&message.group, "from the extension"))?.to_bytes()?;
    block_on(manager.close())?;
    println!("{}", HEXLOWER.encode(&answer));
    Ok(())
}
