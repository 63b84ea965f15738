//! One of several processes that open the same empty stores: `opening-child DIRECTORY`. Says `ready`; for each line
//! `NAME MICROSECONDS` on standard input it waits so long, opens the store of that name in the directory, or makes it, and
//! says which keep that is.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use integration_tests::store::open;
use mls_keep_sqlite::{Config, SqliteBackend};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory] = arguments.as_slice() else { return Err("opening-child DIRECTORY".into()) };
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let begun = Instant::now();
        let line = line?;
        let (name, pause) = line.split_once(' ').ok_or("NAME MICROSECONDS")?;
        let (path, pause) = (Path::new(directory).join(name), Duration::from_micros(pause.parse()?));
        while begun.elapsed() < pause {
            std::hint::spin_loop();
        }
        let opened = SqliteBackend::open(path, Config::default()).and_then(open);
        let said = match &opened {
            Ok(manager) => HEXLOWER.encode(&manager.keep().store_id()),
            Err(error) => format!("{}: {error}", error.kind()),
        };
        writeln!(output, "{said}")?;
    }
    Ok(())
}
