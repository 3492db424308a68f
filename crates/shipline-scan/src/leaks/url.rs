//! The URLs that belong to an environment, and whether one of them stands around a host name in a text.

use shipline_model::name::EnvironmentName;

use super::escape::{self, unit};

/// Bytes that may stand between `//` and a host: a user and a password.
const LONGEST_USER: usize = 128;

/// Bytes of a URL that are shown behind what was looked for.
const LONGEST_TAIL: usize = 512;

/// Bytes before a host that decide whether it is one.
pub(super) const LOOK_BEHIND: usize = LONGEST_USER + 6 * escape::LONGEST;

/// Schemes of browsers; a host and path are the same place with each of them. The longer of two with the same end first.
const SCHEMES: &[&str] = &["https", "http", "wss", "ws"];

/// What kind of file a text is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Text: a URL ends at a border.
    Text,
    /// A compiled program: its strings lie end to end, so nothing can be told from what follows a path.
    Binary,
}

/// A URL that belongs to one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiUrl {
    /// The environment.
    pub(super) environment: EnvironmentName,
    /// As it is configured.
    pub(super) written: String,
    /// In lower case.
    pub(super) host: String,
    /// Unless it is the scheme's own.
    port: Option<u16>,
    /// Unescaped, from its `/`, without one at its end; empty where there is none.
    path: Vec<u8>,
}

/// Where a URL stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it begins: its scheme, its `//`, or its host.
    pub(super) start: usize,
    /// Where what was looked for ends.
    pub(super) end: usize,
    /// The whole URL as far as its path goes, unescaped, without user and password.
    pub(super) shown: String,
}

