//! Where things stand in a YAML text, byte for byte.
//!
//! A [`Stream`] is the text as a tree whose every node knows its bytes. Config errors draw places with it, the GitOps
//! edit splices one scalar with it, and both prove afterwards that nothing else moved.

mod tree;

pub use tree::*;
