//! Pull limits as Docker Hub tells them: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 0;w=21600` and
//! `docker-ratelimit-source`, an address or an account's ID.

use std::fmt;
use std::time::Duration;

use shipline_http::header::HeaderMap;

/// How many pulls there may be in how long, and how many are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PullLimit {
    limit: u64,
    remaining: u64,
    window: Duration,
    source: Option<String>,
}

impl PullLimit {
    /// The limit that an answer tells, if it tells one.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let (limit, window) = count(&text("ratelimit-limit")?)?;
        let (remaining, _) = count(&text("ratelimit-remaining")?)?;
        Some(Self {
            limit,
            remaining,
            window: window?,
            source: text("docker-ratelimit-source"),
        })
    }

    /// When to try again, where nothing is left: the window is longer than anybody waits for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        (self.remaining == 0).then_some(self.window)
    }
}

impl fmt::Display for PullLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.window.as_secs() / 3600;
        let window = match hours {
            0 => format!("{} minutes", self.window.as_secs() / 60),
            1 => "hour".to_owned(),
            hours => format!("{hours} hours"),
        };
        write!(f, "{} pulls every {window} are allowed", self.limit)?;
        if let Some(source) = &self.source {
            write!(f, " to {source}")?;
        }
        write!(f, ", and {} are left", self.remaining)
    }
}

/// `100;w=21600`: a count, and the seconds that it holds for.
fn count(text: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = text.split(';').map(str::trim);
    let count = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((count, window.map(Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_and_told() {
        let check = |limit: &str, remaining: &str, expected: Option<(&str, Option<u64>)>| {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-limit", limit.parse().unwrap());
            headers.insert("ratelimit-remaining", remaining.parse().unwrap());
            headers.insert("docker-ratelimit-source", "192.0.2.1".parse().unwrap());
            let found = PullLimit::read(&headers);
            let found = found.as_ref().map(|found| {
                let after = found.retry_after().map(|after| after.as_secs());
                (found.to_string(), after)
            });
            let expected = expected.map(|(text, after)| (text.to_owned(), after));
            assert_eq!(found, expected, "{limit} {remaining}");
        };
        check(
            "100;w=21600",
            "0;w=21600",
            Some((
                "100 pulls every 6 hours are allowed to 192.0.2.1, and 0 are left",
                Some(21_600),
            )),
        );
        check(
            "10;w=3600",
            "3",
            Some((
                "10 pulls every hour are allowed to 192.0.2.1, and 3 are left",
                None,
            )),
        );
        check("100", "0", None);
        check("many;w=1", "0;w=1", None);
    }
}
