//! The AWS SDK's requests through our own HTTP client: one TLS stack, one set of roots and proxies.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use shipline_http::{Client, Foreign};

/// Time limit for an answer where the SDK sets none.
const ANSWER: Duration = Duration::from_secs(60);
/// Most that is read of an answer: a hundred manifests of 4 MiB, escaped, would be the largest.
const ANSWER_BYTES: usize = 512 << 20;

/// Our HTTP client as the SDK wants it.
#[derive(Debug, Clone)]
pub(super) struct SharedClient(pub(super) Client);

impl HttpClient for SharedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            http: self.0.clone(),
            limit: settings.read_timeout().unwrap_or(ANSWER),
        })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    http: Client,
    limit: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.send(request).await })
    }
}

impl Connector {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?;
        let (parts, body) = request.into_parts();
        let body = body
            .bytes()
            .ok_or_else(|| ConnectorError::user("the request's body is a stream".into()))?
            .to_vec();
        let request = http::Request::from_parts(parts, body);
        let passed = self.http.pass(request, self.limit, ANSWER_BYTES).await;
        let answer = passed.map_err(failed)?.map(SdkBody::from);
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

fn failed(error: Foreign) -> ConnectorError {
    match error {
        Foreign::Late(_) => ConnectorError::timeout(error.into()),
        Foreign::Malformed(_) | Foreign::TooLong(_) => ConnectorError::user(error.into()),
        Foreign::Broken(_) => ConnectorError::io(error.into()),
    }
}
