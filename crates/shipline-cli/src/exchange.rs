//! HTTP for the GitOps repository, made by the one HTTP client.

use shipline_engine::error::BackendError;
use shipline_gitops::{HttpExchange, HttpMethod, HttpRequest, HttpResponse};
use shipline_oci::exchange::{Exchange, Method};

/// Joins the two crates that must not know each other.
pub(crate) struct GitExchange(pub(crate) Exchange);

impl HttpExchange for GitExchange {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let method = match request.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
        };
        let answer = self
            .0
            .send(method, &request.url, &request.headers, request.body)?;
        Ok(HttpResponse {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        })
    }
}
