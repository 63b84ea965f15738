//! What the operations took, and what was checked.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::meter::Written;

/// Figures by operation, in the order in which operations were first seen, and checks.
#[derive(Default)]
pub(super) struct Ledger {
    operations: Vec<Operation>,
    checks: Vec<Check>,
}

struct Operation {
    name: &'static str,
    /// In ascending order.
    taken: Vec<Duration>,
    commits: u64,
    bytes: u64,
}

struct Check {
    what: String,
    holds: bool,
}

impl Ledger {
    pub(super) fn add(&mut self, name: &'static str, taken: Duration, written: Written) {
        let at = self.operations.iter().position(|operation| operation.name == name).unwrap_or_else(|| {
            self.operations.push(Operation { name, taken: Vec::new(), commits: 0, bytes: 0 });
            self.operations.len() - 1
        });
        if let Some(operation) = self.operations.get_mut(at) {
            let at = operation.taken.partition_point(|other| *other <= taken);
            operation.taken.insert(at, taken);
            operation.commits += written.commits;
            operation.bytes += written.bytes;
        }
    }

    pub(super) fn check(&mut self, what: impl Into<String>, holds: bool) {
        self.checks.push(Check { what: what.into(), holds });
    }

    /// How many checks do not hold.
    pub(super) fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.holds).count()
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["operation", "count", "median ms", "worst ms", "commits", "bytes written"]);
        for operation in &self.operations {
            let (median, worst) = operation.median_and_worst();
            table.add_row([
                operation.name.to_owned(),
                operation.taken.len().to_string(),
                format!("{median:.2}"),
                format!("{worst:.2}"),
                operation.commits.to_string(),
                operation.bytes.to_string(),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| {
            column.set_cell_alignment(CellAlignment::Right);
        });
        table.trim_fmt()
    }

    pub(super) fn check_lines(&self) -> impl Iterator<Item = String> {
        self.checks.iter().map(|check| format!("{:<6} {}", if check.holds { "ok" } else { "FAILED" }, check.what))
    }

    pub(super) fn to_json(&self) -> Value {
        let operations: Vec<_> = self.operations.iter().map(Operation::to_json).collect();
        let checks: Vec<_> =
            self.checks.iter().map(|check| json!({ "what": check.what, "holds": check.holds })).collect();
        json!({ "operations": operations, "checks": checks })
    }
}

impl Operation {
    /// In milliseconds.
    fn median_and_worst(&self) -> (f64, f64) {
        let millis = |taken: Option<&Duration>| taken.map_or(0.0, |taken| taken.as_secs_f64() * 1000.0);
        (millis(self.taken.get(self.taken.len() / 2)), millis(self.taken.last()))
    }

    fn to_json(&self) -> Value {
        let (median, worst) = self.median_and_worst();
        json!({
            "operation": self.name,
            "count": self.taken.len(),
            "median_ms": median,
            "worst_ms": worst,
            "commits": self.commits,
            "bytes_written": self.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_by_operation() {
        let mut ledger = Ledger::default();
        for (millis, bytes) in [(3, 10), (1, 20), (2, 30)] {
            ledger.add("send", Duration::from_millis(millis), Written { commits: 1, bytes });
        }
        ledger.check("one", true);
        ledger.check("two", false);
        assert_eq!(ledger.failed(), 1);
        let value = ledger.to_json();
        assert_eq!(
            value["operations"][0],
            json!({
                "operation": "send",
                "count": 3,
                "median_ms": 2.0,
                "worst_ms": 3.0,
                "commits": 3,
                "bytes_written": 60,
            })
        );
        assert!(ledger.table().contains("send"));
        assert_eq!(ledger.check_lines().collect::<Vec<_>>(), ["ok     one", "FAILED two"]);
    }
}
