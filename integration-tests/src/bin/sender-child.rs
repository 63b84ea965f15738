//! One of several processes that send as the same client: `sender-child FILE NAME COUNT`.
//!
//! Says `ready`, waits for a line on standard input, sends, and says of each message what was sent: the text and the
//! ciphertext in hex. Says at the end how often it was told to try again.

use std::io::Write;

use data_encoding::HEXLOWER;
use integration_tests::senders::{Sent, send_all};
use integration_tests::store::{load, open};
use mls_keep_sqlite::{Config, SqliteBackend};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, name, count] = arguments.as_slice() else { return Err("sender-child FILE NAME COUNT".into()) };
    let manager = open(SqliteBackend::open(file, Config::default())?)?;
    let mut client = load(&manager, "alice")?;
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    let again = send_all(&mut client, name, count.parse()?, |Sent { text, message }| {
        writeln!(output, "{text} {}", HEXLOWER.encode(&message)).expect("the parent listens");
    });
    println!("again {again}");
    Ok(())
}
