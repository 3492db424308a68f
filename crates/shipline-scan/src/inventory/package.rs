//! What an image holds, as plain data: writers of documents and matchers of advisories read it.

use packageurl::PackageUrl;
use shipline_model::name::Digest;

/// Texts that are longer, in bytes, are no name or version of anything.
const LONGEST: usize = 512;

/// The ecosystem that a package belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageKind {
    /// Debian and its derivatives.
    Deb,
    /// Alpine and its derivatives.
    Apk,
    /// npm.
    Npm,
    /// Python.
    Pypi,
    /// A Go module.
    Golang,
    /// A Rust crate.
    Cargo,
    /// A Maven artifact.
    Maven,
    /// Red Hat's distributions, SUSE's, and others with rpm.
    Rpm,
    /// PHP, by Composer.
    Composer,
    /// Ruby.
    Gem,
    /// .NET.
    Nuget,
    /// Conda, of any language.
    Conda,
    /// What Bitnami builds and describes in an SBOM of its own.
    Bitnami,
    /// What an SBOM inside of the image names without an ecosystem.
    Generic,
}

impl PackageKind {
    /// Its word in package URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Golang => "golang",
            Self::Cargo => "cargo",
            Self::Maven => "maven",
            Self::Rpm => "rpm",
            Self::Composer => "composer",
            Self::Gem => "gem",
            Self::Nuget => "nuget",
            Self::Conda => "conda",
            Self::Bitnami => "bitnami",
            Self::Generic => "generic",
        }
    }

    /// The kind that package URLs call so.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let all = [
            Self::Deb,
            Self::Apk,
            Self::Npm,
            Self::Pypi,
            Self::Golang,
            Self::Cargo,
            Self::Maven,
            Self::Rpm,
            Self::Composer,
            Self::Gem,
            Self::Nuget,
            Self::Conda,
            Self::Bitnami,
            Self::Generic,
        ];
        all.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether a distribution's package manager installs it.
    pub(crate) fn is_of_a_system(self) -> bool {
        match self {
            Self::Deb | Self::Apk | Self::Rpm => true,
            Self::Npm
            | Self::Pypi
            | Self::Golang
            | Self::Cargo
            | Self::Maven
            | Self::Composer
            | Self::Gem
            | Self::Nuget
            | Self::Conda
            | Self::Bitnami
            | Self::Generic => false,
        }
    }
}

/// The distribution that an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// `debian`, `alpine`.
    pub id: String,
    /// `12`, `3.20.3`; `None` for one that has no versions.
    pub version: Option<String>,
    /// For people.
    pub name: Option<String>,
}

/// The source package that a binary package was built from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePackage {
    /// Its name.
    pub name: String,
    /// Its version, where it is not the binary package's.
    pub version: Option<String>,
}

/// Where a package was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, from `/`.
    pub path: String,
    /// The layer's digest, uncompressed (OCI image configuration: `diff_ids`); `None` where the config does not name it.
    pub layer: Option<Digest>,
}

/// One package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its ecosystem.
    pub kind: PackageKind,
    /// npm's scope with its `@`, Maven's group, the distribution of packages of an operating system.
    pub namespace: Option<String>,
    /// Its name in that; Go modules have their whole path here.
    pub name: String,
    /// Its version, with the epoch of Debian's and rpm's (`1:2.0-3`); `None` where nobody wrote one down.
    pub version: Option<String>,
    /// The architecture of packages of an operating system.
    pub architecture: Option<String>,
    /// The distribution's release (`debian-12`), for packages of an operating system.
    pub release: Option<String>,
    /// What it was built from, where that has another name or version.
    pub source: Option<SourcePackage>,
    /// What else is part of its package URL: key and value.
    pub qualifiers: Vec<(String, String)>,
    /// Licences as the package names them: SPDX or not.
    pub licences: Vec<String>,
    /// Every place where it was found.
    pub places: Vec<Place>,
}

impl Package {
    /// A package with no more than its name and version. `None` where one of them is empty, too long or no text of one line.
    pub(super) fn new(
        kind: PackageKind,
        namespace: Option<&str>,
        name: &str,
        version: Option<&str>,
    ) -> Option<Self> {
        let fine = |text: &&str| is_plain(text);
        let version = version.map(str::trim).filter(|version| !version.is_empty());
        let all = [Some(name), namespace, version];
        all.into_iter()
            .flatten()
            .all(|text| fine(&text))
            .then(|| Self {
                kind,
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
                version: version.map(str::to_owned),
                architecture: None,
                release: None,
                source: None,
                qualifiers: Vec::new(),
                licences: Vec::new(),
                places: Vec::new(),
            })
    }

    /// Its version without the epoch, and the epoch, where it is rpm's: package URLs have that apart.
    #[must_use]
    pub fn epoch_and_version(&self) -> (Option<&str>, Option<&str>) {
        let version = self.version.as_deref();
        match (self.kind, version.and_then(|text| text.split_once(':'))) {
            (PackageKind::Rpm, Some((epoch, version))) => (Some(epoch), Some(version)),
            _ => (None, version),
        }
    }

