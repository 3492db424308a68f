//! The scanner on whole images.

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use shipline_engine::backend::{ImageReader as _, ImageStore as _};
use shipline_engine::findings::{Judge, Judged, TargetName};
use shipline_model::config::{Ignore, Policy, Scans};
use shipline_model::name::Digest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::layers::StoreReader;
use crate::testing::{GZIP_LAYER, Memory, TAR_LAYER, context, gzip, image, tar};

const STAGING: &str = "https://staging.aurora-glam.com/api";
const PRODUCTION: &str = "https://aurora-glam.com/api";

const EMPTY: &str = r#"{"config":{}}"#;

fn scanner() -> LeakScanner {
    let staging = "staging".parse().unwrap();
    let production = "production".parse().unwrap();
    let (of_staging, of_production) = ([STAGING.to_owned()], [PRODUCTION.to_owned()]);
    let environments = [
        (&staging, &of_staging[..]),
        (&production, &of_production[..]),
    ];
    LeakScanner::new(environments).unwrap()
}

fn scan_with(
    scanner: &LeakScanner,
    variant: Option<&str>,
    image: &(Memory, Digest),
) -> Result<ScanReport, BackendError> {
    scan_until(scanner, variant, image, CancellationToken::new())
}

fn scan_until(
    scanner: &LeakScanner,
    variant: Option<&str>,
    (store, digest): &(Memory, Digest),
    cancel: CancellationToken,
) -> Result<ScanReport, BackendError> {
    let id = frontend(variant);
    let context = context(cancel);
    match scanner.scan(&ScanTarget::Image { id: &id, digest }, &context)? {
        Looking::Done(report) => Ok(report),
        Looking::AtFiles(mut look) => {
            let visitors: &mut [&mut dyn Visitor] = &mut [&mut *look];
            let scratch = tempfile::tempdir().unwrap();
            let reader = StoreReader::new(scratch.path().to_path_buf());
            reader.show(digest, store, visitors, &mut |_| Ok(()))?;
            look.finish()
        }
    }
}

fn frontend(variant: Option<&str>) -> ImageId {
    ImageId {
        component: "frontend".parse().unwrap(),
        variant: variant.map(|name| name.parse().unwrap()),
    }
}

/// What the gate says with this exception.
fn judged(scanner: &LeakScanner, ignore: Ignore, today: &str, image: &(Memory, Digest)) -> Judged {
    let policy = Policy {
        fail_on: Severity::High,
        baseline: None,
        not_assessed: Default::default(),
    };
    let scans = Scans {
        image: policy.clone(),
        leaks: policy,
        ignore: vec![ignore],
    };
    let local = "local".parse().unwrap();
    let judge = Judge::new(&scans, &local, today, &|_| Ok(None)).unwrap();
    let report = scan_with(scanner, Some("staging"), image).unwrap();
    let target = TargetName::from(&frontend(Some("staging")));
    judge.judge(&target, scanner.kind(), report)
}

fn scan(variant: &str, image: &(Memory, Digest)) -> ScanReport {
    scan_with(&scanner(), Some(variant), image).unwrap()
}

fn ignore(matched: &str, file: Option<&str>, until: &str) -> Ignore {
    Ignore {
        rule: RULE.to_owned(),
        matched: Some(matched.to_owned()),
        file: file.map(str::to_owned),
        component: None,
        variant: None,
        reason: "canonical link".to_owned(),
        until: until.to_owned(),
        line: 7,
    }
}

#[test]
fn a_leak_is_reported_with_file_layer_and_offset() {
    let leaking = b"const base = \"https://aurora-glam.com/api/users\"; const own = \"https://staging.aurora-glam.com/api\"";
    let image = image(
        EMPTY,
        &[
            (TAR_LAYER, tar(&[("etc/motd", b"hello")])),
            (
                GZIP_LAYER,
                gzip(&tar(&[("./app/clean.js", b"1"), ("app/page.js", leaking)])),
            ),
        ],
    );
    let report = scan("staging", &image);
    assert_eq!(report.findings.len(), 1, "{report:?}");
    let finding = &report.findings[0];
    assert_eq!(finding.rule.id, "environment-leak");
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.matched, "https://aurora-glam.com/api/users");
    let manifest = image.0.manifest(&image.1).unwrap().unwrap();
    let expected = Location::ImageFile {
        layer: manifest.layers[1].digest.clone(),
        layer_index: 1,
        path: "/app/page.js".to_owned(),
        offset: 14,
    };
    assert_eq!(finding.location, expected);
    assert_eq!(report.bytes, 5 + 1 + leaking.len() as u64);
    let production = scan("production", &image);
    assert_eq!(production.findings.len(), 1);
    assert_eq!(production.findings[0].matched, STAGING);
}

