//! Shipline's reporters: events to terminal, plain lines and JSON lines.
//!
//! A reporter writes only to the writer that it is given, reads no clock and no environment, and falls silent for good when
//! its writer breaks.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod describe;
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

use std::io::Write;

use shipline_engine::event::Reporter;

pub use json::JsonReporter;
pub use plain::PlainReporter;
pub use sarif::SarifWriter;
pub use screen::{Size, Sizes};
pub use style::Palette;
pub use summary::{Signpost, Signposts, Summary};
pub use terminal::{Clock, TerminalReporter, Ticking};
pub use text::bytes;
pub use wrap::wrapped;

/// A form in which events are written for other programs.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Makes a reporter that writes it.
    pub make: fn(Box<dyn Write + Send>) -> Box<dyn Reporter + Send>,
}

/// Makes the table of formats. Each is a module with its `FORMAT`.
macro_rules! formats {
    ($($module:ident,)*) => {
        $(mod $module;)*

        /// All forms in which events are written for other programs.
        pub const FORMATS: &[Format] = &[$($module::FORMAT),*];
    };
}

formats! {
    json,
}
