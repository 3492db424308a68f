//! The exported site, held in memory: a request can only name what was found at the start, so no path can lead elsewhere.

use std::collections::HashMap;
use std::path::Path;
use std::{fs, io};

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) body: Vec<u8>,
    pub(crate) mime: &'static str,
    pub(crate) etag: String,
    pub(crate) caching: Caching,
}

/// How long a file may be kept without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// For ever: its name changes with its content.
    Immutable,
    /// Only after asking whether it is still the same.
    Ask,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Page(&'a Page),
    /// The page has another address.
    Moved(String),
    Nothing,
}

/// All files by their paths, `/index.html`.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pages: HashMap<String, Page>,
}

impl Site {
    /// Reads everything below `root`; links are not followed.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut site = Self::default();
        site.read_folder(root, "")?;
        Ok(site)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{prefix}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_folder(&entry.path(), &path)?;
            } else if kind.is_file() {
                self.add(path, fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, body: Vec<u8>) {
        // The rest below `_next/static` lies in a folder named by the build, and that name is always the same.
        let named_by_content = ["/_next/static/chunks/", "/_next/static/media/"]
            .iter()
            .any(|folder| path.starts_with(folder));
        let caching = if named_by_content {
            Caching::Immutable
        } else {
            Caching::Ask
        };
        let page = Page {
            mime: mime(&path),
            etag: etag(&body),
            body,
            caching,
        };
        self.pages.insert(path, page);
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// What a request's target leads to: `/` to `index.html`, `/book` to `book.html`, `/book/` to `/book`.
    pub(crate) fn find(&self, target: &str) -> Found<'_> {
        let path = target.split(['?', '#']).next().unwrap_or(target);
        let Some(path) = decode(path) else {
            return Found::Nothing;
        };
        if path == "/" {
            return self
                .pages
                .get("/index.html")
                .map_or(Found::Nothing, Found::Page);
        }
        if let Some(page) = self
            .pages
            .get(&path)
            .or_else(|| self.pages.get(&format!("{path}.html")))
        {
            return Found::Page(page);
        }
        // Only to pages that exist here: anything else could be an address of another site (`//example.com/`).
        match path.strip_suffix('/') {
            Some(bare) if self.pages.contains_key(&format!("{bare}.html")) => {
                Found::Moved(bare.to_owned())
            }
            _ => Found::Nothing,
        }
    }

    /// The page for what is not there.
    pub(crate) fn not_found(&self) -> Option<&Page> {
        self.pages.get("/404.html")
    }
}

/// Percent-decodes a path; `None` where it is not one.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let [high, low, tail @ ..] = rest else {
                return None;
            };
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            bytes.push(digit(*high)? << 4 | digit(*low)?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|path| path.starts_with('/'))
}

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// FNV-1a over the content and its length: not against forgery, only to tell versions apart.
fn etag(body: &[u8]) -> String {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("\"{:x}-{hash:016x}\"", body.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn site() -> Site {
        let mut site = Site::default();
        for (path, body) in [
            ("/index.html", "home"),
            ("/book.html", "book"),
            ("/book.txt", "tree"),
            ("/404.html", "lost"),
            ("/icon.svg", "<svg/>"),
            ("/caf\u{e9}.html", "cafe"),
            ("/_next/static/chunks/a-1.js", "code"),
            ("/_next/static/aurora-glam/_buildManifest.js", "list"),
        ] {
            site.add(path.to_owned(), body.as_bytes().to_vec());
        }
        site
    }

    #[test]
    fn paths_lead_to_pages() {
        let site = site();
        for (target, expected) in [
            ("/", Some("home")),
            ("/?utm=1", Some("home")),
            ("/index.html", Some("home")),
            ("/book", Some("book")),
            ("/book?service=3#top", Some("book")),
            ("/book.txt?_rsc=1x2", Some("tree")),
            ("/%62ook", Some("book")),
            ("/caf%C3%A9", Some("cafe")),
            ("/_next/static/chunks/a-1.js", Some("code")),
            ("/Book", None),
            ("/books", None),
            ("book", None),
            ("", None),
            ("*", None),
            ("/%", None),
            ("/%zz", None),
            ("/%ff", None),
            ("/../etc/passwd", None),
            ("/%2e%2e/%2e%2e/etc/passwd", None),
            ("/_next/static/../../book", None),
            ("//book", None),
            ("//example.com/", None),
        ] {
            let found = match site.find(target) {
                Found::Page(page) => Some(String::from_utf8_lossy(&page.body).into_owned()),
                Found::Moved(to) => panic!("{target} moved to {to}"),
                Found::Nothing => None,
            };
            assert_eq!(found.as_deref(), expected, "{target}");
        }
        assert_eq!(site.find("/book/"), Found::Moved("/book".to_owned()));
    }

    #[test]
    fn only_named_by_content_is_kept_for_ever() {
        let site = site();
        let caching = |target: &str| match site.find(target) {
            Found::Page(page) => page.caching,
            other => panic!("{other:?}"),
        };
        assert_eq!(caching("/_next/static/chunks/a-1.js"), Caching::Immutable);
        assert_eq!(
            caching("/_next/static/aurora-glam/_buildManifest.js"),
            Caching::Ask
        );
        assert_eq!(caching("/book"), Caching::Ask);
        assert_eq!(caching("/icon.svg"), Caching::Ask);
    }

    #[test]
    fn types_follow_names() {
        assert_eq!(mime("/book.html"), "text/html; charset=utf-8");
        assert_eq!(mime("/a.b.js"), "text/javascript; charset=utf-8");
        assert_eq!(mime("/icon.svg"), "image/svg+xml");
        assert_eq!(mime("/LICENSE"), "application/octet-stream");
    }

    #[test]
    fn etags_tell_contents_apart() {
        assert_eq!(etag(b"a"), etag(b"a"));
        assert_ne!(etag(b"a"), etag(b"b"));
        assert_ne!(etag(b""), etag(b"\0"));
    }
}
