//! Environment leaks: another environment's `api_urls` inside an image that is made for one environment.
//!
//! An image that is made for all environments has no "other" environment. A URL in it that not all of them have is suspicious, since
//! the other environments get the same image, and may be right, since a program may choose among several when it starts. So it is
//! a finding below the usual gate, and the report says that this cannot be decided.
//!
//! Looked at are all layers, those of a base image too (it ships with the rest), file by file (gzip files unpacked), and the
//! values of the config. Not seen is what is compressed otherwise (brotli, zstd, zip, jar: a note names such files),
//! encrypted, in base64 or UTF-16, or put together at run time.

mod escape;
mod image;
mod search;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use shipline_engine::archive::EntryKind;
use shipline_engine::backend::{
    Look, Looking, Opened, ScanReport, ScanTarget, Scanner, Shown, TargetKind, Visitor, Want, Whole,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::config::Config;
use shipline_model::finding::{Finding, FindingKind, Location, Rule, Severity};
use shipline_model::name::EnvironmentName;
use shipline_model::plan::ImageId;

use image::File;
use search::{Hit, Search};
use url::ApiUrl;

/// The rule's ID.
pub const RULE: &str = "environment-leak";

/// All rules of this scanner.
pub const RULES: &[&str] = &[RULE];

/// The scanner for the environments of a configuration.
///
/// # Errors
/// `Invalid` where a URL cannot be read.
pub fn scanner(config: &Config) -> Result<LeakScanner, BackendError> {
    let environments = config.environments.values();
    LeakScanner::new(
        environments.map(|environment| (&environment.name, environment.api_urls.as_slice())),
    )
}

/// Raised whenever the same image and the same configuration would give another report.
const VERSION: u32 = 5;

/// Files that a note names, of those that could not be looked into.
const NAMED: usize = 3;

/// Leaks in one image that are told one by one.
const MOST_FINDINGS: usize = 10_000;

/// Notes about files of one image.
const MOST_NOTES: usize = 100;

/// Looks for other environments' `api_urls` in images that are made for one environment.
#[derive(Debug)]
pub struct LeakScanner {
    environments: Vec<EnvironmentName>,
    search: Search,
}

impl LeakScanner {
    /// A scanner that knows the `api_urls` of all environments.
    ///
    /// # Errors
    /// `Invalid` where a URL cannot be read.
    pub fn new<'a>(
        environments: impl IntoIterator<Item = (&'a EnvironmentName, &'a [String])>,
    ) -> Result<Self, BackendError> {
        let (mut urls, mut names) = (Vec::new(), Vec::new());
        for (environment, texts) in environments {
            names.push(environment.clone());
            for text in texts {
                urls.push(ApiUrl::parse(environment, text).ok_or_else(|| {
                    BackendError::new(
                        ErrorClass::Invalid,
                        format!("read `{text}` of {environment}'s `api_urls`"),
                    )
                    .because("it is no URL with a host")
                })?);
            }
        }
        let search = Search::new(urls).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, "prepare the search for `api_urls`")
                .because(error)
        })?;
        Ok(Self {
            environments: names,
            search,
        })
    }

    /// Whether a URL says for which environment an image was made: not where all of them have it.
    fn tells(&self, url: &ApiUrl) -> bool {
        let has = |environment: &EnvironmentName| {
            let mut urls = self.search.urls().iter();
            urls.any(|other| other.environment == *environment && other.written == url.written)
        };
        !self.environments.iter().all(has)
    }

    /// The environments, for people: `staging and production`.
    fn named(&self) -> String {
        let names: Vec<&str> = self.environments.iter().map(AsRef::as_ref).collect();
        match names.split_last() {
            Some((last, first @ [_, ..])) => format!("{} and {last}", first.join(", ")),
            _ => names.concat(),
        }
    }
}

impl Scanner for LeakScanner {
    fn name(&self) -> &str {
        "environment leaks"
    }

    fn kind(&self) -> FindingKind {
        FindingKind::Leak
    }

    fn key(&self) -> Option<String> {
        let urls = self.search.urls().iter();
        let urls: Vec<String> = urls
            .map(|url| format!("{} {}", url.environment, url.written))
            .collect();
        let environments = self.named();
        Some(format!(
            "leaks {VERSION}: {environments}: {}",
            urls.join(", ")
        ))
    }

