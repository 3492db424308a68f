//! HTTP/1.1 (RFC 9112) as far as a server of files needs it: requests without a body in, whole answers out.

use crate::site::{Caching, Found, Page, Site};

/// The longest head of a request that is read.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;

/// The head of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) if_none_match: Option<String>,
    pub(crate) connection: Connection,
}

/// What happens after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    KeepAlive,
    Close,
}

/// What the bytes that came so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The beginning of a head.
    Partial,
    /// A head of that many bytes.
    Whole(Request, usize),
    /// No head, or one that is too long.
    Bad(&'static str),
}

/// Reads a request's head.
pub(crate) fn parse(bytes: &[u8]) -> Head {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() >= LONGEST_HEAD {
            Head::Bad("431 Request Header Fields Too Large")
        } else {
            Head::Partial
        };
    };
    match std::str::from_utf8(&bytes[..end]).ok().and_then(request) {
        Some(request) => Head::Whole(request, end + 4),
        None => Head::Bad("400 Bad Request"),
    }
}

fn request(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || method.is_empty() || target.is_empty() {
        return None;
    }
    let mut connection = match version {
        "HTTP/1.1" => Connection::KeepAlive,
        "HTTP/1.0" => Connection::Close,
        _ => return None,
    };
    let mut if_none_match = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.is_empty() || name.contains([' ', '\t']) {
            return None;
        }
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("connection") {
            if value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("close"))
            {
                connection = Connection::Close;
            }
        } else if name.eq_ignore_ascii_case("if-none-match") {
            if_none_match = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && value != "0")
        {
            // A body that nobody reads would be taken for the next request.
            connection = Connection::Close;
        }
    }
    Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        if_none_match,
        connection,
    })
}

/// The whole answer to a request, at a time in seconds since 1970 UTC.
pub(crate) fn answer(site: &Site, request: &Request, now: u64) -> Vec<u8> {
    let body = match request.method.as_str() {
        "GET" => Body::Send,
        "HEAD" => Body::Omit,
        _ => {
            let allow = [("Allow", "GET, HEAD")];
            return write(
                "405 Method Not Allowed",
                now,
                &allow,
                b"",
                Body::Send,
                request.connection,
            );
        }
    };
    let connection = request.connection;
    if request.target.split('?').next() == Some("/health") {
        let fields = [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
        ];
        return write(
            "200 OK",
            now,
            &fields,
            br#"{"status":"ok","service":"frontend"}"#,
            body,
            connection,
        );
    }
    match site.find(&request.target) {
        Found::Page(page) if known(page, request.if_none_match.as_deref()) => {
            let fields = [
                ("ETag", page.etag.as_str()),
                ("Cache-Control", caching(page)),
            ];
            write(
                "304 Not Modified",
                now,
                &fields,
                b"",
                Body::None,
                connection,
            )
        }
        Found::Page(page) => {
            let fields = [
                ("Content-Type", page.mime),
                ("ETag", page.etag.as_str()),
                ("Cache-Control", caching(page)),
            ];
            write("200 OK", now, &fields, &page.body, body, connection)
        }
        Found::Moved(to) => write(
            "308 Permanent Redirect",
            now,
            &[("Location", &to)],
            b"",
            body,
            connection,
        ),
        Found::Nothing => {
            let (mime, content) = match site.not_found() {
                Some(page) => (page.mime, page.body.as_slice()),
                None => ("text/plain; charset=utf-8", b"not found\n".as_slice()),
            };
            let fields = [("Content-Type", mime), ("Cache-Control", "no-store")];
            write("404 Not Found", now, &fields, content, body, connection)
        }
    }
}

/// The answer to what is no request; the connection is closed after it.
pub(crate) fn refuse(status: &str, now: u64) -> Vec<u8> {
    write(status, now, &[], b"", Body::Send, Connection::Close)
}

fn known(page: &Page, if_none_match: Option<&str>) -> bool {
    if_none_match.is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim())
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == page.etag)
    })
}

fn caching(page: &Page) -> &'static str {
    match page.caching {
        Caching::Immutable => "public, max-age=31536000, immutable",
        Caching::Ask => "no-cache",
    }
}

/// What of the body is sent.
#[derive(Clone, Copy)]
enum Body {
    /// Its length and itself.
    Send,
    /// Its length (HEAD).
    Omit,
    /// Nothing (304).
    None,
}

