//! Looks for other environments' URLs in a stream, in one pass and with a bounded window.

use std::io::{self, Read};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use shipline_model::name::EnvironmentName;

use super::url::{ApiUrl, Content, LOOK_BEHIND};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Bytes from which it is told whether a file is a compiled program.
const SNIFFED: usize = 8 * 1024;

/// A foreign URL in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// Byte at which it begins.
    pub(super) offset: u64,
    /// Which of [`Search::urls`].
    pub(super) url: usize,
    /// The URL that stands there.
    pub(super) shown: String,
}

/// All environments' URLs, ready to be looked for.
#[derive(Debug)]
pub(super) struct Search {
    urls: Vec<ApiUrl>,
    /// Every host once.
    hosts: AhoCorasick,
    /// By host: its URLs.
    of_host: Vec<Vec<usize>>,
    look_ahead: usize,
}

/// Hits in one text; more say nothing more, and take memory.
const MOST_HITS: usize = 100_000;

impl Search {
    pub(super) fn new(urls: Vec<ApiUrl>) -> Result<Self, BuildError> {
        let mut hosts: Vec<&str> = urls.iter().map(|url| url.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let of_host = hosts.iter().map(|host| {
            let same = |index: &usize| urls[*index].host == *host;
            (0..urls.len()).filter(same).collect()
        });
        Ok(Self {
            of_host: of_host.collect(),
            hosts: AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::Standard)
                .kind(Some(aho_corasick::AhoCorasickKind::DFA))
                .build(&hosts)?,
            look_ahead: urls.iter().map(ApiUrl::look_ahead).max().unwrap_or(0),
            urls,
        })
    }

    pub(super) fn urls(&self) -> &[ApiUrl] {
        &self.urls
    }

    /// Finds what belongs to others than `own`, or to anybody where there is none. `step` is told how many bytes were looked at and may stop the search.
    pub(super) fn run(
        &self,
        own: Option<&EnvironmentName>,
        from: &mut dyn Read,
        step: &mut dyn FnMut(usize) -> io::Result<()>,
    ) -> io::Result<Vec<Hit>> {
        self.run_by(CHUNK, own, from, step)
    }

    fn run_by(
        &self,
        chunk: usize,
        own: Option<&EnvironmentName>,
        from: &mut dyn Read,
        step: &mut dyn FnMut(usize) -> io::Result<()>,
    ) -> io::Result<Vec<Hit>> {
        let mut hits = Vec::new();
        let mut window: Vec<u8> = Vec::new();
        // Where the window stands in the stream, and up to where in the window hosts have been judged.
        let (mut offset, mut judged) = (0_u64, 0_usize);
        let mut content = None;
        loop {
            let wanted = window.len() + chunk.max(if content.is_none() { SNIFFED } else { 0 });
            let more = (wanted - window.len()) as u64;
            let read = Read::take(&mut *from, more).read_to_end(&mut window)?;
            step(read)?;
            let ended = (read as u64) < more;
            let content = *content.get_or_insert_with(|| kind(&window));
            // A host is judged when all that decides about it is in the window.
            let limit = if ended {
                window.len()
            } else {
                window.len().saturating_sub(self.look_ahead).max(judged)
            };
            for found in self.hosts.find_overlapping_iter(&window[judged..]) {
                let host = judged + found.start();
                if host < limit
                    && hits.len() < MOST_HITS
                    && let Some(hit) =
                        self.judge(own, &window, host, found.pattern().as_usize(), content)
                {
                    hits.push(Hit {
                        offset: offset + hit.0 as u64,
                        url: hit.1,
                        shown: hit.2,
                    });
                }
            }
            if ended {
                break;
            }
            let passed = limit.saturating_sub(LOOK_BEHIND);
            window.drain(..passed);
            offset += passed as u64;
            judged = limit - passed;
        }
        hits.sort_by_key(|hit| hit.offset);
        Ok(hits)
    }

    /// The longest URL that stands around this host, if it is not the environment's own.
    fn judge(
        &self,
        own: Option<&EnvironmentName>,
        text: &[u8],
        host: usize,
        which: usize,
        content: Content,
    ) -> Option<(usize, usize, String)> {
        let found = self.of_host[which].iter().filter_map(|index| {
            let found = self.urls[*index].at(text, host, content)?;
            Some((found, *index))
        });
        // Where two are equally long, the environment's own explains what stands there.
        let own = |index: usize| own == Some(&self.urls[index].environment);
        let (found, index) = found.max_by_key(|(found, index)| (found.end, own(*index)))?;
        (!own(index)).then_some((found.start, index, found.shown))
    }
}

