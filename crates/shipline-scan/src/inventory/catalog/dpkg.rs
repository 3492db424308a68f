//! Debian packages: `var/lib/dpkg/status`, and one file a package below `status.d/` where an image has no dpkg
//! (deb-control(5), dpkg(1)).

use super::super::package::{Package, PackageKind, SourcePackage, is_plain};
use super::{Malformed, Reader, Told, paragraphs, text};

pub(super) const READER: Reader = Reader::Text { wants, read };

fn wants(path: &str) -> bool {
    match path.strip_prefix("var/lib/dpkg/") {
        Some("status") => true,
        Some(rest) => rest
            .strip_prefix("status.d/")
            .is_some_and(|name| !name.ends_with(".md5sums") && !name.contains('/')),
        None => false,
    }
}

fn read(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    Told::of(paragraphs(&text).map(package))
}

/// The package that a paragraph describes; `None` where it is not installed.
fn package(paragraph: &str) -> Result<Option<Package>, Malformed> {
    let field = |name: &str| {
        paragraph.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if !field("Status").is_none_or(is_there) {
        return Ok(None);
    }
    let (name, version) = field("Package").zip(field("Version")).ok_or(Malformed)?;
    let mut package = Package::new(PackageKind::Deb, None, name, Some(version)).ok_or(Malformed)?;
    let architecture = field("Architecture").filter(|text| is_plain(text));
    package.architecture = architecture.map(str::to_owned);
    package.source = field("Source").and_then(source);
    Ok(Some(package))
}

/// Whether a package in this state (the third word) has its files on the disk.
fn is_there(status: &str) -> bool {
    let state = status.split_ascii_whitespace().nth(2);
    !matches!(state, Some("not-installed" | "config-files") | None)
}

/// `glibc`, or `gcc-12 (12.2.0-14)` where the versions differ.
fn source(text: &str) -> Option<SourcePackage> {
    let (name, version) = match text.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim().strip_suffix(')')),
        None => (text, None),
    };
    let version = version.map(str::trim).filter(|version| is_plain(version));
    is_plain(name).then(|| SourcePackage {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: zlib1g
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: zlib
Version: 1:1.2.13.dfsg-1
Description: compression library - runtime
 zlib is a library: implementing
 Version: this line is a continuation

Package: gone
Status: deinstall ok config-files
Version: 1.0

package: libgcc-s1
status: install ok half-configured
source: gcc-12 (12.2.0-14+deb12u1)
version: 12.2.0-14
\r
Package: nameless-version
Status: install ok installed

";

    #[test]
    fn what_is_on_the_disk_is_read_with_epoch_and_source() {
        let told = read("var/lib/dpkg/status", STATUS.as_bytes());
        let names: Vec<_> = told
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_deref()))
            .collect();
        assert_eq!(
            names,
            [
                ("zlib1g", Some("1:1.2.13.dfsg-1")),
                ("libgcc-s1", Some("12.2.0-14"))
            ]
        );
        assert_eq!(told.packages[0].architecture.as_deref(), Some("amd64"));
        assert_eq!(told.packages[0].source.as_ref().unwrap().name, "zlib");
        let source = told.packages[1].source.as_ref().unwrap();
        assert_eq!(source.name, "gcc-12");
        assert_eq!(source.version.as_deref(), Some("12.2.0-14+deb12u1"));
        assert_eq!(told.notes, ["1 entry has no name or no version"]);
    }

    #[test]
    fn an_image_without_dpkg_has_a_file_for_each_package() {
        for (path, wanted) in [
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status-old", false),
            ("var/lib/dpkg/status.d/base", true),
            ("var/lib/dpkg/status.d/base.md5sums", false),
            ("home/var/lib/dpkg/status", false),
        ] {
            assert_eq!(wants(path), wanted, "{path}");
        }
        let told = read("", b"Package: tzdata\nVersion: 2024a-0+deb12u1\n");
        assert_eq!(told.packages[0].name, "tzdata");
        assert_eq!(told.packages[0].source, None);
    }
}
