//! What reaches a terminal, a log or a CI runner: nothing that they obey, and no secret however it is dressed.

use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

/// Fails where something of a run would be obeyed by a terminal.
fn harmless(ran: &Ran, what: &str) {
    for text in [&ran.stdout, &ran.stderr] {
        let obeyed = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{feff}')
        };
        assert!(!text.contains(obeyed), "{what}: {text:?}");
    }
}

const SECRET: &str = "hunter2hunter2";

#[test]
fn a_secret_is_masked_whatever_stands_inside_it() {
    let world = world().with("MYPW", SECRET);
    world.replace(
        "pipeline.yaml",
        "  web:\n    path: web\n",
        "  web:\n    path: web\n    environment: { PW: \"${secret.MYPW}\" }\n",
    );
    world.write(
        "web/test.sh",
        r#"a=$(echo "$PW" | cut -c1-6); b=$(echo "$PW" | cut -c7-)
for between in '\033[1m' '\000' '\033]0;x\007' '\033P1\033\\' '\302\233' '\233' '\205' '\010' 'x\010' '\342\200\213' '\342\200\256' '\033[1m\000'; do
  printf "%s$between%s\n" "$a" "$b"
done
printf 'one %s' "$a"; printf '\033['; printf '31m%s two\n' "$b"
printf '%s' "$PW" | od -An -tx1 | tr -d '\n'; echo
printf '%s' "$PW" | od -An -tx1 | tr -d ' \n' | tr a-f A-F; echo
printf '{"a":"%s\\u001b[0m%s"}\n' "$a" "$b"
printf '%s' "x$PW" | base64
exit 1
"#,
    );
    world.commit("Print a secret");
    let run = world.run(&["pipeline", "web", "--json"]).expect(1);
    harmless(&run, "a failed test");
    assert!(run.stderr.contains("one *** two"), "{}", run.stderr);
    let mut texts = vec![run.stdout.clone(), run.stderr.clone()];
    let shown = world.run(&["runs", "show"]).expect(0);
    harmless(&shown, "the same shown again");
    texts.push(shown.stdout);
    let files = world
        .command("find")
        .args([".shipline/runs", "-type", "f", "-exec", "cat", "{}", "+"])
        .output()
        .unwrap();
    texts.push(String::from_utf8_lossy(&files.stdout).into_owned());
    for text in texts {
        let seen: String = text
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .collect();
        let digits = seen.to_lowercase().replace([' ', ':'], "");
        for form in [
            SECRET,
            "68756e746572",
            "aHVudGVyMmh1bnRlcj",
            "h1bnRlcjJodW50ZX",
        ] {
            assert!(
                !seen.contains(form) && !digits.contains(form),
                "{form}: {text}"
            );
        }
    }
}

#[test]
fn nothing_foreign_is_obeyed_by_a_terminal() {
    let evil = "\u{1b}]0;PWN\u{7}\u{9b}2J\u{202e}";
    let world = world();
    let text = world.read("pipeline.yaml");
    world.write(
        "pipeline.yaml",
        &format!("version: 1\nproj{evil}ect: x\n\"k\\e{evil}\": 1\n"),
    );
    harmless(
        &world.run(&["plan", "web"]).expect(2),
        "a key of pipeline.yaml",
    );
    world.write("pipeline.yaml", &text);

    let branch = "b\u{9b}2J\u{202e}";
    let _ = world.git(&["checkout", "-q", "-b", branch]);
    world.write(&format!("web/d{evil}\n::error::x.txt"), "changed");
    let manifest = std::fs::read(
        world
            .repository()
            .join("gitops/staging/web/deployment.yaml"),
    )
    .unwrap();
    let folder = world.repository().join("gitops/staging/web");
    std::fs::remove_file(folder.join("deployment.yaml")).unwrap();
    std::fs::write(folder.join(format!("d{evil}\n::error::x.yaml")), manifest).unwrap();
    world.commit(&format!("Be evil {evil}"));
    for arguments in [
        &["plan", "web"][..],
        &["plan", "web", "--all", "--base", evil],
        &["explain", "web", "web"],
        &["pipeline", "web", "--dry-run"],
        &["pipeline", "web"],
        &["pipeline", "web", "--json", "--all"],
        &["runs", "list"],
        &["runs", "show"],
        &["runs", "show", evil],
        &["store", "show"],
        &["config", "show"],
        &["plan", evil],
        &[evil],
        &["plan", "web", evil],
        &["gitops", "set", &format!("web={evil}"), "-e", "staging"],
        &[
            "gitops",
            "set",
            "web=staging-1a2b3c4d-20251215123456",
            "-e",
            "staging",
            "--repository",
            evil,
        ],
        &["-C", evil, "plan", "web"],
        &["scan", "sbom", &format!("./{evil}.tar")],
    ] {
        let ran = world.run(arguments);
        harmless(&ran, &format!("{arguments:?}"));
    }

    let mut archive = format!("{evil}\n::add-mask::x\n").into_bytes();
    archive.resize(100, b'A');
    archive.extend_from_slice(b"zzzzzzz\0zzzzzzz\0zzzzzzz\0");
    archive.resize(2048, b'x');
    std::fs::write(world.repository().join("e.tar"), archive).unwrap();
    harmless(&world.run(&["scan", "sbom", "./e.tar"]), "a broken archive");
}

