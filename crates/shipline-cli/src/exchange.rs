//! HTTP for the GitOps repository, made by the one HTTP client.

use std::io::Cursor;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_gitops::{HttpExchange, HttpMethod, HttpRequest, HttpResponse};
use shipline_oci::http::Client;
use tokio::runtime::Handle;

/// Makes exchanges on the calling thread, which must be none of the runtime's own.
pub(crate) struct Exchange {
    /// The client.
    pub(crate) client: Client,
    /// Where its connections live.
    pub(crate) runtime: Handle,
}

impl HttpExchange for Exchange {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let url = request.url.clone();
        let failed = |error| {
            BackendError::new(ErrorClass::Retryable, format!("reach {url}"))
                .because(error)
                .hint("check the address, the network and, behind a proxy, HTTPS_PROXY and the system's certificates")
        };
        let mut builder = match request.method {
            HttpMethod::Get => self.client.get(&request.url),
            HttpMethod::Post => self.client.post(&request.url),
        };
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        self.runtime.block_on(async {
            let response = builder.body(request.body).send().await.map_err(&failed)?;
            let status = response.status().as_u16();
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect();
            let body = response.bytes().await.map_err(&failed)?;
            Ok(HttpResponse {
                status,
                headers,
                body: Box::new(Cursor::new(body)),
            })
        })
    }
}
