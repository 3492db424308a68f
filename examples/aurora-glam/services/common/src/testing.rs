//! Requests to a service in the same process: what the services' HTTP tests use.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response};
use serde_json::Value;
use tower_service::Service as _;

use crate::config::Config;
use crate::server::{Service, app};

/// A service as it would answer over the network.
#[derive(Debug)]
pub struct Client {
    router: Router,
}

impl Client {
    /// A service with the default configuration.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self::configured(service, &[])
    }

    /// A service with these variables in its environment.
    ///
    /// # Panics
    /// Where the variables cannot be used.
    #[must_use]
    pub fn configured(service: Service, variables: &[(&str, &str)]) -> Self {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        };
        match Config::read(service.port, lookup) {
            Ok(config) => Self {
                router: app(service, &config),
            },
            Err(error) => panic!("{error}"),
        }
    }

    /// `GET path`: status and JSON.
    pub async fn get(&mut self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body: status and JSON.
    pub async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::POST, path, Some(body.to_string()))
            .await
    }

    /// Any request with a body that is said to be JSON: status and JSON (`null` where the answer has none).
    ///
    /// # Panics
    /// Where the request cannot be made or the answer cannot be read.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.unwrap_or_default()));
        let response = match request {
            Ok(request) => self.send(request).await,
            Err(error) => panic!("{path}: {error}"),
        };
        let status = response.status().as_u16();
        let body: Bytes = match to_bytes(response.into_body(), 1 << 20).await {
            Ok(body) => body,
            Err(error) => panic!("{path}: {error}"),
        };
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A request as it is.
    pub async fn send(&mut self, request: Request<Body>) -> Response<Body> {
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
