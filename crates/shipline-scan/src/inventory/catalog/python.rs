//! Python packages: `METADATA` of `*.dist-info`, `PKG-INFO` of `*.egg-info`, `*.egg-info` where that is a file, and eggs that are
//! zipped (PyPA's core metadata specification).

use std::io;

use super::super::package::{Package, PackageKind, is_plain};
use super::super::zip::Archive;
use super::{Reader, Told, text};
use crate::layers::spool::Content;

pub(super) const READER: Reader = Reader::Text { wants, read };

pub(super) const EGG: Reader = Reader::Archive {
    wants: |path| path.ends_with(".egg"),
    read: egg,
};

/// The metadata of an egg, in bytes.
const LARGEST_METADATA: u64 = 1024 * 1024;

fn wants(path: &str) -> bool {
    match path.rsplit_once('/') {
        Some((folder, "METADATA")) => folder.ends_with(".dist-info"),
        Some((folder, "PKG-INFO")) => {
            folder.ends_with(".egg-info") || folder.ends_with("/EGG-INFO")
        }
        Some((_, file)) => file.ends_with(".egg-info"),
        None => false,
    }
}

fn egg(_: &str, content: &mut dyn Content) -> Told {
    let read = |content| {
        let mut archive = Archive::open(content)?;
        let metadata = archive.entries(|name| name == "EGG-INFO/PKG-INFO");
        match metadata.first() {
            Some(entry) => archive.read(entry, LARGEST_METADATA).map(Some),
            None => Ok::<_, io::Error>(None),
        }
    };
    match read(content) {
        Ok(Some(bytes)) => metadata("", &bytes),
        Ok(None) => Told::malformed("it has no metadata"),
        Err(error) => Told::malformed(error.to_string()),
    }
}

fn read(path: &str, bytes: &[u8]) -> Told {
    metadata(path, bytes)
}

/// What the folder of a package says, `NAME-VERSION.dist-info`: some installers leave its metadata empty.
fn of_folder(path: &str) -> Option<Package> {
    let folder = path.strip_suffix("/METADATA")?.strip_suffix(".dist-info")?;
    let (name, version) = super::file_name(folder).rsplit_once('-')?;
    Package::new(PackageKind::Pypi, None, name, Some(version))
}

fn metadata(path: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    // Headers end with the first empty line; what follows is a description.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let headers = || text.lines().take_while(|line| !line.trim().is_empty());
    let all = |name: &'static str| {
        headers().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let (name, version) = (all("Name").next(), all("Version").next());
    let package = name.and_then(|name| Package::new(PackageKind::Pypi, None, name, version));
    let package = package.filter(|package| package.version.is_some());
    let Some(mut package) = package.or_else(|| of_folder(path)) else {
        return Told::malformed("it has no name or no version");
    };
    let plain = |licence: &&str| is_plain(licence) && *licence != "UNKNOWN";
    let written = all("License-Expression").chain(all("License")).find(plain);
    package.licences = match written {
        Some(licence) => vec![licence.to_owned()],
        None => all("Classifier").filter_map(classified).collect(),
    };
    Told {
        packages: vec![package],
        ..Told::default()
    }
}

/// `License :: OSI Approved :: MIT License` says "MIT License".
fn classified(classifier: &str) -> Option<String> {
    let (first, _) = classifier.split_once("::")?;
    let (_, last) = classifier.rsplit_once("::")?;
    let last = last.trim();
    (first.trim() == "License" && last != "OSI Approved").then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_told_by_its_place() {
        for (path, wanted) in [
            ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", true),
            ("app/flask-3.0.0.dist-info/METADATA", true),
            ("app/flask-3.0.0.dist-info/RECORD", false),
            ("app/x.egg-info/PKG-INFO", true),
            ("app/x.egg/EGG-INFO/PKG-INFO", true),
            ("app/METADATA", false),
            ("METADATA", false),
        ] {
            assert_eq!(wants(path), wanted, "{path}");
        }
    }

    #[test]
    fn an_egg_that_is_zipped_and_an_empty_file_are_read() {
        use super::super::super::zip::tests::{Packing, zip};
        let archive = zip(&[
            ("zipped/__init__.py", b"", Packing::Stored),
            (
                "EGG-INFO/PKG-INFO",
                b"Name: zipped\nVersion: 3.0\n",
                Packing::Deflated,
            ),
        ]);
        let told = egg("x-3.0-py3.11.egg", &mut io::Cursor::new(archive));
        assert_eq!(told.packages[0].purl(), "pkg:pypi/zipped@3.0");
        let empty = zip(&[("x", b"", Packing::Stored)]);
        assert_eq!(
            egg("x.egg", &mut io::Cursor::new(empty)).notes,
            ["it has no metadata"]
        );
        let told = read("venv/empty_one-1.4.dist-info/METADATA", b"");
        assert_eq!(told.packages[0].purl(), "pkg:pypi/empty-one@1.4");
    }

    #[track_caller]
    fn check(text: &str, purl: &str, licences: &[&str]) {
        let told = read("", text.as_bytes());
        assert_eq!(told.packages[0].purl(), purl, "{text}");
        assert_eq!(told.packages[0].licences, licences, "{text}");
    }

    #[test]
    fn headers_are_read_and_the_description_is_not() {
        check(
            "Metadata-Version: 2.4\nName: Flask\nVersion: 3.0.0\nLicense-Expression: BSD-3-Clause\nLicense: other\n\nVersion: 9\n",
            "pkg:pypi/flask@3.0.0",
            &["BSD-3-Clause"],
        );
        check(
            "Name: ruamel.yaml\r\nVersion: 0.18\r\nLicense: UNKNOWN\r\nClassifier: License :: OSI Approved :: MIT License\r\nClassifier: License :: OSI Approved\r\nClassifier: Topic :: X\r\n\r\n",
            "pkg:pypi/ruamel.yaml@0.18",
            &["MIT License"],
        );
        check(
            "\u{feff}Name: marked\nVersion: 1\n",
            "pkg:pypi/marked@1",
            &[],
        );
        check("name: zope_x\nversion: 1\n", "pkg:pypi/zope-x@1", &[]);
        for text in ["", "Name: x\n", "Version: 1\n", "\nName: x\nVersion: 1\n"] {
            assert_eq!(read("", text.as_bytes()).notes.len(), 1, "{text}");
        }
    }
}
