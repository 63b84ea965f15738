//! What `-v` prints: the events of the library, which hold no secret and no name.

use std::io;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Prints events to stderr from here on: none, those of operations, or those of single reads as well.
pub(crate) fn start(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // Ours alone: what a dependency says was not looked at.
    let ours = Targets::new().with_target("mls_keep", level);
    let printed = fmt::layer().with_writer(io::stderr).with_ansi(false).with_span_events(FmtSpan::CLOSE);
    tracing_subscriber::registry().with(ours).with(printed).init();
}