fn kind(start: &[u8]) -> Content {
    if start.iter().take(SNIFFED).any(|byte| *byte == 0) {
        Content::Binary
    } else {
        Content::Text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> EnvironmentName {
        EnvironmentName::new(name).unwrap()
    }

    fn search(urls: &[(&str, &str)]) -> Search {
        let urls = urls
            .iter()
            .map(|(name, url)| ApiUrl::parse(&environment(name), url).unwrap());
        Search::new(urls.collect()).unwrap()
    }

    fn aurora() -> Search {
        search(&[
            ("staging", "https://staging.aurora-glam.com/api"),
            ("production", "https://aurora-glam.com/api"),
            ("production", "wss://aurora-glam.com:8443/live"),
            ("production", "https://pay.aurora.example"),
        ])
    }

    fn hits_by(search: &Search, chunk: usize, own: &str, text: &[u8]) -> Vec<(u64, String)> {
        let hits = search.run_by(chunk, Some(&environment(own)), &mut &*text, &mut |_| Ok(()));
        hits.unwrap()
            .into_iter()
            .map(|hit| (hit.offset, hit.shown))
            .collect()
    }

    fn check(text: &str, expected: &[&str]) {
        let found = hits_by(&aurora(), CHUNK, "staging", text.as_bytes());
        let found: Vec<&str> = found.iter().map(|(_, shown)| shown.as_str()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_url_is_found_as_it_stands_and_with_what_follows() {
        let plain = "https://aurora-glam.com/api";
        for text in [
            "https://aurora-glam.com/api",
            "\"https://aurora-glam.com/api\"",
            "`https://aurora-glam.com/api${path}`",
            "https://aurora-glam.com/api?x=1",
            "(https://aurora-glam.com/api)",
            "see https://aurora-glam.com/api.",
            "https://aurora-glam.com/api\u{a0}",
            "https://user:word@aurora-glam.com/api",
            "HTTPS://Aurora-Glam.COM/api",
            "https://aurora-glam.com:443/api",
            "https://aurora-glam.com./api",
            "https://aurora-glam.com//api",
        ] {
            check(text, &[plain]);
        }
        check(
            "https://aurora-glam.com/api/users?a=b",
            &["https://aurora-glam.com/api/users"],
        );
        check(
            "http://aurora-glam.com/api/",
            &["http://aurora-glam.com/api/"],
        );
        check("ws://aurora-glam.com/api", &["ws://aurora-glam.com/api"]);
        check("//aurora-glam.com/api", &["//aurora-glam.com/api"]);
        check(
            "\"aurora-glam.com/api/users\"",
            &["aurora-glam.com/api/users"],
        );
        check(
            "wss://aurora-glam.com:8443/live",
            &["wss://aurora-glam.com:8443/live"],
        );
        check(
            "'https://pay.aurora.example'",
            &["https://pay.aurora.example"],
        );
        check(
            "https://pay.aurora.example/v1",
            &["https://pay.aurora.example/v1"],
        );
        check(
            "https://aurora-glam.com/api https://aurora-glam.com/api/b",
            &[plain, "https://aurora-glam.com/api/b"],
        );
    }

    #[test]
    fn an_escaped_url_is_found() {
        for text in [
            r#"{"a":"https:\/\/aurora-glam.com\/api\/users"}"#,
            r#""{\"a\":\"https:\\\/\\\/aurora-glam.com\\\/api\\\/users\"}""#,
            r"https:\u002F\u002Faurora-glam.com\u002fapi\u002Fusers",
            "?to=https%3A%2F%2Faurora-glam.com%2Fapi%2Fusers&x",
            "?to=https%3a%2f%2faurora-glam.com%2fapi%2fusers",
            "%22https%253A%252F%252Faurora-glam.com%252Fapi%252Fusers%22",
            "<a href=https&#x3A;&#x2F;&#x2F;aurora-glam.com&#47;api&sol;users>",
        ] {
            check(text, &["https://aurora-glam.com/api/users"]);
        }
    }

    #[test]
    fn other_hosts_paths_and_ports_are_not_found() {
        for text in [
            "https://staging.aurora-glam.com/api",
            "https://aurora-glam.com.evil/api",
            "https://aurora-glam.common/api",
            "https://my-aurora-glam.com/api",
            "https://aurora-glam.com",
            "https://aurora-glam.com/",
            "https://aurora-glam.com/apiary",
            "https://aurora-glam.com/api-docs",
            "https://aurora-glam.com/api.json",
            "https://aurora-glam.com/API",
            "https://aurora-glam.com:8080/api",
            "https://aurora-glam.com:99999/api",
            "https://aurora-glam.com/live",
            "https://aurora-glam.com@evil.example/api",
            "https://github.com/aurora-glam.com/api",
            "someone@aurora-glam.com/api",
            "staging.aurora-glam.com/api",
            "aurora-glam.com",
            "pay.aurora.example",
            "https://pay.aurora.example.evil",
            "https://pay.aurora.examples",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn in_a_program_strings_lie_end_to_end() {
        let text = b"\x7fELF\0\0https://aurora-glam.com/apierror: notes";
        let found = hits_by(&aurora(), CHUNK, "staging", text);
        assert_eq!(found, [(6, "https://aurora-glam.com/apierror".to_owned())]);
    }

    #[test]
    fn the_longer_url_tells_whose_it_is() {
        let search = search(&[
            ("staging", "https://one.example/api/staging"),
            ("production", "https://one.example/api"),
            ("preview", "http://one.example/api/staging"),
        ]);
        let hits = |own, text: &str| hits_by(&search, CHUNK, own, text.as_bytes()).len();
        assert_eq!(hits("staging", "https://one.example/api/staging/x"), 0);
        assert_eq!(hits("staging", "https://one.example/api/users"), 1);
        assert_eq!(hits("production", "https://one.example/api/users"), 0);
        assert_eq!(hits("production", "https://one.example/api/staging"), 1);
    }

    fn written(url: &str, style: usize) -> String {
        match style {
            0 => url.to_owned(),
            1 => url.replace('/', r"\/"),
            2 => url.replace('/', r"\u002F"),
            3 => url.replace(':', "%3A").replace('/', "%2F"),
            4 => url.replace(':', "%3a").replace('/', "%2f"),
            5 => url.replace('/', "&#x2F;"),
            6 => url.replace("https:", ""),
            7 => url.replace("https", "WSS").replace("aurora", "AURORA"),
            8 => url.replace(':', "%253A").replace('/', "%252F"),
            _ => url.replace('/', r"\\\/"),
        }
    }

    proptest! {
        #[test]
        fn a_planted_url_is_found_wherever_it_lies_and_however_it_is_read(
            before in "[ -~\n]{0,300}",
            after in "[ -~\n]{0,300}",
            style in 0..10_usize,
            border in prop::sample::select(vec!["\"", " ", "\n", "<", "`", "'", ")", ""]),
            chunk in 1..600_usize,
            own in 0..2_usize,
        ) {
            let search = aurora();
            let (own, other) = [("staging", "https://aurora-glam.com/api"), ("production", "https://staging.aurora-glam.com/api")][own];
            let after = if border.is_empty() { String::new() } else { after };
            let start = before.len() as u64 + 1;
            let text = format!("{before}\"{}{border}{after}", written(other, style));
            let found = hits_by(&search, chunk, own, text.as_bytes());
            prop_assert!(found.iter().any(|(offset, _)| *offset == start), "{text:?} {found:?}");
            prop_assert_eq!(found, hits_by(&search, CHUNK, own, text.as_bytes()));
        }

        #[test]
        fn the_own_host_is_never_taken_for_the_other(
            before in "[ -~\n]{0,300}",
            path in "[a-z/]{0,20}",
            style in 0..10_usize,
            chunk in 1..600_usize,
        ) {
            let own = written(&format!("https://staging.aurora-glam.com/{path}"), style);
            let text = format!("{before}\"{own}\"");
            prop_assert_eq!(hits_by(&aurora(), chunk, "staging", text.as_bytes()), []);
        }

        #[test]
        fn any_bytes_can_be_read(text in prop::collection::vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>(), chunk in 1..600_usize) {
            let mut text = text;
            let at = at.index(text.len() + 1);
            text.splice(at..at, *b"aurora-glam.com/api");
            let whole = hits_by(&aurora(), CHUNK, "staging", &text);
            prop_assert_eq!(whole, hits_by(&aurora(), chunk, "staging", &text));
        }
    }
}
