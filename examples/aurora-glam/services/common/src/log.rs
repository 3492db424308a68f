//! One JSON line on stdout for each request: what a log collector in the cluster reads.

use std::io::Write;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;

use crate::config::LogLevel;

#[derive(Clone, Copy)]
pub(crate) struct AccessLog {
    pub(crate) service: &'static str,
    pub(crate) level: LogLevel,
}

/// Passes a request on and logs how it went. Probes (`/health`) are only logged when they fail.
pub(crate) async fn requests(
    State(log): State<AccessLog>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let wanted = match log.level {
        LogLevel::Info => path != "/health" || !status.is_success(),
        LogLevel::Error => status.is_server_error(),
    };
    if wanted {
        line(json!({
            "service": log.service,
            "method": method,
            "path": path,
            "status": status.as_u16(),
            "milliseconds": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
    response
}

/// Writes one line. A closed stdout is no reason to stop serving.
pub(crate) fn line(entry: serde_json::Value) {
    let _ = writeln!(std::io::stdout().lock(), "{entry}");
}