#[test]
fn an_image_for_all_environments_is_looked_at_and_not_decided() {
    let look = |texts: &[&str]| {
        let texts = texts.join(" ");
        let image = image(EMPTY, &[(TAR_LAYER, tar(&[("a", texts.as_bytes())]))]);
        scan_with(&scanner(), None, &image).unwrap()
    };
    let report = look(&[PRODUCTION]);
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].severity, Severity::Medium);
    let why = report.undecided.unwrap();
    assert!(
        why.starts_with("one image for staging and production"),
        "{why}"
    );
    // Of each one: it may be chosen when the program starts.
    let report = look(&[PRODUCTION, STAGING]);
    let severities: Vec<Severity> = report.findings.iter().map(|it| it.severity).collect();
    assert_eq!(severities, [Severity::Low, Severity::Low]);
    assert!(report.undecided.is_some());
    let report = look(&["https://aurora-glam.com"]);
    assert_eq!((report.findings, report.undecided), (Vec::new(), None));
}

#[test]
fn a_url_that_all_environments_have_tells_nothing() {
    let staging = "staging".parse().unwrap();
    let production = "production".parse().unwrap();
    let urls = [PRODUCTION.to_owned()];
    let environments = [(&staging, &urls[..]), (&production, &urls[..])];
    let scanner = LeakScanner::new(environments).unwrap();
    let image = image(EMPTY, &[(TAR_LAYER, tar(&[("a", PRODUCTION.as_bytes())]))]);
    let report = scan_with(&scanner, None, &image).unwrap();
    assert_eq!(report, ScanReport::default());
    // Where only some have any, the others get theirs.
    let environments = [(&staging, &[][..]), (&production, &urls[..])];
    let scanner = LeakScanner::new(environments).unwrap();
    let report = scan_with(&scanner, None, &image).unwrap();
    assert_eq!(report.findings.len(), 1);
}

