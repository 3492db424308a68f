//! `pipeline.yaml`: what is accepted, what it means, and what is said of one that is wrong.

mod accepted;
mod mutated;
mod refused;

use miette::{GraphicalReportHandler, GraphicalTheme};
use shipline_model::config::{self, Config};

/// Every key of the language.
const GOOD: &str = include_str!("good.yaml");

/// An ordinary file.
const BASE: &str = include_str!("base.yaml");

/// Loads a text that must be right.
fn load(text: &str) -> Config {
    config::load("pipeline.yaml", text).unwrap_or_else(|errors| panic!("{}", drawn(&errors)))
}

/// Errors as a person sees them, without colours, 80 columns wide.
fn drawn(errors: &config::ConfigErrors) -> String {
    let mut drawn = String::new();
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(80);
    if let Err(error) = handler.render_report(&mut drawn, errors) {
        panic!("not drawn: {error}");
    }
    drawn
}