impl ApiUrl {
    /// Reads a configured URL; `None` where it is none.
    pub(super) fn parse(environment: &EnvironmentName, text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
        let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            Some(_) | None => (authority, None),
        };
        let default = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => Some(443),
            "http" | "ws" => Some(80),
            _ => None,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return None;
        }
        Some(Self {
            environment: environment.clone(),
            written: text.to_owned(),
            host,
            port: port.filter(|port| Some(*port) != default),
            path: unescaped(path.trim_end_matches('/').as_bytes()),
        })
    }

    /// The start of a text that names this URL and no more: the least that an exception has to spell out to mean it. All of a
    /// text in which nothing shorter does.
    pub(super) fn stem_of<'t>(&self, shown: &'t str) -> &'t str {
        let ends = shown.char_indices().map(|(at, _)| at).skip(1);
        let stems = ends.map(|end| &shown[..end]);
        stems
            .filter(|stem| stem.len() >= self.host.len())
            .find(|stem| self.is_named_by(stem))
            .unwrap_or(shown)
    }

    /// Whether a text is this URL or one below it, with whatever scheme.
    fn is_named_by(&self, text: &str) -> bool {
        let whole = match text.split_once("://") {
            Some(_) => text.to_owned(),
            None => format!("https://{}", text.trim_start_matches("//")),
        };
        Self::parse(&self.environment, &whole).is_some_and(|named| {
            named.host == self.host
                && named.port == self.port
                && named
                    .path
                    .strip_prefix(self.path.as_slice())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// How many bytes behind the start of its host decide whether it stands there and what is shown of it.
    pub(super) fn look_ahead(&self) -> usize {
        self.host.len() + (self.path.len() + 16) * escape::LONGEST + LONGEST_TAIL
    }

    /// Whether it stands where its host stands at `host..`.
    pub(super) fn at(&self, text: &[u8], host: usize, content: Content) -> Option<Found> {
        let (start, scheme) = self.before(text, host)?;
        let after_port = self.after_host(text, host + self.host.len())?;
        let end = self.after_path(text, after_port)?;
        let bound = match (content, self.path.is_empty()) {
            (Content::Binary, false) => true,
            (Content::Binary | Content::Text, _) => is_border(text, end),
        };
        bound.then(|| {
            let port = self.port.map_or(String::new(), |port| format!(":{port}"));
            let path = String::from_utf8_lossy(&self.path);
            let tail = tail(text, end);
            let shown = format!("{scheme}{}{port}{path}{tail}", self.host);
            Found { start, end, shown }
        })
    }

    /// What stands before the host: a scheme and `//`, only `//`, or, where there is a path to tell it by, a border.
    fn before(&self, text: &[u8], host: usize) -> Option<(usize, String)> {
        if let Some(start) = slashes(text, host) {
            return Some(scheme(text, start));
        }
        if host > 0 && text[host - 1] == b'@' {
            let user = host.saturating_sub(LONGEST_USER)..host;
            for at in user.rev() {
                if let Some(start) = slashes(text, at) {
                    return Some(scheme(text, start));
                }
                if text[at].is_ascii_whitespace() || b"\"'`<>()".contains(&text[at]) {
                    return None;
                }
            }
            return None;
        }
        let alone = escape::last(text, host)
            .is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"-_./@".contains(&byte));
        (alone && !self.path.is_empty()).then(|| (host, String::new()))
    }

    /// Where the authority ends, if it is the host's and the port's.
    fn after_host(&self, text: &[u8], end: usize) -> Option<usize> {
        let mut end = end;
        let continues = |at: usize| match unit(text, at) {
            Some((byte, _)) => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
            None => false,
        };
        if continues(end) {
            return None;
        }
        if let Some((b'.', length)) = unit(text, end) {
            // `example.com.` is `example.com`, `example.com.evil` is not.
            if continues(end + length) {
                return None;
            }
            end += length;
        }
        if let Some((b'@', _)) = unit(text, end) {
            return None;
        }
        let (digits, port_end) = port(text, end);
        match (self.port, digits) {
            (Some(wanted), Some(found)) if wanted == found => Some(port_end),
            (None, None) => Some(end),
            (None, Some(80 | 443)) => Some(port_end),
            (Some(_) | None, Some(_)) | (Some(_), None) => None,
        }
    }

    /// Where the path ends, if the text goes on with it. Doubled slashes are one.
    fn after_path(&self, text: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        for wanted in &self.path {
            let (byte, length) = unit(text, at)?;
            if byte != *wanted {
                return None;
            }
            at += length;
            while *wanted == b'/'
                && let Some((b'/', length)) = unit(text, at)
            {
                at += length;
            }
        }
        Some(at)
    }
}

/// Where the `//` begins that ends at `end`.
fn slashes(text: &[u8], end: usize) -> Option<usize> {
    let second = escape::before(text, end, b'/')?;
    escape::before(text, second, b'/')
}

/// Where the URL begins whose `//` begins at `slashes`, and how that is shown.
fn scheme(text: &[u8], slashes: usize) -> (usize, String) {
    if let Some(colon) = escape::before(text, slashes, b':') {
        for scheme in SCHEMES {
            let start = colon.checked_sub(scheme.len());
            if let Some(start) = start
                && text[start..colon].eq_ignore_ascii_case(scheme.as_bytes())
            {
                return (start, format!("{scheme}://"));
            }
        }
    }
    (slashes, "//".to_owned())
}

/// The number behind a `:` at `at`, and where it ends.
fn port(text: &[u8], at: usize) -> (Option<u16>, usize) {
    let Some((b':', length)) = unit(text, at) else {
        return (None, at);
    };
    let start = at + length;
    let digits = text[start..]
        .iter()
        .take(6)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = std::str::from_utf8(&text[start..start + digits]).ok();
    // A number that is no port (99999) is not the one that is looked for either.
    let number = number
        .filter(|_| digits > 0)
        .map(|number| number.parse().unwrap_or(0));
    (number, start + digits)
}

/// Whether a URL ends here: what follows cannot go on its last segment.
fn is_border(text: &[u8], at: usize) -> bool {
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    match unit(text, at) {
        None => true,
        Some((byte, _)) if goes_on(byte) => false,
        // At the end of a sentence it is a border.
        Some((b'.' | b':' | b'@' | b'+' | b'=' | b'!' | b'*', length)) => {
            unit(text, at + length).is_none_or(|(next, _)| !goes_on(next))
        }
        Some(_) => true,
    }
}

/// What follows of the URL's path.
fn tail(text: &[u8], start: usize) -> String {
    let mut tail = String::new();
    let mut at = start;
    while let Some((byte, length)) = unit(text, at) {
        let end = at + length;
        if end > start + LONGEST_TAIL - escape::LONGEST
            || !(byte.is_ascii_alphanumeric() || b"-_~./:@+=".contains(&byte))
        {
            break;
        }
        tail.push(char::from(byte));
        at = end;
    }
    tail.truncate(tail.trim_end_matches(['.', ':']).len());
    tail
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some((byte, length)) = unit(text, at) {
        if !(byte == b'/' && bytes.last() == Some(&b'/')) {
            bytes.push(byte);
        }
        at += length;
    }
    bytes
}