    fn looks_into(&self, target: TargetKind) -> bool {
        target == TargetKind::Image
    }

    fn scan<'l>(
        &'l self,
        target: &ScanTarget<'l>,
        task: &'l TaskContext,
    ) -> Result<Looking<'l, ScanReport>, BackendError> {
        let ScanTarget::Image {
            id: ImageId { variant, .. },
            ..
        } = target
        else {
            return Ok(Looking::Done(ScanReport::default()));
        };
        let own = variant.as_ref();
        let foreign = |url: &ApiUrl| match own {
            Some(own) => url.environment != *own,
            None => self.tells(url),
        };
        if !self.search.urls().iter().any(foreign) {
            return Ok(Looking::Done(ScanReport::default()));
        }
        Ok(Looking::AtFiles(Box::new(LeakLook {
            scanner: self,
            own,
            task,
            report: ScanReport::default(),
            owners: BTreeSet::new(),
            packed: Vec::new(),
            packed_files: 0,
            more: false,
        })))
    }
}

/// What a person should know of files that may hold what nobody saw.
fn not_read(packed: &[String], files: usize) -> Option<String> {
    let named = packed.join(", ");
    let more = match files - packed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!packed.is_empty()).then(|| {
        format!("not looked into, because of their compression (brotli, zip, zstd, xz, bzip2): {named}{more}")
    })
}

/// One look into one image.
struct LeakLook<'l> {
    scanner: &'l LeakScanner,
    /// The environment that the image is made for; absent where it is made for all.
    own: Option<&'l EnvironmentName>,
    task: &'l TaskContext,
    report: ScanReport,
    /// Whose URLs were found in an image for all environments.
    owners: BTreeSet<EnvironmentName>,
    /// Files whose texts are compressed in a way that is not read.
    packed: Vec<String>,
    /// How many these are; the first few are named.
    packed_files: usize,
    /// Whether there are more leaks than are told.
    more: bool,
}

impl Visitor for LeakLook<'_> {
    fn open(&mut self, image: Opened<'_>) -> io::Result<()> {
        for (field, text) in image::config_texts(image.config) {
            let hits = self.search(&mut text.as_bytes())?;
            let location = |_: &Hit| Location::ImageConfig {
                field: field.clone(),
            };
            self.report(hits, location);
        }
        Ok(())
    }

    fn entry(&mut self, shown: Shown<'_>) -> Want {
        match shown.entry.kind {
            EntryKind::File { .. } => Want::Stream,
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharDevice(..)
            | EntryKind::BlockDevice(..)
            | EntryKind::Fifo
            | EntryKind::Unknown(_) => Want::Nothing,
        }
    }

    fn stream(&mut self, shown: Shown<'_>, file: &mut dyn Read) -> io::Result<()> {
        let path = path(shown);
        let hits = match image::file(&path, file)? {
            File::Plain(mut file) => self.search(&mut file)?,
            File::Packed(mut file) => {
                if self.packed.len() < NAMED {
                    self.packed.push(path.clone());
                }
                self.packed_files += 1;
                self.search(&mut file)?
            }
            File::Unpacked(file) => self.unpacked(&path, *file)?,
        };
        let location = |hit: &Hit| Location::ImageFile {
            layer: shown.digest.clone(),
            layer_index: shown.layer,
            path: path.clone(),
            offset: hit.offset,
        };
        self.report(hits, location);
        Ok(())
    }

    fn whole(&mut self, shown: Shown<'_>, _: Whole<'_>) -> io::Result<()> {
        let path = path(shown);
        self.note(format!("{path} was not looked into: it is too large"));
        Ok(())
    }
}

impl Look<ScanReport> for LeakLook<'_> {
    fn finish(self: Box<Self>) -> Result<ScanReport, BackendError> {
        let mut look = self;
        look.weigh();
        let mut report = look.report;
        if look.more {
            let note = format!("there are more than {MOST_FINDINGS} leaks");
            report.notes.push(note);
        }
        report
            .notes
            .extend(not_read(&look.packed, look.packed_files));
        Ok(report)
    }
}

