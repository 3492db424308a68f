//! What a status means, and how long its server asks to wait: the same for everybody who asks.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use shipline_engine::error::ErrorClass;

/// Longest wait that is read: longer than anybody waits.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The class of an error status (RFC 9110, 15.5 and 15.6).
#[must_use]
pub fn class(status: u16) -> ErrorClass {
    match status {
        401 | 403 | 407 => ErrorClass::Denied,
        404 | 410 => ErrorClass::NotFound,
        409 => ErrorClass::Conflict,
        // 425: too early. 499 and most of 5xx: proxies in between.
        408 | 425 | 429 | 499 => ErrorClass::Retryable,
        500 | 502..=504 | 507..=599 => ErrorClass::Retryable,
        501 | 505 | 506 => ErrorClass::Unavailable,
        _ => ErrorClass::Invalid,
    }
}

/// What a person can do where a proxy wants a login (407). `variable` names the proxy.
#[must_use]
pub fn proxy_login(variable: &str) -> String {
    format!(
        "the proxy wants a login: put it into the proxy's URL (`{variable}=http://USER:PASSWORD@HOST:PORT`), or name the host in NO_PROXY where it is reached directly"
    )
}

/// `Retry-After` (RFC 9110, 10.2.3) in seconds, whole or not, or as a date, measured by the server's own clock (`Date`) where it
/// shows one.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    let date = |text: &str| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    let asked = text(RETRY_AFTER)?;
    let wait = match asked.parse::<f64>() {
        Ok(seconds) => {
            Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())).ok()?
        }
        Err(_) => {
            let now = text(DATE).and_then(|now| date(&now));
            let now = now.unwrap_or_else(Timestamp::now);
            let left = date(&asked)?.as_second() - now.as_second();
            Duration::from_secs(u64::try_from(left).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(HeaderName, &str)], expected: Option<u64>) {
        let map = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let found = retry_after(&map).map(|wait| wait.as_secs());
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn the_wait_is_read_in_both_forms_and_bounded() {
        check(&[], None);
        for (text, expected) in [
            ("7", Some(7)),
            ("7 ", Some(7)),
            ("999999", Some(604_800)),
            ("1e300", Some(604_800)),
            ("2.5", Some(2)),
            ("-3", Some(0)),
            ("NaN", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("soon", None),
        ] {
            check(&[(RETRY_AFTER, text)], expected);
        }
    }

    #[test]
    fn a_date_is_measured_by_the_servers_clock() {
        let date = (DATE, "Wed, 28 Feb 2024 23:59:50 GMT");
        let until = |text| (RETRY_AFTER, text);
        check(
            &[date.clone(), until("Fri, 01 Mar 2024 00:00:10 GMT")],
            Some(24 * 3600 + 20),
        );
        check(
            &[date.clone(), until("Wed, 28 Feb 2024 23:59:49 GMT")],
            Some(0),
        );
        let eve = (DATE, "Sat, 31 Dec 2022 23:59:59 GMT");
        check(&[eve, until("Sun, 01 Jan 2023 00:00:00 GMT")], Some(1));
        for bad in [
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 ov1 1994 08:49:37 GMT",
        ] {
            check(&[date.clone(), until(bad)], None);
        }
    }

    #[test]
    fn statuses_have_classes() {
        for (status, expected) in [
            (400, ErrorClass::Invalid),
            (401, ErrorClass::Denied),
            (404, ErrorClass::NotFound),
            (407, ErrorClass::Denied),
            (409, ErrorClass::Conflict),
            (429, ErrorClass::Retryable),
            (500, ErrorClass::Retryable),
            (501, ErrorClass::Unavailable),
            (503, ErrorClass::Retryable),
            (599, ErrorClass::Retryable),
            (302, ErrorClass::Invalid),
        ] {
            assert_eq!(class(status), expected, "{status}");
        }
    }
}
