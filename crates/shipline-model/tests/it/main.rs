//! Integration tests of the model.

mod config;
