//! Docker's token protocol, as most registries but ECR have it: bearer tokens for scopes, from a token server, for a while.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::data;
use super::quirk::Quirk;
use super::server::{Answer, Asked, plain};
use super::state::State;

/// Path of the token server.
pub(super) const PATH: &str = "/token";
/// How long a token is good, in seconds.
const SECONDS: i64 = 300;
/// The identity token that the token server takes.
pub(super) const IDENTITY: &str = "identity of the tests";

/// Lets a request through that carries a token for what it wants.
pub(super) fn authorise(state: &State, asked: &Asked) -> Result<(), Box<Answer>> {
    let renamed = state
        .behaviour
        .quirks
        .iter()
        .any(|quirk| matches!(quirk, Quirk::RenamesScopes));
    let wanted = scope(asked).map(|(repository, action)| match renamed {
        true => (format!("stored/{repository}"), action),
        false => (repository.to_owned(), action),
    });
    let token = asked
        .header(&AUTHORIZATION)
        .and_then(|text| text.strip_prefix("Bearer "));
    let scopes = token.and_then(|token| state.bearer(token));
    let good = match (scopes, &wanted) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(scopes), Some((repository, action))) => scopes.iter().any(|scope| {
            let mut parts = scope.splitn(3, ':').skip(1);
            parts.next() == Some(repository.as_str())
                && parts
                    .next()
                    .is_some_and(|actions| actions.split(',').any(|known| known == *action))
        }),
    };
    if good {
        return Ok(());
    }
    let mut answer = data::error(
        StatusCode::UNAUTHORIZED,
        "UNAUTHORIZED",
        "authentication required",
    );
    let host = asked.header(&HOST).unwrap_or_default();
    let mut challenge = format!(
        "Bearer realm=\"{}://{host}{PATH}\",service=\"fake registry\"",
        state.scheme
    );
    if let Some((repository, action)) = wanted {
        challenge.push_str(&format!(",scope=\"repository:{repository}:{action}\""));
    }
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    Err(Box::new(answer))
}

/// The repository that a request is about, and what it does to it.
fn scope(asked: &Asked) -> Option<(&str, &'static str)> {
    let path = asked.path.strip_prefix("/v2/")?;
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|end| path.find(end)).min()?;
    let action = match asked.method {
        Method::GET | Method::HEAD => "pull",
        _ => "push",
    };
    Some((&path[..end], action))
}

/// The token server.
pub(super) fn token(state: &mut State, asked: &Asked) -> Answer {
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    let (allowed, fields) = match asked.method {
        Method::POST => {
            let token = Asked::field(&form, "refresh_token");
            let good = token.as_deref() == Some(IDENTITY)
                && Asked::field(&form, "grant_type").as_deref() == Some("refresh_token");
            (good, form)
        }
        _ => {
            let login = asked
                .header(&AUTHORIZATION)
                .and_then(|text| text.strip_prefix("Basic "))
                .and_then(|text| STANDARD.decode(text).ok())
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let password = login
                .as_deref()
                .and_then(|login| login.strip_prefix("AWS:"));
            let until = password.and_then(|password| state.token(password));
            (
                until.is_some_and(|until| until > state.now()),
                asked.query.clone(),
            )
        }
    };
    if !allowed || Asked::field(&fields, "service").as_deref() != Some("fake registry") {
        return data::error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "incorrect username or password",
        );
    }
    let scopes = Asked::fields(&fields, "scope")
        .flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let token = state.issue_bearer(scopes, SECONDS);
    // OAuth 2 calls it otherwise.
    let key = if asked.method == Method::POST {
        "access_token"
    } else {
        "token"
    };
    let body = json!({ key: token, "expires_in": SECONDS });
    plain(StatusCode::OK, "application/json", body.to_string().into())
}
