//! Measures other persistence for OpenMLS: one subject and one size of group per run.
//!
//! `mls-keep-peers --subject NAME --members N --past-epochs N --repetitions N --dir DIR [--marks]` prints one JSON line
//! for each operation and one for the length of the files. `integration-tests/benchmarks/bench.sh` runs it and reads them.

mod args;
mod codec;
mod counterpart;
mod day;
mod discard;
mod hex;
mod measure;
mod peer;
mod scenario;
mod stores;

use openmls_memory_storage::MemoryStorage;

use args::Args;
use codec::{Cbor, Json};
use discard::Discard;
use measure::Meter;
use peer::{Peer, Store};
use scenario::{Figures, Result};
use stores::{Nowhere, Practice, Sqlite, WholeFile};

fn main() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    let (dir, plan) = (args.dir.as_path(), args.plan);
    match args.day.as_deref() {
        Some("sqlite-best-json") => return day::serve(&mut Peer::of_a_day(Sqlite::<Json>::new(dir, Practice::Best))?),
        Some("sqlite-best-cbor") => return day::serve(&mut Peer::of_a_day(Sqlite::<Cbor>::new(dir, Practice::Best))?),
        Some(other) => return Err(format!("no day is lived by {other}").into()),
        None => {}
    }
    let figures = match args.subject.as_str() {
        "sqlite-as-shipped" => measure(Sqlite::<Json>::new(dir, Practice::AsShipped), &args),
        "sqlite-best-json" => measure(Sqlite::<Json>::new(dir, Practice::Best), &args),
        "sqlite-best-cbor" => measure(Sqlite::<Cbor>::new(dir, Practice::Best), &args),
        "memory-whole-file" => measure(WholeFile::new(dir), &args),
        "memory-only" => measure(Nowhere::<MemoryStorage>::new(true), &args),
        "openmls-alone" => measure(Nowhere::<Discard>::new(false), &args),
        other => Err(format!("no subject is called {other}").into()),
    }?;
    measure::print(&args.subject, plan, &figures)
}

fn measure(store: impl Store, args: &Args) -> Result<Figures> {
    let mut peer = Peer::new(store, args.plan.past_epochs)?;
    scenario::run(&mut peer, args.plan, Meter::new(&args.dir, args.marks)?)
}
