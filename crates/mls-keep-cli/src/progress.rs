//! Progress on standard error, when that is a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts towards `total`.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    started(ProgressBar::with_draw_target(Some(total), target()), "{msg} {wide_bar} {pos}/{len}", what)
}

/// Counts without an end that is known.
pub(crate) fn counter(what: &str) -> ProgressBar {
    started(ProgressBar::with_draw_target(None, target()), "{spinner} {msg} {pos}", what)
}

/// Counts bytes, towards `total` if that is known, and shows how long it has taken.
pub(crate) fn bytes(total: Option<u64>, what: &str) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {elapsed}, {eta} left",
        None => "{spinner} {msg} {bytes} {elapsed}",
    };
    started(ProgressBar::with_draw_target(total, target()), template, what)
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn started(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
