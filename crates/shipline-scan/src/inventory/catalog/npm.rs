//! npm packages: `package.json` of what is installed below a `node_modules`, and of an application itself.
//!
//! Not every `package.json` is a package's: those deeper inside an installed package are its fixtures and type markers. The
//! packages that an installed one has copied into itself (`next/dist/compiled/*`) are listed: they run, and have their own faults.

use serde::Deserialize;
use serde_json::Value;

use super::super::package::{Package, PackageKind};
use super::{Reader, Told};
use crate::json;

const MODULES: &str = "node_modules";

/// Folders into which packages copy others.
const COPIES: [&str; 5] = ["compiled", "vendor", "vendored", "bundled", "third_party"];

pub(super) const READER: Reader = Reader::Text { wants, read };

fn wants(path: &str) -> bool {
    let Some(folder) = path.strip_suffix("/package.json") else {
        return path == "package.json";
    };
    is_in(folder, |step| step == MODULES)
        || is_copy(folder)
        || !folder.split('/').any(|step| step == MODULES)
}

/// Whether the folder is one that an installed package has copied into itself.
fn is_copy(folder: &str) -> bool {
    is_in(folder, |step| COPIES.contains(&step)) && folder.split('/').any(|step| step == MODULES)
}

/// Whether the folder is a package's, with or without a scope, in one of the folders `of`.
fn is_in(folder: &str, of: impl Fn(&str) -> bool) -> bool {
    let mut steps = folder.rsplit('/');
    match (steps.next(), steps.next(), steps.next()) {
        (Some(_), Some(parent), _) if of(parent) => true,
        (Some(_), Some(scope), Some(parent)) => scope.starts_with('@') && of(parent),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Manifest {
    name: Option<Value>,
    version: Option<Value>,
    license: Option<Value>,
    licenses: Option<Value>,
}

fn read(path: &str, bytes: &[u8]) -> Told {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let manifest: Manifest = match json::read(bytes.trim_ascii()) {
        Ok(manifest) => manifest,
        Err(error) => return Told::malformed(format!("it is no JSON object of npm's: {error}")),
    };
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
    let (name, version) = (text(&manifest.name), text(&manifest.version));
    let folder = path.strip_suffix("/package.json").unwrap_or_default();
    let (name, version) = match (name, version) {
        (Some(name), Some(version)) => (name, version),
        // Who copies a package often leaves its version out.
        (Some(name), None) if is_copy(folder) => (name, String::new()),
        // A marker (`{"type": "module"}`), or an application that is never published.
        (Some(_) | None, _) => return Told::default(),
    };
    let (scope, bare) = match name.split_once('/') {
        Some((scope, bare)) if scope.starts_with('@') => (Some(scope), bare),
        Some(_) | None => (None, name.as_str()),
    };
    match Package::new(PackageKind::Npm, scope, bare, Some(&version)) {
        Some(mut package) if package.version.is_some() || is_copy(folder) => {
            package.licences = licences(manifest.license.as_ref().or(manifest.licenses.as_ref()));
            Told {
                packages: vec![package],
                ..Told::default()
            }
        }
        Some(_) | None => Told::malformed(format!("{} has no usable name", super::file_name(path))),
    }
}

/// `"MIT"`, `{"type": "MIT"}`, or a list of such: all that npm has allowed so far.
fn licences(value: Option<&Value>) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => fields.get("type")?.as_str().map(str::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_and_applications_are_wanted() {
        for (path, wanted) in [
            ("package.json", true),
            ("app/package.json", true),
            ("app/node_modules/left-pad/package.json", true),
            ("app/node_modules/@types/node/package.json", true),
            ("app/node_modules/a/node_modules/b/package.json", true),
            (
                "app/node_modules/.pnpm/a@1/node_modules/a/package.json",
                true,
            ),
            ("app/node_modules/a/test/fixture/package.json", false),
            ("app/node_modules/next/dist/compiled/x/package.json", true),
            (
                "app/node_modules/next/dist/compiled/@s/x/package.json",
                true,
            ),
            (
                "app/node_modules/next/dist/compiled/x/lib/package.json",
                false,
            ),
            ("app/node_modules/a/compiled/package.json", false),
            ("app/node_modules/a/esm/package.json", false),
            ("app/node_modules/a/package.json5", false),
        ] {
            assert_eq!(wants(path), wanted, "{path}");
        }
    }

    #[test]
    fn names_versions_and_all_shapes_of_licences_are_read() {
        for (text, namespace, name, licences) in [
            (
                r#"{"name":"a","version":"1.0.0","license":"MIT"}"#,
                None,
                "a",
                &["MIT"][..],
            ),
            (
                r#"{"name":"@s/a","version":"1.0.0","license":{"type":"ISC","url":"x"}}"#,
                Some("@s"),
                "a",
                &["ISC"],
            ),
            (
                "\n{\"name\":\"a\",\"version\":\"1.0.0\",\"licenses\":[{\"type\":\"MIT\"},\"BSD\",7]}\n",
                None,
                "a",
                &["MIT", "BSD"],
            ),
        ] {
            let told = read("x/package.json", text.as_bytes());
            let package = &told.packages[0];
            assert_eq!(package.namespace.as_deref(), namespace);
            assert_eq!(package.name, name);
            assert_eq!(package.version.as_deref(), Some("1.0.0"));
            assert_eq!(package.licences, licences);
        }
    }

    #[test]
    fn copies_need_no_version_and_marks_before_the_text_do_not_count() {
        let copy = "node_modules/next/dist/compiled/nanoid/package.json";
        let told = read(
            copy,
            br#"{"name":"nanoid","main":"index.cjs","license":"MIT"}"#,
        );
        assert_eq!(told.packages[0].purl(), "pkg:npm/nanoid");
        let told = read(
            "node_modules/a/package.json",
            b"\xef\xbb\xbf{\"name\":\"a\",\"version\":\"1.0.0\"}",
        );
        assert_eq!(told.packages[0].purl(), "pkg:npm/a@1.0.0");
    }

    #[test]
    fn markers_are_nothing_and_what_is_broken_is_told() {
        for text in [
            r#"{"type":"module"}"#,
            r#"{"name":"app","private":true}"#,
            r#"{"name":7,"version":"1"}"#,
        ] {
            assert_eq!(read("package.json", text.as_bytes()), Told::default());
        }
        for text in ["", "[]", "{\"name\":", "\u{0}"] {
            let told = read("package.json", text.as_bytes());
            assert!(told.packages.is_empty() && told.notes.len() == 1, "{text}");
        }
    }
}
