//! What carries a plan out: the run loop, its events, child processes, redaction, records, and the traits of the
//! backends that stages work with. No vendor is named here.

pub mod backend;
pub mod error;
pub mod event;
pub mod fault;
pub mod task;
