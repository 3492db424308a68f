//! No secret on any sink.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shipline_engine::backend::ScanReport;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::finding::{Finding, FindingKind, Location, Rule, Severity};
use shipline_model::value::Variables;
use shipline_testkit::memory::{ScriptedCataloguer, ScriptedScanner};

use crate::world::{PLATFORM, Recorder, World};

const SECRET: &str = "s3cr3t/tok en";
const KEY: &str = "-----BEGIN-----\nabcdefgh\nijklmnop\n-----END-----";

fn files(at: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_on_no_sink() {
    let text = PLATFORM
        .replace("SETUP", "'true'")
        .replace("TEST_WEB", "'true'")
        .replace(
            "TEST_API",
            r#"'printf "%s" "$TOKEN" | cut -c1-5 | tr -d "\n"; printf "%s" "$TOKEN" | cut -c6-; echo "$KEY"; printf %s "$TOKEN" | base64; echo "x=$TOKEN" >&2; echo "<out>$TOKEN</out>" > unit.xml; exit 0'"#,
        )
        .replace("PREPARE", "echo $TOKEN")
        .replace(
            "    path: api\n",
            "    path: api\n    junit: [unit.xml]\n    environment: { TOKEN: \"${secret.TOKEN}\", KEY: \"${secret.KEY}\" }\n",
        )
        .replace("API: https://staging", "TOKEN: \"${secret.TOKEN}\", API: https://staging");
    let mut world = World::of(&text);
    world.secrets = vec![SECRET.to_owned(), KEY.to_owned()];
    world.variables = Variables::new([
        ("TOKEN".to_owned(), SECRET.to_owned()),
        ("KEY".to_owned(), KEY.to_owned()),
    ]);
    world.scanners = vec![Arc::new(ScriptedScanner::new(Some("key"), |_, _| {
        Ok(ScanReport {
            findings: vec![Finding::new(
                FindingKind::Leak,
                Rule::new("r").with_help(format!("help {SECRET}")),
                Severity::Low,
                format!("found {SECRET}"),
                SECRET,
                Location::ImageConfig {
                    field: format!("config.Env[{SECRET}]"),
                },
            )],
            bytes: 1,
            notes: vec![format!("note {SECRET}")],
            ..ScanReport::default()
        })
    }))];
    let package = format!("package {SECRET}");
    world.cataloguer = Arc::new(ScriptedCataloguer::new([package.as_str()]));
    world.gitops.script.fail(
        BackendError::new(
            ErrorClass::Failed,
            format!("push to https://x:{SECRET}@host"),
        )
        .because(format!("cause {SECRET}"))
        .hint(format!("hint {SECRET}")),
    );
    let recorder = Recorder::default();
    let (_keep, signals) = tokio::sync::mpsc::unbounded_channel();
    let ran = world
        .run_with(signals, vec![Box::new(recorder.clone())])
        .await;
    let lines = ran.lines("unit/api");
    // Written in two pieces, it is one line; each line of the key is masked.
    assert_eq!(
        lines.iter().filter(|line| *line == "***").count(),
        6,
        "{lines:?}"
    );
    assert!(lines.contains(&"x=***".to_owned()), "{lines:?}");
    assert_eq!(
        ran.failure("gitops"),
        "push to https://x:***@host: cause ***"
    );

    let mut sinks = vec![(
        "reporter".to_owned(),
        format!("{:?}", recorder.0.lock().unwrap()),
    )];
    files(&world.state().join("runs"), &mut sinks);
    files(&world.state().join("cache"), &mut sinks);
    for kept in ["unit.xml", "cache/scans", "cache/sboms", "documents/"] {
        assert!(sinks.iter().any(|(name, _)| name.contains(kept)), "{kept}");
    }
    for (name, text) in sinks {
        for secret in ["s3cr3t", "abcdefgh", "ijklmnop", "czNjcjN0"] {
            assert!(!text.contains(secret), "{secret} in {name}: {text}");
        }
    }
}
