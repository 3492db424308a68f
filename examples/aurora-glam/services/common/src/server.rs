//! The server: a service's routes between `/health`, the access log and a graceful end.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::error::ApiError;
use crate::{cors, log};

/// How long requests that are under way may take after SIGTERM; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);

/// A service: what differs between the six binaries.
#[derive(Debug)]
pub struct Service {
    /// Its name in logs and in `/health`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The port that it listens on unless `PORT` says otherwise.
    pub port: u16,
    /// Its resources, below `/api/v1`.
    pub routes: Router,
}

/// A service's routes with all that they share.
pub fn app(service: Service, config: &Config) -> Router {
    let health = json!({
        "status": "ok",
        "service": service.name,
        "version": service.version,
        "environment": config.environment,
    });
    let access_log = log::AccessLog {
        service: service.name,
        level: config.log_level,
    };
    let allowed: Arc<[String]> = config.allowed_origins.clone().into();
    Router::new()
        .route("/health", get(move || async move { Json(health) }))
        .nest("/api/v1", service.routes)
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(|| async { ApiError::NoMethod })
        .layer(middleware::from_fn_with_state(allowed, cors::origins))
        .layer(middleware::from_fn_with_state(access_log, log::requests))
}

/// Runs a service until SIGTERM or SIGINT: the whole of each binary's `main`.
pub fn serve(service: Service) -> ExitCode {
    let name = service.name;
    match start(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(service: Service) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::read(service.port, |name| std::env::var(name).ok())?;
    let name = service.name;
    let router = app(service, &config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("failed to listen on {address}: {error}"))?;
        log::line(
            json!({"service": name, "listening": config.port, "environment": config.environment}),
        );
        let stopping = Arc::new(tokio::sync::Notify::new());
        let announced = Arc::clone(&stopping);
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            announced.notify_one();
        });
        let deadline = async {
            stopping.notified().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = serving.into_future() => ended?,
            () = deadline => {}
        }
        log::line(json!({"service": name, "stopped": true}));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request};

    use super::*;
    use crate::testing::Client;

    fn service() -> Service {
        let routes = Router::new().route("/things", get(|| async { "things" }));
        Service {
            name: "thing-service",
            version: "1.2.3",
            port: 8000,
            routes,
        }
    }

    #[tokio::test]
    async fn health_says_what_runs_where() {
        let mut client = Client::configured(service(), &[("ENVIRONMENT", "staging")]);
        let (status, body) = client.get("/health").await;
        assert_eq!(status, 200);
        assert_eq!(
            body,
            json!({"status": "ok", "service": "thing-service", "version": "1.2.3", "environment": "staging"})
        );
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_json_errors() {
        let mut client = Client::new(service());
        for path in ["/", "/api/v1", "/api/v1/other", "/things"] {
            let (status, body) = client.get(path).await;
            assert_eq!(
                (status, body["error"]["code"].as_str()),
                (404, Some("no_route")),
                "{path}"
            );
        }
        let (status, body) = client.request(Method::DELETE, "/api/v1/things", None).await;
        assert_eq!(
            (status, body["error"]["code"].as_str()),
            (405, Some("no_method"))
        );
    }

    #[tokio::test]
    async fn only_configured_origins_are_let_in() {
        let mut client = Client::configured(
            service(),
            &[("ALLOWED_ORIGINS", "https://staging.aurora-glam.com")],
        );
        for (origin, expected) in [
            (
                "https://staging.aurora-glam.com",
                Some("https://staging.aurora-glam.com"),
            ),
            ("https://aurora-glam.com", None),
        ] {
            for method in [Method::GET, Method::OPTIONS] {
                let request = Request::builder()
                    .method(method)
                    .uri("/api/v1/things")
                    .header("origin", origin)
                    .body(Body::empty())
                    .unwrap();
                let response = client.send(request).await;
                assert!(response.status().is_success());
                let allowed = response.headers().get("access-control-allow-origin");
                assert_eq!(allowed.and_then(|value| value.to_str().ok()), expected);
            }
        }
    }
}
