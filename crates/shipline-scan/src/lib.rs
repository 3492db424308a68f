//! Shipline's scanners: what looks into images before they are published.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod inventory;
mod json;
mod layers;
pub mod sbom;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use shipline_engine::backend::Scanner;
use shipline_engine::error::BackendError;
use shipline_model::config::Config;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use inventory::fuzz;
pub use layers::StoreReader;

/// Makes the table of scanners. Each is a module with its `RULES` and a `scanner` made from the configuration.
macro_rules! scanners {
    ($($module:ident,)*) => {
        $(pub mod $module;)*

        /// The IDs of all rules that findings of this version have.
        #[must_use]
        pub fn rules() -> Vec<&'static str> {
            [$($module::RULES),*].concat()
        }

        /// All scanners, as a configuration sets them up.
        ///
        /// # Errors
        /// `Invalid` where it does not fit one of them.
        pub fn scanners(config: &Config) -> Result<Vec<Arc<dyn Scanner>>, BackendError> {
            Ok(vec![$(Arc::new($module::scanner(config)?)),*])
        }
    };
}

scanners! {
    leaks,
}