fn write(
    status: &str,
    now: u64,
    fields: &[(&str, &str)],
    content: &[u8],
    body: Body,
    connection: Connection,
) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nDate: {}\r\nX-Content-Type-Options: nosniff\r\n",
        date(now)
    );
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match body {
        Body::Send | Body::Omit => head.push_str(&format!("Content-Length: {}\r\n", content.len())),
        Body::None => {}
    }
    if connection == Connection::Close {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    match body {
        Body::Send => bytes.extend_from_slice(content),
        Body::Omit | Body::None => {}
    }
    bytes
}

/// A time as HTTP writes it (RFC 9110, IMF-fixdate): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(now: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let (days, second) = (now / 86_400, now % 86_400);
    let weekday = WEEKDAYS.get((days % 7) as usize).unwrap_or(&"Thu");
    let mut day = days;
    let mut year = 1970;
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut name = "Dec";
    for (month, length) in MONTHS {
        let length = length + u64::from(month == "Feb" && leap(year));
        name = month;
        if day < length {
            break;
        }
        day -= length;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{weekday}, {:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT",
        day + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::tests::site;

    fn ask(head: &str) -> String {
        match parse(format!("{head}\r\n\r\n").as_bytes()) {
            Head::Whole(request, _) => {
                String::from_utf8(answer(&site(), &request, 784_111_777)).unwrap()
            }
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        assert_eq!(parse(b""), Head::Partial);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n"), Head::Partial);
        for bad in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/2",
            "GET / HTTP/1.1\r\nHost",
            "GET / HTTP/1.1\r\n a: b",
            "GET / HTTP/1.1 x",
        ] {
            let bytes = format!("{bad}\r\n\r\n");
            assert_eq!(
                parse(bytes.as_bytes()),
                Head::Bad("400 Bad Request"),
                "{bad}"
            );
        }
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(LONGEST_HEAD));
        assert_eq!(
            parse(long.as_bytes()),
            Head::Bad("431 Request Header Fields Too Large")
        );
        match parse(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b") {
            Head::Whole(request, length) => {
                assert_eq!((request.target.as_str(), length), ("/a", 28))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn connections_stay_open_unless_they_must_not() {
        for (head, expected) in [
            ("GET / HTTP/1.1", Connection::KeepAlive),
            (
                "GET / HTTP/1.1\r\nConnection: keep-alive, Close",
                Connection::Close,
            ),
            ("GET / HTTP/1.0", Connection::Close),
            ("GET / HTTP/1.1\r\nContent-Length: 0", Connection::KeepAlive),
            ("GET / HTTP/1.1\r\nContent-Length: 5", Connection::Close),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked",
                Connection::Close,
            ),
        ] {
            assert_eq!(
                request(head).map(|request| request.connection),
                Some(expected),
                "{head}"
            );
        }
    }

    #[test]
    fn pages_come_with_type_length_and_caching() {
        assert_eq!(
            ask("GET /_next/static/chunks/a-1.js HTTP/1.1"),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Type: text/javascript; charset=utf-8\r\nETag: \"4-0bb51791194b4414\"\r\n\
             Cache-Control: public, max-age=31536000, immutable\r\nContent-Length: 4\r\n\r\ncode"
        );
        let head = ask("HEAD /book HTTP/1.1");
        assert!(
            head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        assert!(head.contains("Cache-Control: no-cache\r\n"), "{head}");
    }

    #[test]
    fn dates() {
        for (now, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(date(now), expected);
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = ask("GET /book HTTP/1.1");
        let etag = first
            .split("ETag: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .unwrap();
        for tags in [etag.to_owned(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = ask(&format!("GET /book HTTP/1.1\r\nIf-None-Match: {tags}"));
            assert!(
                again.starts_with("HTTP/1.1 304 ") && again.ends_with("\r\n\r\n"),
                "{again}"
            );
        }
        assert!(ask("GET /book HTTP/1.1\r\nIf-None-Match: \"x\"").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn the_rest_is_refused_politely() {
        let lost = ask("GET /nowhere HTTP/1.1");
        assert!(
            lost.starts_with("HTTP/1.1 404 ") && lost.ends_with("lost"),
            "{lost}"
        );
        let posted = ask("POST /book HTTP/1.1");
        assert!(
            posted.starts_with("HTTP/1.1 405 ") && posted.contains("Allow: GET, HEAD\r\n"),
            "{posted}"
        );
        let moved = ask("GET /book/ HTTP/1.1");
        assert!(
            moved.starts_with("HTTP/1.1 308 ") && moved.contains("Location: /book\r\n"),
            "{moved}"
        );
        let health = ask("GET /health HTTP/1.1");
        assert!(
            health.ends_with(r#"{"status":"ok","service":"frontend"}"#),
            "{health}"
        );
    }
}
