//! The entry point of the fuzz target for what registries say. See [`crate::fuzz`].

use shipline_http::Url;
use shipline_http::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};

use super::challenge::Challenge;
use super::limit::PullLimit;
use super::manifests::next_link;
use super::scope;
use super::token::TokenAnswer;

/// Reads what registries and token servers say: challenges, links, limits, tokens, addresses.
pub fn challenge(bytes: &[u8]) {
    if let Ok(answer) = TokenAnswer::read(bytes) {
        assert!(!answer.token.trim().is_empty());
        assert!((60..=24 * 3600).contains(&answer.lifetime.as_secs()));
    }
    let mut headers = HeaderMap::new();
    let lines = bytes.split(|byte| *byte == b'\n').take(20);
    for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        for name in [
            "ratelimit-limit",
            "ratelimit-remaining",
            "docker-ratelimit-source",
        ] {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
        if let Ok(text) = value.to_str() {
            if let Some(address) = next_link(text) {
                assert!(text.contains(address));
            }
            shown(text);
        }
        headers.append(WWW_AUTHENTICATE, value);
    }
    for challenge in Challenge::all(&headers) {
        assert!(!challenge.scheme.is_empty());
        let asked = challenge.get("scope").unwrap_or_default();
        let whole = scope::with("repository:a:pull", asked);
        assert!(whole.starts_with("repository:a:pull") && whole.len() < 16 * 1024);
        let _ = challenge.get("realm").map(Url::parse);
    }
    if let Some(limit) = PullLimit::read(&headers) {
        assert!(!limit.to_string().is_empty());
        let _ = limit.retry_after();
    }
}

/// An address is shown without its login and its query.
fn shown(text: &str) {
    const SECRET: &str = "5ecre7-0f-n0b0dy";
    if text.contains(SECRET) {
        return;
    }
    let Ok(mut url) = Url::parse(text) else {
        return;
    };
    url.set_query(Some(SECRET));
    url.set_fragment(Some(SECRET));
    if url.set_password(Some(SECRET)).is_ok() {
        assert!(!shipline_http::shown(&url).contains(SECRET), "{url}");
    }
}
