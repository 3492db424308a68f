//! Version 1 of everything that is stored: run records, release sets, and what caches hold of events.
//!
//! These types are the format. They are made of the core types, and can be made back into them.

mod event;
mod facts;
mod plan;
mod release;

pub use event::*;
pub use facts::*;
pub use plan::*;
pub use release::*;

use serde::{Deserialize, Serialize};
use shipline_model::name::NameError;
use shipline_model::tag::TagError;

/// The version.
pub const VERSION: u32 = 1;

/// Stored text that is not of this version.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON of the right shape.
    #[error("it has another shape")]
    Shape(#[from] serde_json::Error),
    /// A name in it is none.
    #[error("a name in it is wrong")]
    Name(#[from] NameError),
    /// A tag in it is none.
    #[error("a tag in it is wrong")]
    Tag(#[from] TagError),
    /// A stage without the parameter that its kind has.
    #[error("a stage of kind `{0}` in it lacks its parameter")]
    Stage(&'static str),
}

/// The first line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The run.
    pub run: String,
    /// The command, as a person typed it.
    pub command: String,
}

/// `outcome.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFile {
    /// [`VERSION`].
    pub version: u32,
    /// How the run ended.
    pub summary: Summary,
}

/// An enum without fields and its core twin.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $core:ty { $($word:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[expect(missing_docs, reason = "the words are those of the core type")]
        pub enum $name { $($word),* }

        impl From<$core> for $name {
            fn from(core: $core) -> Self {
                match core { $(<$core>::$word => Self::$word),* }
            }
        }

        impl From<$name> for $core {
            fn from(stored: $name) -> Self {
                match stored { $($name::$word => Self::$word),* }
            }
        }
    )*};
}
pub(super) use words;

/// Makes each element of a list into its twin.
fn all<T, U: From<T>>(list: impl IntoIterator<Item = T>) -> Vec<U> {
    list.into_iter().map(U::from).collect()
}

/// The same where it can fail.
fn try_all<T, U: TryFrom<T, Error = Unreadable>>(
    list: impl IntoIterator<Item = T>,
) -> Result<Vec<U>, Unreadable> {
    list.into_iter().map(U::try_from).collect()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
