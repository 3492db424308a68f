//! A token server's answer (Docker's token specification), in the forms in which servers give it.

use std::time::Duration;

use serde_json::Value;

/// Lifetime of a token whose server does not say it, and the shortest that the specification lets a server give.
const DEFAULT: Duration = Duration::from_secs(60);
/// No token is kept for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A token, and how long it is good.
#[derive(PartialEq, Eq)]
pub(super) struct TokenAnswer {
    pub(super) token: String,
    pub(super) lifetime: Duration,
}

/// An answer without a token. It may hold one that we did not understand, so nothing of it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoToken {
    #[error("the token server's answer is not the JSON of a token")]
    NoJson,
    #[error("the token server's answer holds no token")]
    Absent,
}

impl TokenAnswer {
    /// Reads an answer's body.
    pub(super) fn read(body: &[u8]) -> Result<Self, NoToken> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| NoToken::NoJson)?;
        if !answer.is_object() {
            return Err(NoToken::NoJson);
        }
        // Both names may be there, and one of them empty.
        let token = ["token", "access_token"]
            .iter()
            .filter_map(|name| answer.get(name)?.as_str())
            .map(str::trim)
            .find(|token| !token.is_empty())
            .ok_or(NoToken::Absent)?;
        let seconds = match answer.get("expires_in") {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
            _ => None,
        };
        let lifetime = seconds
            .filter(|seconds| seconds.is_finite())
            .and_then(|seconds| {
                Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()
            })
            .unwrap_or(DEFAULT);
        Ok(Self {
            token: token.to_owned(),
            // A server that says less, or nothing, would be asked again for every request.
            lifetime: lifetime.max(DEFAULT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_servers_write_them() {
        let check = |body: &str, expected: Result<(&str, u64), NoToken>| {
            let found = TokenAnswer::read(body.as_bytes());
            let found = found
                .as_ref()
                .map(|answer| (answer.token.as_str(), answer.lifetime.as_secs()))
                .map_err(|error| *error);
            assert_eq!(found, expected, "{body}");
        };
        check(r#"{"token":"t","expires_in":300}"#, Ok(("t", 300)));
        check(r#"{"token":"t","expires_in":"300"}"#, Ok(("t", 300)));
        check(r#"{"token":"t","expires_in":300.9}"#, Ok(("t", 300)));
        check(r#"{"token":"t","expires_in":"3.0e2"}"#, Ok(("t", 300)));
        check(r#"{"token":"t","expires_in":1e99}"#, Ok(("t", 86_400)));
        for odd in [
            "0", "-1", "null", "\"\"", "\"soon\"", "[]", "true", "\"NaN\"",
        ] {
            let body = format!(r#"{{"token":"t","expires_in":{odd},"issued_at":7}}"#);
            check(&body, Ok(("t", 60)));
        }
        check(r#"{"token":"","access_token":"a"}"#, Ok(("a", 60)));
        check(r#"{"token":null,"access_token":" a\n"}"#, Ok(("a", 60)));
        check(r#"{"token":"t","access_token":"a"}"#, Ok(("t", 60)));
        check(r#"{"token":7}"#, Err(NoToken::Absent));
        check("{}", Err(NoToken::Absent));
        check("[]", Err(NoToken::NoJson));
        check("<html>", Err(NoToken::NoJson));
        check("", Err(NoToken::NoJson));
    }
}
