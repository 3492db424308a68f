//! Integration tests of the model.

#![allow(clippy::use_debug, reason = "what tests say when they fail")]

mod config;