/// GitHub's runner as far as lines are commands (`ActionCommand.cs`, `ActionCommandManager.cs` of actions/runner): what was
/// carried out, in order.
fn carried_out(lines: &str) -> Vec<String> {
    let known = [
        "error",
        "warning",
        "add-mask",
        "set-env",
        "set-output",
        "group",
        "endgroup",
        "debug",
        "stop-commands",
    ];
    let mut registered: Vec<String> = known.map(str::to_owned).to_vec();
    let mut token: Option<String> = None;
    let mut done = Vec::new();
    for line in lines.split(['\n', '\r']) {
        let named = |text: &str, end: &str| {
            let (words, data) = text.split_once(end)?;
            let name = words.split(' ').next()?;
            let known = registered.iter().any(|known| known == name);
            known.then(|| (name.to_owned(), data.to_owned()))
        };
        let new = line
            .trim_start()
            .strip_prefix("::")
            .and_then(|rest| named(rest, "::"));
        let old = || named(&line[line.find("##[")? + 3..], "]");
        let Some((name, data)) = new.or_else(old) else {
            continue;
        };
        match &token {
            Some(stopped) if *stopped == name => {
                registered.pop();
                token = None;
                done.push("resume".to_owned());
            }
            Some(_) => {}
            None if name == "stop-commands" => {
                registered.push(data.clone());
                token = Some(data);
                done.push("stop".to_owned());
            }
            None => done.push(name),
        }
    }
    done
}

#[test]
fn no_foreign_line_is_a_command_to_a_ci_runner() {
    assert_eq!(
        carried_out(" ::error::x\na ##[group]b\n::unknown::x"),
        ["error", "group"]
    );
    let world = world()
        .with("GITHUB_ACTIONS", "true")
        .with("GITHUB_EVENT_NAME", "workflow_dispatch");
    world.write(
        "web/test.sh",
        "echo '::error::one'; echo '  ::add-mask::two' >&2; echo 'a ##[set-env name=PATH]/evil'; printf 'x\\r::error::three\\n'\n\
         echo '::stop-commands::mine'; echo '::mine::'; echo '##[stop-commands]'; printf '::error::four'; exit 1\n",
    );
    world.commit("::error::Print commands ##[group]x");
    for arguments in [
        &["pipeline", "web"][..],
        &["pipeline", "web", "--json"],
        &["plan", "::error::x"],
        &["plan", "web", "--base", "\n::error::x"],
        &["runs", "show"],
    ] {
        let ran = world.run(arguments);
        let stderr = carried_out(&ran.stderr);
        assert!(
            stderr.is_empty() || stderr == ["stop", "resume"],
            "{arguments:?}: {stderr:?}: {}",
            ran.stderr
        );
        assert_eq!(
            carried_out(&ran.stdout),
            Vec::<String>::new(),
            "{arguments:?}: {}",
            ran.stdout
        );
        // The runner reads both streams at once: each holds by itself, in whatever order their lines come.
        assert!(carried_out(&format!("{}\n{}", ran.stdout, ran.stderr)).len() <= 2);
    }
    let first = world.run(&["pipeline", "web"]).expect(1).stderr;
    let second = world.run(&["pipeline", "web"]).expect(1).stderr;
    let token = |text: &str| {
        text.lines()
            .next()
            .unwrap()
            .strip_prefix("::stop-commands::")
            .unwrap()
            .to_owned()
    };
    assert_ne!(token(&first), token(&second));
    assert!(
        first.ends_with(&format!("\n::{}::\n", token(&first))),
        "{first}"
    );
    assert!(
        first.contains("##[set-env name=PATH]/evil"),
        "what is fenced in is as it was: {first}"
    );
    for line in world
        .run(&["runs", "show", "--json"])
        .expect(0)
        .stdout
        .lines()
    {
        let _: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(!line.contains("##"), "{line}");
    }
}

#[test]
fn of_a_flood_of_output_the_beginning_and_the_end_are_kept() {
    let world = world();
    world.write(
        "web/test.sh",
        "echo begin; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i ........................................\"; done; echo end; exit 1\n",
    );
    world.commit("Flood");
    let run = world
        .run(&["pipeline", "web", "--log-limit", "50kB"])
        .expect(1);
    for wanted in [
        "| begin",
        "| end",
        "lines (0.1 MB) are left out here",
        "--log-limit",
    ] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    assert!(run.stderr.len() < 100_000);
    let run = world
        .run(&["pipeline", "web", "--log-limit", "lots"])
        .expect(2);
    assert!(run.stderr.contains("such as 50MB"), "{}", run.stderr);
}

#[test]
fn no_error_shows_a_file_that_is_not_of_the_repository() {
    let world = world();
    let secrets = world.path("passwd");
    std::fs::write(&secrets, "root:x:0:0:private\nkey: private\n".repeat(100)).unwrap();
    let ran = world.run(&["scan", "sbom", secrets.to_str().unwrap()]);
    assert!(
        !ran.stderr.contains("private") && !ran.stderr.contains("root:"),
        "{}",
        ran.stderr
    );
    let file = world.repository().join("pipeline.yaml");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&secrets, &file).unwrap();
    let ran = world.run(&["plan", "web"]).expect(2);
    assert!(
        ran.stderr.contains("symbolic link that leads out"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("private"), "{}", ran.stderr);
}