    /// Its package URL (purl specification), without what is not known.
    #[must_use]
    pub fn purl(&self) -> String {
        let (namespace, name) = match self.kind {
            // A Go module's path is namespace and name in one.
            PackageKind::Golang => match self.name.rsplit_once('/') {
                Some((namespace, name)) if !name.is_empty() => (Some(namespace), name),
                Some(_) | None => (None, self.name.as_str()),
            },
            PackageKind::Deb
            | PackageKind::Apk
            | PackageKind::Npm
            | PackageKind::Pypi
            | PackageKind::Cargo
            | PackageKind::Maven
            | PackageKind::Rpm
            | PackageKind::Composer
            | PackageKind::Gem
            | PackageKind::Nuget
            | PackageKind::Conda
            | PackageKind::Bitnami
            | PackageKind::Generic => (self.namespace.as_deref(), self.name.as_str()),
        };
        // npm's names were not always lower case, but its package URLs are, scope and name alike.
        let scope = namespace
            .filter(|_| self.kind == PackageKind::Npm)
            .map(str::to_lowercase);
        let namespace = scope.as_deref().or(namespace);
        let upstream = self
            .source
            .as_ref()
            .map(|source| match (self.kind, &source.version) {
                // rpm's scanners know the source by its file.
                (PackageKind::Rpm, Some(version)) => format!("{}-{version}.src.rpm", source.name),
                (_, Some(version)) => format!("{}@{version}", source.name),
                (_, None) => source.name.clone(),
            });
        let (epoch, version) = self.epoch_and_version();
        let own = [
            ("arch", self.architecture.as_deref()),
            ("distro", self.release.as_deref()),
            ("epoch", epoch),
            ("upstream", upstream.as_deref()),
        ];
        let own = own
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let more = self.qualifiers.iter();
        let more = more.map(|(key, value)| (key.as_str(), value.as_str()));
        let qualifiers = own.chain(more);
        purl(self.kind.word(), namespace, name, version, qualifiers)
    }
}

/// A package URL. What the specification does not allow at its place is left out.
pub(crate) fn purl<'q>(
    kind: &'static str,
    namespace: Option<&str>,
    name: &str,
    version: Option<&str>,
    qualifiers: impl IntoIterator<Item = (&'q str, &'q str)>,
) -> String {
    // Kinds are ours and names are not empty: there is always one.
    let Ok(mut purl) = PackageUrl::new(kind, name.to_owned()) else {
        return String::new();
    };
    if let Some(namespace) = namespace {
        let _ = purl.with_namespace(namespace.to_owned());
    }
    if let Some(version) = version {
        let _ = purl.with_version(version.to_owned());
    }
    for (key, value) in qualifiers {
        let _ = purl.add_qualifier(key.to_owned(), value.to_owned());
    }
    purl.to_string()
}

/// Whether a text can be a name or a version.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: PackageKind, namespace: Option<&str>, name: &str, version: &str, purl: &str) {
        let package = Package::new(kind, namespace, name, Some(version)).unwrap();
        assert_eq!(package.purl(), purl);
    }

    #[test]
    fn package_urls_are_those_of_the_specification() {
        use PackageKind::{Cargo, Deb, Golang, Maven, Npm, Pypi};
        check(
            Npm,
            Some("@angular"),
            "core",
            "17.0.1",
            "pkg:npm/%40angular/core@17.0.1",
        );
        check(
            Npm,
            Some("@Scope"),
            "UPPER_name",
            "1.0.0",
            "pkg:npm/%40scope/upper_name@1.0.0",
        );
        check(
            Deb,
            Some("debian"),
            "libstdc++6",
            "1:12.2.0-14",
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14",
        );
        check(
            Pypi,
            None,
            "Flask_SQLAlchemy",
            "3.1",
            "pkg:pypi/flask-sqlalchemy@3.1",
        );
        check(
            Golang,
            None,
            "github.com/cespare/xxhash/v2",
            "v2.3.0",
            "pkg:golang/github.com/cespare/xxhash/v2@v2.3.0",
        );
        check(Golang, None, "stdlib", "1.23.4", "pkg:golang/stdlib@1.23.4");
        check(Cargo, None, "serde", "1.0.1", "pkg:cargo/serde@1.0.1");
        check(
            Maven,
            Some("org.slf4j"),
            "slf4j-api",
            "2.0.9",
            "pkg:maven/org.slf4j/slf4j-api@2.0.9",
        );
    }

    #[test]
    fn what_is_known_of_a_systems_package_qualifies_its_url() {
        let mut package = Package::new(
            PackageKind::Deb,
            Some("debian"),
            "libc6",
            Some("2.36-9+deb12u8"),
        )
        .unwrap();
        package.architecture = Some("amd64".to_owned());
        package.release = Some("debian-12".to_owned());
        package.source = Some(SourcePackage {
            name: "glibc".to_owned(),
            version: None,
        });
        assert_eq!(
            package.purl(),
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12&upstream=glibc"
        );
    }

    #[test]
    fn what_is_no_name_makes_no_package() {
        let long = "x".repeat(LONGEST + 1);
        for name in ["", "two\nlines", "\u{1b}[2J", &long] {
            assert_eq!(Package::new(PackageKind::Npm, None, name, None), None);
        }
        let unversioned = Package::new(PackageKind::Npm, None, "x", Some(" ")).unwrap();
        assert_eq!(unversioned.version, None);
    }
}
