//! Alice, who is saved at an interval, under load until she is killed: `interval-child ADAPTER DIRECTORY SEED WAY`. Says on
//! standard output what leaves her.

use std::path::Path;

use integration_tests::interval::{Sender, Way};
use integration_tests::random::Random;
use integration_tests::wait::block_on;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, directory, seed, way] = arguments.as_slice() else {
        return Err("interval-child ADAPTER DIRECTORY SEED WAY".into());
    };
    let way = Way::named(way).ok_or("there is no such way")?;
    let mut random = Random::new(seed.parse()?);
    block_on(async {
        let mut alice = Sender::open(adapter.parse()?, Path::new(directory), way, std::io::stdout()).await?;
        loop {
            alice.step(&mut random).await?;
        }
    })
}
