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
    /// Its version, with Debian's epoch; `None` where nobody wrote one down.
    pub version: Option<String>,
    /// The architecture of packages of an operating system.
    pub architecture: Option<String>,
    /// The distribution's release (`debian-12`), for packages of an operating system.
    pub release: Option<String>,
    /// What it was built from, where that has another name or version.
    pub source: Option<SourcePackage>,
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
                licences: Vec::new(),
                places: Vec::new(),
            })
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
            | PackageKind::Maven => (self.namespace.as_deref(), self.name.as_str()),
        };
        let source = self.source.as_ref().map(|source| match &source.version {
            Some(version) => format!("{}@{version}", source.name),
            None => source.name.clone(),
        });
        let qualifiers = [
            ("arch", self.architecture.clone()),
            ("distro", self.release.clone()),
            ("upstream", source),
        ];
        purl(
            self.kind.word(),
            namespace,
            name,
            self.version.as_deref(),
            qualifiers,
        )
    }
}

/// A package URL. What the specification does not allow at its place is left out.
pub(super) fn purl<const N: usize>(
    kind: &'static str,
    namespace: Option<&str>,
    name: &str,
    version: Option<&str>,
    qualifiers: [(&'static str, Option<String>); N],
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
        if let Some(value) = value {
            let _ = purl.add_qualifier(key, value);
        }
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
