//! Version 1 of everything that is stored: run records, release sets, and what caches hold of events.
//!
//! What stands at the top of a file or a line has a type of its own here; what is in it (names, plans, images) is the core type,
//! which derives how it is stored. Within the major version, fields and kinds of events may be added and nothing else changes:
//! a reader leaves out fields that it does not know, and skips kinds with a note.

mod event;
mod finding;
mod release;

pub use event::*;
pub use finding::*;
pub use release::*;

use serde::{Deserialize, Serialize};
use shipline_model::name::{ComponentName, NameError, StageName};

use crate::event::RunSummary;

/// The major version. A reader refuses another one.
pub const VERSION: u32 = 1;

/// The minor version: it grows with what is added.
pub const MINOR: u32 = 1;

/// Stored text that is not of this version.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON of the right shape.
    #[error("it has another shape")]
    Shape(#[from] serde_json::Error),
    /// A name in it is none.
    #[error("a name in it is wrong")]
    Name(#[from] NameError),
    /// It is an event of a kind that a later version added.
    #[error("its kind is not known")]
    Kind,
}

/// The first line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// [`MINOR`] of who wrote it; absent in records of the first one.
    #[serde(default)]
    pub minor: u32,
    /// The run.
    pub run: String,
    /// The command, as a person typed it.
    pub command: String,
    /// The words of the command; absent in records of minor version 0.
    #[serde(default)]
    pub argv: Vec<String>,
    /// What was asked for; absent in records of minor version 0.
    #[serde(default)]
    pub selection: Option<Selection>,
}

/// What of a pipeline was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// `--base`.
    pub base: Option<String>,
    /// `--all`.
    pub all: bool,
    /// `--only`; empty: all stages.
    pub only: Vec<StageName>,
    /// `--component`; empty: all components.
    pub components: Vec<ComponentName>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--deliver`.
    pub deliver: bool,
}

/// `outcome.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFile {
    /// [`VERSION`].
    pub version: u32,
    /// How the run ended.
    pub summary: RunSummary,
}
