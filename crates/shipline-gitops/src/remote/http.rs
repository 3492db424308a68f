//! HTTP as this crate needs it. Who makes the connections (and holds the TLS library) is handed in.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};

/// A request. Its headers may hold a credential: nothing prints them.
pub struct HttpRequest {
    /// Method.
    pub method: HttpMethod,
    /// The whole URL.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty for GET.
    pub body: Vec<u8>,
}

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// A response: content encodings are undone.
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body as it comes in.
    pub body: Box<dyn Read + Send>,
}

/// One HTTP exchange after the other, on the calling thread. Certificates are checked, redirects are given as they come and not
/// followed, nothing is tried twice, and headers reach no log.
pub trait HttpExchange: Send + Sync {
    /// Sends a request and gives the response, whatever its status.
    ///
    /// # Errors
    /// Where no response comes: `Unavailable` where nobody listens, `Retryable` for connections that fail otherwise or break,
    /// `Invalid` for certificates.
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError>;
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} ({} bytes)",
            self.method,
            self.url,
            self.body.len()
        )
    }
}

impl HttpResponse {
    /// A header's value; names are compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// How long the server asks to wait: in seconds, or until a time, measured by the server's own clock (RFC 9110, 10.2.3).
    fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let (until, now) = (http_date(text)?, http_date(self.header("date")?.trim())?);
        until.checked_sub(now).map(Duration::from_secs)
    }

    /// Where a redirect leads.
    pub(super) fn redirect(&self) -> Option<&str> {
        match self.status {
            301 | 302 | 303 | 307 | 308 => self.header("location"),
            _ => None,
        }
    }

    /// The response, if its status is 200.
    pub(super) fn successful(self, attempt: &str) -> Result<Self, BackendError> {
        let class = match self.status {
            200 => return Ok(self),
            401 | 403 => ErrorClass::Denied,
            404 => ErrorClass::NotFound,
            408 | 425 | 429 | 500..=599 => ErrorClass::Retryable,
            _ => ErrorClass::Failed,
        };
        let wait = self.retry_after();
        let message = format!("{attempt}: the server answered {}", self.status);
        let mut error = BackendError::new(class, message);
        error.retry_after = wait;
        Err(if class == ErrorClass::Denied {
            error.hint("Give a `token` that may write to the repository.")
        } else if class == ErrorClass::NotFound {
            error.hint(
                "Correct the URL, or give a `token`: hosts say the same of what may not be seen.",
            )
        } else {
            error
        })
    }
}

/// Seconds of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, `IMF-fixdate`), from the first day of March of year 0.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "MarAprMayJunJulAugSepOctNovDecJanFeb";
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = (0..12).find(|index| MONTHS.get(index * 3..index * 3 + 3) == Some(month))?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let fits = (1..=31).contains(&day)
        && (1..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits || words.next() != Some("GMT") {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let year = if month >= 10 { year - 1 } else { year };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month as u64 * 153 + 2) / 5 + day;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: &[(&str, &str)]) -> HttpResponse {
        HttpResponse {
            status: 503,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Box::new(std::io::empty()),
        }
    }

    #[test]
    fn a_server_says_how_long_to_wait() {
        let check = |headers: &[(&str, &str)], expected: Option<u64>| {
            let error = response(headers).successful("ask").err().unwrap();
            assert_eq!(
                error.retry_after,
                expected.map(Duration::from_secs),
                "{headers:?}"
            );
        };
        check(&[], None);
        check(&[("Retry-After", "7 ")], Some(7));
        check(&[("Retry-After", "-7")], None);
        check(&[("Retry-After", "soon")], None);
        check(&[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")], None);
        let date = ("Date", "Wed, 28 Feb 2024 23:59:50 GMT");
        check(
            &[date, ("retry-after", "Fri, 01 Mar 2024 00:00:10 GMT")],
            Some(24 * 3600 + 20),
        );
        check(
            &[date, ("retry-after", "Wed, 28 Feb 2024 23:59:49 GMT")],
            None,
        );
        let date = ("Date", "Sat, 31 Dec 2022 23:59:59 GMT");
        check(
            &[date, ("retry-after", "Sun, 01 Jan 2023 00:00:00 GMT")],
            Some(1),
        );
        for bad in [
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 ov1 1994 08:49:37 GMT",
        ] {
            check(&[date, ("retry-after", bad)], None);
        }
    }

    #[test]
    fn redirects_have_a_place() {
        let mut redirect = response(&[("Location", "/x")]);
        assert_eq!(redirect.redirect(), None);
        for status in [301, 302, 303, 307, 308] {
            redirect.status = status;
            assert_eq!(redirect.redirect(), Some("/x"));
        }
        redirect.status = 304;
        assert_eq!(redirect.redirect(), None);
    }
}
