//! The figures, and the tables that are made of them.

use std::collections::BTreeMap;

use integration_tests::adapter::Adapter;

use crate::rate::AT_ONCE;

/// What was measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    Raw,
    Sends,
    Commits(usize),
    /// Of the file adapter with `checkpoint_len` at 16 MiB.
    LongLogCommits(usize),
    Clients,
    ClientsUnflushed,
}

/// Per second, one for each round.
#[derive(Default)]
pub(crate) struct Figures {
    rates: BTreeMap<(Adapter, What), Vec<f64>>,
    pub(crate) flushes: BTreeMap<Adapter, Option<f64>>,
}

impl Figures {
    pub(crate) fn add(&mut self, adapter: Adapter, what: What, rate: f64) {
        self.rates.entry((adapter, what)).or_default().push(rate);
    }

    fn median(&self, adapter: Adapter, what: What) -> f64 {
        let mut rates = self.rates[&(adapter, what)].clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    pub(crate) fn print(&self) {
        println!(
            "| per second, median | messages of one client | raw append + fdatasync | share | flushes per message |"
        );
        println!("|---|---|---|---|---|");
        for (adapter, flushes) in &self.flushes {
            let (sends, raw) = (self.median(*adapter, What::Sends), self.median(*adapter, What::Raw));
            let flushes = flushes.map_or("not counted".to_owned(), |flushes| format!("{flushes:.2}"));
            println!("| {adapter} | {sends:.0} | {raw:.0} | {:.2} | {flushes} |", sends / raw);
        }
        println!("\n| bare commits per second | 1 at once | 8 at once | 64 at once | 1, share of raw |");
        println!("|---|---|---|---|---|");
        for adapter in self.flushes.keys() {
            self.print_commits(*adapter, "", What::Commits);
            if *adapter == Adapter::File {
                self.print_commits(*adapter, ", `checkpoint_len` 16 MiB", What::LongLogCommits);
            }
        }
        println!(
            "\n| 64 clients, messages per second | on the disk | in memory, where flushing costs nothing | ratio |"
        );
        println!("|---|---|---|---|");
        for adapter in self.flushes.keys() {
            let [flushed, unflushed] = [What::Clients, What::ClientsUnflushed].map(|what| self.median(*adapter, what));
            println!("| {adapter} | {flushed:.0} | {unflushed:.0} | {:.2} |", flushed / unflushed);
        }
    }

    fn print_commits(&self, adapter: Adapter, setting: &str, what: fn(usize) -> What) {
        let [one, eight, many] = AT_ONCE.map(|at_once| self.median(adapter, what(at_once)));
        let share = one / self.median(adapter, What::Raw);
        println!("| {adapter}{setting} | {one:.0} | {eight:.0} | {many:.0} | {share:.2} |");
    }
}
