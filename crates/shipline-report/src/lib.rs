//! Shipline's reporters: events to terminal, plain lines and JSON lines.
//!
//! A reporter writes only to the writer that it is given, reads no clock and no environment, and falls silent for good when
//! its writer breaks.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod describe;
mod json;
mod meter;
mod opening;
mod plain;
mod sarif;
mod screen;
mod sink;
mod style;
mod summary;
mod terminal;
mod text;
mod wrap;

pub use json::JsonReporter;
pub use plain::PlainReporter;
pub use sarif::SarifWriter;
pub use screen::{Size, Sizes};
pub use style::Palette;
pub use summary::{Signpost, Signposts, Summary};
pub use terminal::{Clock, TerminalReporter, Ticking};
pub use text::bytes;
pub use wrap::wrapped;
