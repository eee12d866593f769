//! The log: one line an event, to stderr; its level follows the configuration.

use crate::config::LogLevel;
use std::io;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// How the level of the running log is changed; there is one log a process.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts the log, or changes its level.
pub(super) fn set_level(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    match LEVEL.get() {
        // The handle outlives the log only where the log was never started.
        Some(handle) => drop(handle.modify(|filter| *filter = level)),
        None => start(level),
    }
}

/// Starts the log.
fn start(level: LevelFilter) {
    let (filter, handle) = reload::Layer::new(level);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
    // Somebody who uses the library may have a log of their own, which stays.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}
