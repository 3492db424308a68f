//! Files that are damaged at random: they are accepted or refused at places that are there, and never crash.

use proptest::prelude::*;
use shipline_model::config;

use super::{BASE, GOOD, drawn, load};

/// Pieces that mean something to YAML or to the language.
const PIECES: &[&str] = &[
    "",
    "\n",
    "  ",
    "\t",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "|\n",
    ">\n",
    "---\n",
    "null",
    "~",
    "true",
    "1",
    "é",
    "\u{1f600}",
    "\r\n",
    "<<: ",
    "${env.",
    "${",
    "staging",
    "frontend",
    "../",
    "/",
    "kind",
    "needs",
    "\0",
    "\u{feff}",
];

proptest! {
    #[test]
    fn damage_is_told_at_places_that_are_there(
        good in prop::sample::select(vec![BASE, GOOD]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12usize, prop::sample::select(PIECES)), 1..4),
    ) {
        let mut characters: Vec<char> = good.chars().collect();
        for (at, removed, piece) in edits {
            let at = at.index(characters.len());
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, piece.chars());
        }
        let text: String = characters.into_iter().collect();
        match config::load("pipeline.yaml", &text) {
            Ok(config) => {
                let shown = config::show(&config);
                prop_assert_eq!(config::show(&load(&shown)), shown);
            }
            Err(errors) => {
                prop_assert!(!errors.problems().is_empty());
                for problem in errors.problems() {
                    prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
                }
                prop_assert!(!drawn(&errors).is_empty());
            }
        }
    }
}
