//! One pass over findings of every kind.

use shipline_model::config::{Ignore, Policy};
use shipline_model::finding::{Location, Region, Rule};

use super::*;

const TODAY: &str = "2026-11-24";

fn policy(fail_on: Severity, baseline: Option<&str>) -> Policy {
    Policy {
        fail_on,
        baseline: baseline.map(|path| RepoPath::new(path).unwrap()),
        not_assessed: [("local", NotAssessed::Warn), ("ci", NotAssessed::Fail)]
            .into_iter()
            .map(|(name, what)| (name.parse().unwrap(), what))
            .collect(),
    }
}

fn scans(ignore: Vec<Ignore>) -> Scans {
    Scans {
        image: policy(Severity::High, Some("known.json")),
        leaks: policy(Severity::Critical, None),
        ignore,
    }
}

fn ignore(rule: &str, file: Option<&str>) -> Ignore {
    Ignore {
        rule: rule.to_owned(),
        matched: None,
        file: file.map(str::to_owned),
        component: None,
        variant: None,
        reason: "known".to_owned(),
        until: "2026-12-31".to_owned(),
        line: 7,
    }
}

fn judge(scans: &Scans, profile: &str, baseline: &[u8]) -> Result<Judge, BackendError> {
    let profile = profile.parse().unwrap();
    Judge::new(scans, &profile, TODAY, &|path| {
        assert_eq!(path.as_str(), "known.json");
        Ok(Some(baseline.to_vec()))
    })
}

fn finding(kind: FindingKind, line: u32, severity: Severity) -> Finding {
    let location = Location::SourceFile {
        path: "src/a.rs".to_owned(),
        region: Region::line(line),
    };
    Finding::new(kind, Rule::new("r"), severity, "m", "x", location)
}

fn target() -> TargetName {
    TargetName {
        component: Some("web".parse().unwrap()),
        variant: None,
    }
}

fn report(findings: Vec<Finding>) -> ScanReport {
    ScanReport {
        findings,
        ..ScanReport::default()
    }
}

const NOTHING: &[u8] = br#"{"version":1,"findings":[]}"#;

#[test]
fn each_kind_has_a_gate_of_its_own() {
    let judge = judge(&scans(Vec::new()), "local", NOTHING).unwrap();
    for (kind, severity, stopped) in [
        (FindingKind::Leak, Severity::High, 0),
        (FindingKind::Leak, Severity::Critical, 1),
        (FindingKind::Vulnerability, Severity::Medium, 0),
        (FindingKind::Vulnerability, Severity::High, 1),
        (FindingKind::Secret, Severity::High, 1),
    ] {
        let judged = judge.judge(&target(), kind, report(vec![finding(kind, 1, severity)]));
        assert_eq!(
            judged.stopped.len(),
            stopped,
            "{kind} {}",
            severity.as_str()
        );
        assert_eq!(judge.fail_on(kind) <= severity, stopped == 1);
    }
}

#[test]
fn an_exception_is_of_a_rule_and_of_files() {
    let kind = FindingKind::Sast;
    for (exception, suppressed) in [
        (ignore("r", None), true),
        (ignore("r", Some("*.rs")), true),
        (ignore("r", Some("src/*.ts")), false),
        (ignore("s", None), false),
    ] {
        let judge = judge(&scans(vec![exception]), "local", NOTHING).unwrap();
        let found = report(vec![finding(kind, 1, Severity::High)]);
        let judged = judge.judge(&target(), kind, found);
        assert_eq!(judged.findings[0].suppression.is_some(), suppressed);
        assert_eq!(judged.stopped.is_empty(), suppressed);
        assert_eq!(judged.exceptions, if suppressed { vec![7] } else { vec![] });
    }
    let wrong = judge(&scans(vec![ignore("r", Some("a[/b"))]), "local", NOTHING).unwrap_err();
    assert!(wrong.to_string().contains("line 7"), "{wrong}");
}