#[test]
fn the_config_is_looked_at_field_by_field() {
    let config = format!(
        r#"{{"config":{{"Env":["A=1","API={PRODUCTION}/a"],"Labels":{{"api":"{PRODUCTION}/b"}},"Cmd":["x","{PRODUCTION}/c"],"Entrypoint":["{PRODUCTION}/d"]}},"history":[{{"created_by":"{PRODUCTION}"}}]}}"#
    );
    let report = scan("staging", &image(&config, &[]));
    let fields: Vec<String> = report
        .findings
        .iter()
        .map(|finding| match &finding.location {
            Location::ImageConfig { field } => format!("{field} {}", finding.matched),
            other @ (Location::ImageFile { .. } | Location::SourceFile { .. }) => {
                panic!("{other:?}")
            }
        })
        .collect();
    let expected = [
        "config.Env[1] https://aurora-glam.com/api/a",
        "config.Labels.api https://aurora-glam.com/api/b",
        "config.Cmd[1] https://aurora-glam.com/api/c",
        "config.Entrypoint[0] https://aurora-glam.com/api/d",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_layer_is_read_whatever_compresses_it() {
    let text = tar(&[("a.js", PRODUCTION.as_bytes())]);
    let zstd = compress_to_vec(text.as_slice(), CompressionLevel::Fastest);
    for (media_type, bytes) in [
        (TAR_LAYER, text.clone()),
        (GZIP_LAYER, gzip(&text)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", zstd),
    ] {
        let report = scan("staging", &image(EMPTY, &[(media_type, bytes)]));
        assert_eq!(report.findings.len(), 1, "{media_type}: {report:?}");
    }
}

#[test]
fn a_url_that_is_often_in_a_file_is_one_finding() {
    let text = format!("{PRODUCTION}\n").repeat(50_000);
    let report = scan(
        "staging",
        &image(
            EMPTY,
            &[(GZIP_LAYER, gzip(&tar(&[("a.js", text.as_bytes())])))],
        ),
    );
    assert_eq!(report.findings.len(), 1);
}

#[test]
fn gzip_files_are_unpacked_and_broken_ones_are_named() {
    let whole = gzip(format!("x {PRODUCTION} ").repeat(3000).as_bytes());
    let noise: Vec<u8> = (0..60_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let cut = gzip(&[format!("x {PRODUCTION} ").into_bytes(), noise].concat());
    let cut = &cut[..cut.len() / 2];
    let report = scan(
        "staging",
        &image(
            EMPTY,
            &[(
                GZIP_LAYER,
                gzip(&tar(&[("a.js.gz", &whole), ("b.gz", cut)])),
            )],
        ),
    );
    assert_eq!(report.findings.len(), 2, "{report:?}");
    assert_eq!(report.notes.len(), 1);
    assert!(
        report.notes[0].starts_with("/b.gz was looked at in part"),
        "{:?}",
        report.notes
    );
}

#[test]
fn what_is_compressed_otherwise_is_named() {
    let files: [(&str, &[u8]); 6] = [
        ("a.js", b"x"),
        ("a.js.br", b"\x1b\x00"),
        ("app.jar", b"PK\x03\x04..."),
        ("b.zst", b"\x28\xb5\x2f\xfd..."),
        ("c.xz", b"\xfd7zXZ..."),
        ("d.gz", &gzip(b"x")),
    ];
    let report = scan("staging", &image(EMPTY, &[(TAR_LAYER, tar(&files))]));
    assert_eq!(
        report.notes,
        [
            "not looked into, because of their compression (brotli, zip, zstd, xz, bzip2): /a.js.br, /app.jar, /b.zst and 1 more"
        ]
    );
}

#[test]
fn exceptions_hold_by_text_file_and_day() {
    let files: &[(&str, &[u8])] = &[
        ("app/de/index.html", PRODUCTION.as_bytes()),
        ("app/main.js", PRODUCTION.as_bytes()),
    ];
    let image = image(EMPTY, &[(TAR_LAYER, tar(files))]);
    let check = |ignore: Ignore, today: &str, suppressed: &[bool], note: Option<&str>| {
        let case = format!("{ignore:?} {today}");
        let report = judged(&scanner(), ignore, today, &image);
        let found: Vec<bool> = report
            .findings
            .iter()
            .map(|finding| finding.suppression.is_some())
            .collect();
        assert_eq!(found, suppressed, "{case}");
        assert_eq!(
            report.notes.len(),
            usize::from(note.is_some()),
            "{case} {:?}",
            report.notes
        );
        assert!(
            note.is_none_or(|note| report.notes[0].contains(note)),
            "{case} {:?}",
            report.notes
        );
    };
    let api = PRODUCTION;
    check(
        ignore(api, Some("**/index.html"), "2026-12-31"),
        "2026-12-31",
        &[true, false],
        None,
    );
    check(
        ignore(api, Some("index.html"), "2026-12-31"),
        "2026-11-24",
        &[true, false],
        None,
    );
    check(
        ignore(api, Some("/app/*.js"), "2026-12-31"),
        "2026-11-24",
        &[false, true],
        None,
    );
    check(
        ignore(api, None, "2026-12-31"),
        "2026-11-24",
        &[true, true],
        None,
    );
    check(
        ignore(api, None, "2026-12-31"),
        "2027-01-01",
        &[false, false],
        Some("ended on 2026-12-31"),
    );
    check(
        ignore(api, Some("*.css"), "2026-12-31"),
        "2026-11-24",
        &[false, false],
        None,
    );
}

#[test]
fn an_exception_covers_what_it_names_and_nothing_else() {
    let files: &[(&str, &[u8])] = &[
        ("a.js", b"https://aurora-glam.com/api"),
        ("b.js", b"https://aurora-glam.com/api/users"),
        ("c.js", b"//aurora-glam.com/api/users"),
        ("d.js", b"https://aurora-glam.com/api/v2/users"),
    ];
    let image = image(EMPTY, &[(TAR_LAYER, tar(files))]);
    let check = |ignore: Ignore, suppressed: [bool; 4]| {
        let case = format!("{ignore:?}");
        let used = suppressed.contains(&true);
        let report = judged(&scanner(), ignore, "2026-11-24", &image);
        let found: Vec<bool> = report
            .findings
            .iter()
            .map(|finding| finding.suppression.is_some())
            .collect();
        assert_eq!(found, suppressed, "{case}");
        assert_eq!(
            report.exceptions,
            if used { vec![7] } else { vec![] },
            "{case}"
        );
    };
    let of = |matched: &str| ignore(matched, None, "2026-12-31");
    let nothing = [false; 4];
    check(
        of("https://aurora-glam.com/api"),
        [true, false, false, false],
    );
    check(
        of("https://aurora-glam.com/api*"),
        [true, true, false, true],
    );
    check(
        of("https://aurora-glam.com/api/users"),
        [false, true, false, false],
    );
    check(
        of("https://aurora-glam.com/api/u*"),
        [false, true, false, false],
    );
    check(of("//aurora-glam.com/api*"), [false, false, true, false]);
    // Neither the host nor a part of the path is the API's name.
    for matched in [
        "https://aurora-glam.com",
        "https://aurora-glam.com*",
        "https://aurora-glam.com/*",
        "https://aurora-glam.com/ap*",
        "https://aurora*",
        "https*",
        "*",
        "aurora-glam.com/api*",
        "https://staging.aurora-glam.com/api*",
        "https://aurora-glam.com:8443/api*",
    ] {
        check(of(matched), nothing);
    }
    let any = Ignore {
        matched: None,
        ..of("")
    };
    check(any, nothing);
    let for_image = |component: Option<&str>, variant: Option<&str>| Ignore {
        component: component.map(|name| name.parse().unwrap()),
        variant: variant.map(|name| name.parse().unwrap()),
        ..of("https://aurora-glam.com/api*")
    };
    let all = [true, true, false, true];
    check(for_image(Some("frontend"), None), all);
    check(for_image(Some("frontend"), Some("staging")), all);
    check(for_image(Some("backend"), None), nothing);
    check(for_image(None, Some("production")), nothing);
}

#[test]
fn a_url_without_a_path_is_named_by_its_host() {
    let (staging, production) = ("staging".parse().unwrap(), "production".parse().unwrap());
    let urls = ["https://pay.aurora.example".to_owned()];
    let covered = |matched: &str| {
        let exception = ignore(matched, None, "2026-12-31");
        let environments = [(&staging, &[][..]), (&production, &urls[..])];
        let scanner = LeakScanner::new(environments).unwrap();
        let text: &[u8] = b"https://pay.aurora.example/v1";
        let image = image(EMPTY, &[(TAR_LAYER, tar(&[("a", text)]))]);
        let report = judged(&scanner, exception, "2026-11-24", &image);
        report.findings[0].suppression.is_some()
    };
    assert!(covered("https://pay.aurora.example*") && covered("https://pay.aurora.example/*"));
    assert!(covered("https://pay.aurora.example/v1"));
    assert!(!covered("https://pay.aurora.example") && !covered("https://pay.aurora*"));
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_so() {
    let check = |media: &str, bytes: Vec<u8>, class: ErrorClass, says: &str| {
        let error = scan_with(
            &scanner(),
            Some("staging"),
            &image(EMPTY, &[(media, bytes)]),
        )
        .unwrap_err();
        assert_eq!(error.class, class);
        let cause = error
            .cause
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(cause.contains(says), "{cause}");
    };
    check(
        "application/vnd.oci.image.layer.v1.tar+zstd",
        vec![0x28, 0xb5, 0x2f, 0xfd, 0],
        ErrorClass::Failed,
        "",
    );
    check(
        "application/x-other",
        b"text".to_vec(),
        ErrorClass::Invalid,
        "neither tar nor gzip",
    );
    let whole = gzip(&tar(&[("a", &[7; 100_000])]));
    check(
        GZIP_LAYER,
        whole[..whole.len() / 2].to_vec(),
        ErrorClass::Failed,
        "",
    );
    let missing = Digest::new(format!("sha256:{}", "0".repeat(64))).unwrap();
    let other = (image(EMPTY, &[]).0, missing);
    let error = scan_with(&scanner(), Some("staging"), &other).unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
}

#[test]
fn a_stopped_task_ends_the_scan() {
    let image = image(EMPTY, &[(TAR_LAYER, tar(&[("a", b"text")]))]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = scan_until(&scanner(), Some("staging"), &image, cancel).unwrap_err();
    let cause = error.cause.unwrap().to_string();
    assert_eq!(cause, "the task was stopped");
}

#[test]
fn the_key_changes_with_what_decides() {
    let key = scanner().key();
    assert_eq!(key, scanner().key());
    let production = "production".parse().unwrap();
    let other = [PRODUCTION.to_owned()];
    let other = LeakScanner::new([(&production, &other[..])]).unwrap();
    assert_ne!(key, other.key());
}

#[test]
fn what_is_no_url_is_refused() {
    let name = "staging".parse().unwrap();
    let error = LeakScanner::new([(&name, &["no url".to_owned()][..])]).unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
}

#[test]
fn leaks_and_notes_of_an_image_are_told_within_reason() {
    let mut names: Vec<(String, Vec<u8>)> = (0..MOST_FINDINGS + 2)
        .map(|number| (format!("f{number}"), PRODUCTION.as_bytes().to_vec()))
        .collect();
    // Files that are called gzip's and end early, each with a note, and some whose compression is not read.
    let gz = gzip(b"some text that is cut off");
    names.extend((0..MOST_NOTES + 5).map(|number| (format!("g{number}.gz"), gz[..12].to_vec())));
    names.extend((0..8).map(|number| (format!("b{number}.br"), b"x".to_vec())));
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let report = scan("staging", &image(EMPTY, &[(TAR_LAYER, tar(&files))]));
    assert_eq!(report.findings.len(), MOST_FINDINGS);
    assert!(
        report
            .notes
            .contains(&"there are more than 10000 leaks".to_owned())
    );
    // Those of files, and those of the image.
    assert_eq!(report.notes.len(), MOST_NOTES + 2);
    let last = report.notes.last().unwrap();
    assert!(
        last.ends_with("/b0.br, /b1.br, /b2.br and 5 more"),
        "{last}"
    );
}
