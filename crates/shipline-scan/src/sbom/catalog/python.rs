//! Python packages: `METADATA` of `*.dist-info`, `PKG-INFO` of `*.egg-info`, and `*.egg-info` where that is a file (PyPA's core
//! metadata specification).

use super::super::package::{Package, PackageKind, is_plain};
use super::{Reader, Told, text};

pub(super) const READER: Reader = Reader::Text { wants, read };

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

fn read(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    // Headers end with the first empty line; what follows is a description.
    let headers = || text.lines().take_while(|line| !line.trim().is_empty());
    let all = |name: &'static str| {
        headers().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let (name, version) = (all("Name").next(), all("Version").next());
    let package = name.and_then(|name| Package::new(PackageKind::Pypi, None, name, version));
    let Some(mut package) = package.filter(|package| package.version.is_some()) else {
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
        check("name: zope_x\nversion: 1\n", "pkg:pypi/zope-x@1", &[]);
        for text in ["", "Name: x\n", "Version: 1\n", "\nName: x\nVersion: 1\n"] {
            assert_eq!(read("", text.as_bytes()).notes.len(), 1, "{text}");
        }
    }
}
