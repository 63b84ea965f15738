//! Does MLS operations on the pair of clients in a directory until it is killed, and says on standard output what it is
//! about to do and what it has done: `intent ...` and `ack ...`, a line each.
//!
//! `crash-child ADAPTER DIRECTORY SEED`

use std::io::Write;
use std::path::Path;

use integration_tests::pair::Pair;
use integration_tests::random::Random;
use integration_tests::wait::block_on;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, directory, seed] = arguments.as_slice() else {
        return Err("crash-child ADAPTER DIRECTORY SEED".into());
    };
    let adapter = adapter.parse()?;
    let mut random = Random::new(seed.parse()?);
    let mut output = std::io::stdout();
    // One write for a line, so that the reader never sees half of one that counts.
    let mut say = |line: String| output.write_all(line.as_bytes()).and_then(|()| output.flush());
    block_on(async {
        say("intent open\n".into())?;
        let mut pair = Pair::open(adapter, Path::new(directory)).await?;
        say("ack open\n".into())?;
        loop {
            let action = pair.choose(&mut random).await?;
            say(format!("intent {action}\n"))?;
            let told = pair.perform(&action).await?;
            say(format!("ack {action}{told}\n"))?;
        }
    })
}