/// A file's path in the image.
fn path(shown: Shown<'_>) -> String {
    let path = String::from_utf8_lossy(&shown.entry.path).into_owned();
    format!("/{}", path.trim_start_matches("./").trim_start_matches('/'))
}

impl LeakLook<'_> {
    /// Tells of something, and not without end: an image has as many files as its maker likes.
    fn note(&mut self, note: String) {
        if self.report.notes.len() < MOST_NOTES {
            self.report.notes.push(note);
        }
    }

    /// A gzip file that is broken is no reason to fail: what could be unpacked was looked at, and a note tells of it.
    fn unpacked(&mut self, path: &str, file: io::Take<impl Read>) -> io::Result<Vec<Hit>> {
        let mut file = Lenient {
            from: file,
            broken: None,
        };
        let hits = self.search(&mut file)?;
        let cut = match (file.broken, file.from.limit()) {
            (Some(error), _) => Some(format!("it cannot be unpacked further ({error})")),
            (None, 0) => Some("it is too large".to_owned()),
            (None, _) => None,
        };
        if let Some(why) = cut {
            self.note(format!("{path} was looked at in part: {why}"));
        }
        Ok(hits)
    }

    fn search(&mut self, from: &mut dyn Read) -> io::Result<Vec<Hit>> {
        let Self {
            scanner,
            own,
            task,
            report,
            ..
        } = self;
        let mut step = |read: usize| {
            report.bytes += read as u64;
            if task.is_cancelled() {
                return Err(io::Error::other("the task was stopped"));
            }
            Ok(())
        };
        scanner.search.run(*own, from, &mut step)
    }

    /// Judges what was found in an image for all environments: URLs of each of them look like a choice that is made when it
    /// starts, those of one look like a value that was built in.
    fn weigh(&mut self) {
        if self.own.is_some() || self.report.findings.is_empty() {
            return;
        }
        let mut told = self.scanner.search.urls().iter();
        let all =
            told.all(|url| !self.scanner.tells(url) || self.owners.contains(&url.environment));
        for finding in &mut self.report.findings {
            finding.severity = if all { Severity::Low } else { Severity::Medium };
        }
        self.report.undecided = Some(format!(
            "one image for {}: whether each gets its own API URLs",
            self.scanner.named()
        ));
    }

    /// One finding for each URL of a place: the first.
    fn report(&mut self, hits: Vec<Hit>, location: impl Fn(&Hit) -> Location) {
        let mut first: BTreeMap<(usize, String), Hit> = BTreeMap::new();
        for hit in hits {
            let key = (hit.url, hit.shown.clone());
            first.entry(key).or_insert(hit);
        }
        let mut first: Vec<Hit> = first.into_values().collect();
        first.sort_by_key(|hit| hit.offset);
        for hit in first {
            if self.report.findings.len() == MOST_FINDINGS {
                self.more = true;
                return;
            }
            let url = &self.scanner.search.urls()[hit.url];
            let message = match self.own {
                Some(own) => format!(
                    "the image for {own} holds {}'s {}",
                    url.environment, hit.shown
                ),
                None if !self.scanner.tells(url) => continue,
                None => {
                    self.owners.insert(url.environment.clone());
                    format!(
                        "the one image for {} holds {}'s {}",
                        self.scanner.named(),
                        url.environment,
                        hit.shown
                    )
                }
            };
            let (rule, location) = (Rule::new(RULE), location(&hit));
            let (kind, severity) = (FindingKind::Leak, Severity::Critical);
            let finding = Finding::new(kind, rule, severity, message, hit.shown.as_str(), location);
            self.report.findings.push(Finding {
                stem: Some(url.stem_of(&hit.shown).to_owned()),
                ..finding
            });
        }
    }
}

/// Ends where the stream breaks, and remembers why.
struct Lenient<R> {
    from: R,
    broken: Option<io::Error>,
}

impl<R: Read> Read for Lenient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Ok(0);
        }
        self.from.read(buffer).or_else(|error| {
            self.broken = Some(error);
            Ok(0)
        })
    }
}

#[cfg(test)]
mod tests;