#[test]
fn what_a_baseline_lists_does_not_count_wherever_its_lines_went() {
    let kind = FindingKind::Sast;
    let bare = judge(&scans(Vec::new()), "local", NOTHING).unwrap();
    let twice = |first, second| {
        report(vec![
            finding(kind, first, Severity::High),
            finding(kind, second, Severity::High),
        ])
    };
    let known = bare.judge(&target(), kind, twice(3, 9));
    assert_ne!(known.findings[0].fingerprint, known.findings[1].fingerprint);
    let mut baseline = Baseline::default();
    for finding in &known.findings {
        baseline.add(finding, &target());
    }
    let file = baseline.write().unwrap();
    let judge = judge(&scans(Vec::new()), "local", &file).unwrap();
    let moved = judge.judge(&target(), kind, twice(30, 90));
    assert_eq!(moved.stopped, Vec::<usize>::new());
    let file = "known.json".to_owned();
    assert_eq!(
        moved.findings[0].suppression,
        Some(Suppression::Baseline { file })
    );
    let third = report(vec![
        finding(kind, 1, Severity::High),
        finding(kind, 2, Severity::High),
        finding(kind, 3, Severity::High),
    ]);
    assert_eq!(judge.judge(&target(), kind, third).stopped, [2]);
    let elsewhere = judge.judge(&TargetName::default(), kind, twice(3, 9));
    assert_eq!(elsewhere.stopped, [0, 1]);
}

#[test]
fn a_baseline_is_sorted_and_the_same_findings_give_the_same_bytes() {
    let of = |order: &[u32]| {
        let mut baseline = Baseline::default();
        for line in order {
            let kind = FindingKind::Sast;
            let mut found = finding(kind, *line, Severity::Low);
            found.rule.id = format!("r{line}");
            baseline.add(&found.identified_by("x"), &target());
        }
        String::from_utf8(baseline.write().unwrap()).unwrap()
    };
    let text = of(&[3, 1, 2]);
    assert_eq!(text, of(&[2, 3, 1, 1]));
    let rules: Vec<&str> = text.lines().filter(|line| line.contains("rule")).collect();
    assert!(rules.is_sorted() && rules.len() == 3, "{text}");
    assert!(text.contains("\"place\": \"web: src/a.rs\""), "{text}");
    let read = Baseline::read("known.json", text.as_bytes()).unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(String::from_utf8(read.write().unwrap()).unwrap(), text);
}

#[test]
fn what_is_no_baseline_is_refused_with_its_cause() {
    for (text, says) in [
        ("{", "line 1"),
        (r#"{"version":2,"findings":{}}"#, "version 2"),
        (r#"{"version":1,"findings":[],"more":1}"#, "more"),
        (
            r#"{"version":1,"findings":[{"kind":"leak","rule":"r","place":"p","fingerprint":"x"}]}"#,
            "entry 1",
        ),
    ] {
        let error = Baseline::read("known.json", text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("known.json"), "{error}");
        let cause = error.cause.unwrap().to_string();
        assert!(cause.contains(says), "{cause}");
    }
    let missing = Judge::new(
        &scans(Vec::new()),
        &"local".parse().unwrap(),
        TODAY,
        &|_| Ok(None),
    );
    assert_eq!(missing.unwrap_err().class, ErrorClass::Invalid);
}

#[test]
fn where_nothing_can_be_told_the_profile_says_what_that_means() {
    for (profile, fails) in [("local", false), ("ci", true), ("other", true)] {
        let judge = judge(&scans(Vec::new()), profile, NOTHING).unwrap();
        let blind = ScanReport {
            not_assessed: Some("there is no advisory data".to_owned()),
            ..ScanReport::default()
        };
        let judged = judge.judge(&target(), FindingKind::Vulnerability, blind);
        assert_eq!(judged.not_assessed.is_some(), fails, "{profile}");
        assert_eq!(judged.notes.len(), usize::from(!fails), "{profile}");
    }
}
