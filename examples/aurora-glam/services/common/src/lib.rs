//! What the six services share: configuration from the environment, errors as JSON, `/health`, an in-memory store,
//! and a server that stops gracefully.

mod config;
mod cors;
mod error;
mod extract;
mod log;
mod server;
mod store;
pub mod testing;
pub mod time;
mod validate;

pub use config::{Config, ConfigError, LogLevel};
pub use error::{ApiError, FieldProblem};
pub use extract::{JsonBody, Number, Params};
pub use server::{Service, app, serve};
pub use store::Store;
pub use validate::Checks;
