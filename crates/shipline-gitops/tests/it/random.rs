//! Random files, put together from what real ones hold: the result differs from the input in exactly the announced bytes.

use proptest::prelude::*;
use shipline_engine::backend::{Pinning, SetImage, Target};
use shipline_gitops::edit::plan;
use shipline_gitops::files::Memory;
use shipline_gitops::folder::Manifest;
use shipline_model::name::{ComponentName, EnvironmentName, Tag};

fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

/// The old image with its quotes, and the value inside.
fn value() -> impl Strategy<Value = (String, String)> {
    let name = words(&[
        "web",
        "r.io/web",
        "localhost:5000/team/web",
        "r.io/a-b/c_d/web",
        "[::1]:5000/web",
    ]);
    let tag = words(&[
        "",
        ":",
        ":old",
        ":staging-abc12345-20250101000000",
        ":1.2.3",
        ":latest",
    ]);
    let quotes = prop::sample::select(&["", "'", "\""][..]);
    (name, tag, quotes).prop_map(|(name, tag, quotes)| {
        let plain = quotes.is_empty() && (tag == ":" || name.starts_with('['));
        let quotes = if plain { "\"" } else { quotes };
        (format!("{quotes}{name}{tag}{quotes}"), name)
    })
}

fn comment() -> impl Strategy<Value = String> {
    words(&[
        "",
        " # c",
        " # web: r/web:x",
        "   ",
        "\t# ü → 'q",
        " # {{ x }}",
    ])
}

fn noise() -> impl Strategy<Value = String> {
    words(&[
        "",
        "# a comment with image: web:old\n",
        "\n",
        "        env: [{name: A, value: 'web:old'}]\n",
        "        ports:\n        - containerPort: 80\n",
        "        args: [\"--image=web:old\", x]\n        args: []\n",
        "        command:\n        - |\n          image: web:old\n          name: web\n",
    ])
}

fn sidecar() -> impl Strategy<Value = String> {
    words(&[
        "",
        "      - name: proxy\n        image: proxy:old # x\n",
        "      - {name: web-metrics, image: \"r/web:old\"}\n",
        "      - image: &p r/p:1\n        name: p\n      - {name: q, image: *p}\n",
    ])
}

fn document() -> impl Strategy<Value = String> {
    words(&[
        "",
        "kind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n---\n",
        "# just a comment: web\n---\n",
        "kind: ConfigMap\ndata:\n  a: web:old\n  a: doubled\n---\n",
        "%YAML 1.2\n---\nkind: Secret\nstringData: {x: \"web\\n\"}\n...\n---\n",
    ])
}

/// A whole file, the byte range of the old image, and its name.
fn file() -> impl Strategy<Value = (String, std::ops::Range<usize>, String)> {
    let container = (
        value(),
        comment(),
        noise(),
        noise(),
        any::<bool>(),
        any::<bool>(),
    );
    let around = (
        document(),
        document(),
        sidecar(),
        sidecar(),
        any::<bool>(),
        any::<bool>(),
    );
    (container, around).prop_map(|(container, around)| {
        let ((image, name), comment, before, after, flow, first) = container;
        let (head, tail, left, right, crlf, cut) = around;
        let kind = "kind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n";
        let mark = '\u{1}';
        let own = if flow {
            format!("      - {{name: web, image: {mark}{image}{mark}}}{comment}\n")
        } else if first {
            format!("      - image: {mark}{image}{mark}{comment}\n{before}        name: web\n{after}")
        } else {
            format!("      - name: web{comment}\n{before}        image: {mark}{image}{mark}{comment}\n{after}")
        };
        let tail = tail.trim_end_matches("---\n");
        let tail = if tail.is_empty() || tail.starts_with('%') { String::new() } else { format!("---\n{tail}") };
        let mut text = format!("{head}{kind}{left}{own}{right}{tail}");
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if cut {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let start = text.find(mark).unwrap();
        text.remove(start);
        let end = text.find(mark).unwrap();
        text.remove(end);
        (text, start..end, name)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn exactly_the_announced_bytes_change((text, old, name) in file(), tag in "[a-z0-9_][a-z0-9._-]{0,40}") {
        let environment = EnvironmentName::new("staging").unwrap();
        let image = SetImage {
            target: Target::new(ComponentName::new("web").unwrap(), environment),
            name: None,
            tag: Tag::new(tag.clone()).unwrap(),
            digest: None,
            pinning: Pinning::AsBefore,
            source_commit: None,
        };
        let manifest = Manifest { path: "staging/web/x.yaml".into(), bytes: text.clone().into_bytes() };
        let files = Memory::new(vec![manifest], Vec::new());
        let done = plan(&[image], &files).map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{text}")))?;
        let written = &text[old.clone()];
        let quote = if written.starts_with(['\'', '"']) { &written[..1] } else { "" };
        let expected = format!("{}{quote}{name}:{tag}{quote}{}", &text[..old.start], &text[old.end..]);
        if expected == text {
            prop_assert!(done.files.is_empty() && done.changes.is_empty());
        } else {
            let result = String::from_utf8(done.files["staging/web/x.yaml"].clone()).unwrap();
            prop_assert_eq!(&result, &expected);
            let line = 1 + text[..old.start].matches('\n').count();
            prop_assert_eq!(done.changes[0].line, line);
            prop_assert_eq!(&done.changes[0].to, &format!("{name}:{tag}"));
        }
    }
}
