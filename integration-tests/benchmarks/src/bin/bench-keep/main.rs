//! Measures mls-keep on SQLite, as `integration-tests/benchmarks/peers` measures others: one subject and one size of group per run.
//!
//! `bench-keep --subject NAME --members N --past-epochs N --repetitions N --dir DIR [--marks]` prints one JSON line for
//! each operation and one for the length of the files. `integration-tests/benchmarks/bench.sh` runs it and reads them.
//!
//! Subjects: `keep`; `many-groups` (`--members` is how many groups); `many-clients` and `many-clients-unflushed`
//! (`--members` is how many clients).
//!
//! `bench-keep --day keep --dir DIR` does what `bench-day` asks it for.

#[path = "../../../peers/src/args.rs"]
mod args;
#[path = "../../../peers/src/counterpart.rs"]
mod counterpart;
mod counting;
#[path = "../../../peers/src/day.rs"]
mod day;
#[path = "../../../peers/src/hex.rs"]
mod hex;
mod many;
#[path = "../../../peers/src/measure.rs"]
mod measure;
#[path = "../../../peers/src/scenario.rs"]
mod scenario;
mod subject;

use args::Args;
use measure::Meter;
use mls_keep_core::Durability;
use scenario::Result;

fn main() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    match args.day.as_deref() {
        Some("keep") => return day::serve(&mut subject::DaySubject::new(&args.dir)?),
        Some(other) => return Err(format!("no day is lived by {other}").into()),
        None => {}
    }
    let figures = match args.subject.as_str() {
        "keep" => {
            let mut keep = subject::KeepSubject::new(&args.dir, args.plan.past_epochs)?;
            scenario::run(&mut keep, args.plan, Meter::new(&args.dir, args.marks)?)
        }
        "many-groups" => many::groups(&args),
        "many-clients" => many::clients(&args, Durability::PowerLoss),
        "many-clients-unflushed" => many::clients(&args, Durability::ProcessCrash),
        other => Err(format!("no subject is called {other}").into()),
    }?;
    measure::print(&args.subject, args.plan, &figures)
}
