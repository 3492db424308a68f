//! Where an image can be had: a mirror, where one is named for its registry, and then the registry itself. What comes from
//! either is held against its digest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use shipline_engine::backend::Registry as _;
use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use shipline_http::RetryPolicy;

use super::{ImageReference, PullSettings};
use crate::registry::DistributionRegistry;
use crate::registry::distribution::{RegistryAddress, Security};

/// Tries at a mirror: behind it is another place that has the same.
const MIRROR_TRIES: u32 = 2;

/// The places of one registry's images.
#[derive(Debug)]
pub(super) struct Places {
    host: String,
    mirror: Option<Mirror>,
    origin: DistributionRegistry,
}

#[derive(Debug)]
struct Mirror {
    registry: DistributionRegistry,
    /// It cannot be reached, and is not asked again.
    given_up: AtomicBool,
}

impl Places {
    /// The places of `host`.
    pub(super) fn new(host: &str, settings: &PullSettings) -> Result<Self, BackendError> {
        let reach = |address: RegistryAddress, retries: RetryPolicy| {
            DistributionRegistry::new(
                address,
                settings.http.clone(),
                Arc::clone(&settings.credentials),
                retries,
                Faults::none(),
            )
        };
        let mirror = settings.mirrors.get(host).map(|address| Mirror {
            registry: reach(
                address.clone(),
                RetryPolicy {
                    attempts: settings.retries.attempts.min(MIRROR_TRIES),
                    ..settings.retries.clone()
                },
            ),
            given_up: AtomicBool::new(false),
        });
        Ok(Self {
            host: host.to_owned(),
            mirror,
            origin: reach(
                RegistryAddress::parse(host, Security::Required)?,
                settings.retries.clone(),
            ),
        })
    }

    /// Asks the mirror and then, where it fails or does not have it, the registry itself, and says so. A mirror that cannot be
    /// reached is not asked again.
    pub(super) async fn ask<'a, T>(
        &'a self,
        reference: &ImageReference,
        task: &TaskContext,
        ask: impl Fn(&'a DistributionRegistry) -> BoxFuture<'a, Result<Option<T>, BackendError>>
        + Send
        + Sync,
    ) -> Result<Option<T>, BackendError> {
        if let Some(mirror) = &self.mirror
            && !mirror.given_up.load(Ordering::SeqCst)
        {
            let why = match ask(&mirror.registry).await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => "does not have it".to_owned(),
                Err(error) if error.class == ErrorClass::Cancelled => return Err(error),
                Err(error) => {
                    let gone = [ErrorClass::Retryable, ErrorClass::Unavailable];
                    if gone.contains(&error.class) {
                        mirror.given_up.store(true, Ordering::SeqCst);
                    }
                    format!("failed ({})", chain(&error))
                }
            };
            task.note(format!(
                "{reference}: the mirror {} {why}; {} itself is asked",
                mirror.registry.name(),
                self.host
            ))
            .await;
        }
        ask(&self.origin).await
    }
}
