//! Where things stand in a YAML text, byte for byte.
//!
//! A [`Stream`] is the text as a tree whose every node knows its bytes. Config errors draw places with it, the GitOps
//! edit splices one scalar with it, and both prove afterwards that nothing else moved.

mod edit;
mod lex;
mod look;
mod parse;
mod tree;

#[cfg(test)]
mod tests;

pub use edit::{Edit, EditError, equal_but, replace_scalar, replace_scalars};
pub use look::{Place, place};
pub use parse::parse;
pub use tree::*;
